"""What a result was computed from: digests of files, identities of stages, fingerprints of code."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import cache, reduce
from importlib.util import find_spec
from operator import getitem
from pathlib import Path
from typing import Any

from labelsim import __version__
from labelsim.analysis.wordnet import NOUNS
from labelsim.config import labels_file, outputs_file
from labelsim.errors import LabelsimError
from labelsim.network.specs import is_callable_spec, spec_file, timm_folder, weights_file
from labelsim.storage.digests import canonical, digest, file_digest

__all__ = ["code", "identity", "version"]

_PACKAGE = Path(__file__).resolve().parents[1]

# The configuration keys that change a stage's numbers, which batch size, workers and device do not. An analysis has its
# own section.
_KEYS = {
    "scan": (
        "dataset.source",
        "dataset.format",
        "dataset.labels",
        "dataset.columns",
        "dataset.images_per_class",
        "dataset.content_digest",
    ),
    "shard": ("extract.images_per_shard", "dataset.class_names"),
    "network": ("model.name", "model.weights", "model.transform", "probe"),
    "preflight": ("similarity", "model.classes", "report.classes", "analysis.reference.file"),
    "extract": ("extract.precision", "extract.compile", "store"),
    "moments": ("model.classes",),
    "merge": ("extract.max_reject_fraction",),
    "welch": (),
    "similarity": ("similarity",),
    "conformal": (),
    "head": (),
    "neighbors": ("neighbors", "model", "probe"),  # the tables and the summary contain all three
    "significance": ("analysis.significance", "model", "probe"),  # the tables' metadata contain the last two
    "judgement": ("analysis.judgement", "analysis.reference.file"),
    "agreement": ("analysis.agreement", "analysis.reference.file"),
    "explorer": ("report",),
}

# Format of the stored files: raise it when the same numbers are written in another way.
FORMAT = 3
# No number depends on how files are written, on logs, or on error messages.
_WITHOUT = ("labelsim.storage", "labelsim.jobs", "labelsim.errors", "labelsim.config")
# Every image is compared with its row's size and digest, whatever its source.
_NOT_EXTRACTED_BY = ("labelsim.dataset.formats", "labelsim.dataset.sources")
_WORD_AND_SPACE = re.compile(r"[a-z]{2} | [a-z]{2}")  # not separators such as ", ", which may compute something
# These stages read the variables of `labelsim.methods`, not the table of methods.
_WITHOUT_METHODS = ("network", "extract", "moments", "merge", "welch", "conformal", "head", "neighbors")
_TEXTS_STORED = ("neighbors", "class_figure", "heatmap", "explorer")  # notes of classes, titles of figures


def version() -> str:
    """The version of labelsim."""
    return __version__


def identity(stage: str, config: Mapping[str, Any]) -> str:
    """Everything except a stage's input files that determines its results.

    Parameters
    ----------
    stage : str
        Name of the stage.
    config : mapping
        As `labelsim.config.load` returns it.

    Returns
    -------
    str
        JSON with sorted keys: the configuration of the stage, and digests of the files in it.
    """
    keys = _KEYS.get(stage, (f"analysis.{stage}",))
    values = {key: reduce(getitem, key.split("."), config) for key in keys}
    files = {key: found for key, value in values.items() if (found := _files(key, value, config))}
    return canonical({**values, "files": files} if files else values)


@cache
def code(stage: str) -> str:
    """Fingerprint of a stage's code: its module, and the modules of labelsim that it imports.

    It is computed from the syntax trees without docstrings, error messages and log lines. Sentences (texts with a word
    next to a space) count only in stages that store them in a table or a figure. `storage`, `jobs`, `errors` and
    `config` are left out; `FORMAT` represents what they store.

    Parameters
    ----------
    stage : str
        Name of a module in `labelsim.stages`.

    Returns
    -------
    str
        32 hexadecimal digits.
    """
    without = _WITHOUT + (_NOT_EXTRACTED_BY if stage == "extract" else ())
    without += ("labelsim.methods",) if stage in _WITHOUT_METHODS else ()
    return digest(canonical([FORMAT, _modules(f"labelsim.stages.{stage}", without, stage in _TEXTS_STORED)]))


def _files(key: str, value: Any, config: Mapping[str, Any]) -> str | None:
    """Digest of the file, or of the state of the folder, in a configuration value; None if there is none."""
    if key == "dataset.source":
        from labelsim.dataset.sources import open_source

        options = {name: config["dataset"][name] for name in ("format", "labels", "columns")}
        try:
            return open_source(value, **options).state()
        except (OSError, LabelsimError):
            return "missing"  # the stage will raise the error
    if key == "dataset.labels":
        file = labels_file(value)
        return file_digest(file) if file else None
    if key == "dataset.class_names":
        return None if value == "auto" else file_digest(Path(value))
    if key == "model.classes":
        outputs = outputs_file(value)
        return file_digest(outputs) if outputs else None
    if key == "analysis.wordnet":
        return file_digest(NOUNS)
    if key == "analysis.reference.file":
        return file_digest(NOUNS if value is None else Path(value))
    if key == "model.weights":
        file = weights_file(value)
        return file_digest(file) if file else None
    if key == "model.name" and (folder := timm_folder(value)) is not None:
        return digest(canonical({file.name: file_digest(file) for file in sorted(folder.glob("*")) if file.is_file()}))
    if key in ("model.name", "model.transform") and is_callable_spec(value):
        return _callable_digest(value)
    return None


def _callable_digest(spec: str) -> str:
    """Digest of a callable's source file, without comments and docstrings."""
    try:
        file = spec_file(spec) or Path(getattr(find_spec(spec.partition(":")[0]), "origin", ""))
        source = file.read_bytes()
    except Exception:  # find_spec imports the parent package, which may raise anything; the stage will report it
        return "missing"
    try:
        return digest(_code_of(ast.parse(source)))
    except (SyntaxError, ValueError):
        return file_digest(file)  # the stage will report it


def _modules(name: str, without: tuple[str, ...], texts: bool) -> dict[str, str]:
    """The code, by module name, of a module of labelsim and of its direct and indirect imports from labelsim.

    Modules that only packages in `without` import are left out, too.
    """
    found: dict[str, str] = {}
    pending = [name]
    while pending:
        current = pending.pop()
        file = _module_file(current)
        if current in found or file is None or f"{current}.".startswith(tuple(f"{package}." for package in without)):
            continue
        found[current], imported = _module(file, texts)
        pending.extend(imported)
    return found


@cache  # most modules belong to several stages
def _module(file: Path, texts: bool) -> tuple[str, list[str]]:
    """A module's code, and the names that it imports."""
    tree = ast.parse(file.read_bytes())
    imported: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # The name may be a module, as in `from labelsim.stages import scan`.
            imported += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            _drop_messages(node, texts)
    return _code_of(tree), imported


def _drop_messages(node: ast.AST, texts: bool) -> None:
    """Drop the arguments of errors, calls of the logger and, unless texts are stored, sentences."""
    if isinstance(node, ast.Raise):
        node.exc, node.cause = node.exc.func if isinstance(node.exc, ast.Call) else node.exc, None
    elif isinstance(node, ast.Assert):
        node.msg = None
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        function = node.value.func
        if isinstance(function, ast.Attribute) and getattr(function.value, "id", None) == "logger":
            node.value = ast.Constant(None)
    elif isinstance(node, ast.Constant) and not texts and _is_sentence(node):
        node.value = ""
    elif isinstance(node, ast.JoinedStr) and not texts and any(map(_is_sentence, node.values)):
        node.values = []


def _is_sentence(node: ast.AST) -> bool:
    text = node.value if isinstance(node, ast.Constant) else None
    return isinstance(text, str) and _WORD_AND_SPACE.search(text) is not None


def _module_file(name: str) -> Path | None:
    package, *parts = name.split(".")
    if package != "labelsim" or not parts:
        return None
    path = _PACKAGE.joinpath(*parts)
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in candidates if file.is_file()), None)


def _code_of(tree: ast.Module) -> str:
    """Code as text, without comments, docstrings and layout. Removes the docstrings from the tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body
            if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                node.body = body[1:] or [ast.Pass()]
    return ast.unparse(tree)

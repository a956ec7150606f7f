"""The configuration of a run: defaults, validation and error messages."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

from labelsim.dataset.paths import expand, is_pattern
from labelsim.errors import LabelsimError, near
from labelsim.methods import ALIASES, METHODS
from labelsim.network.specs import TIMM, is_callable_spec, spec_file, timm_folder, weights_file

__all__ = ["check_files", "labels_file", "load", "outputs_file", "read"]

SCHEMA = Path(__file__).resolve().parent / "schemas" / "config.schema.yaml"

# Unlike in JSON Schema, 9.0 is not an integer here, and .nan and .inf are not numbers.
_CHECKER = Draft202012Validator.TYPE_CHECKER.redefine_many(
    {
        "integer": lambda _, value: isinstance(value, int) and not isinstance(value, bool),
        "number": lambda _, value: isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value),
    }
)
_Validator = extend(Draft202012Validator, type_checker=_CHECKER)


def load(given: Mapping[str, Any]) -> dict[str, Any]:
    """Validate a configuration and fill in the defaults.

    Parameters
    ----------
    given : mapping
        Contents of the user's config file.

    Returns
    -------
    dict
        A new configuration with every key of the schema. One default depends on another key: `model.weights` is
        ``DEFAULT`` for a network of timm, and None for a callable. The paper's names of methods are replaced.

    Raises
    ------
    LabelsimError
        With every wrong key, its value and what was expected, and with every key that a callable needs.
    """
    # A dict, because jsonschema reports all missing keys once for each of them.
    _raise(list(dict.fromkeys(message for error in _errors(given) for message in _messages(error))))
    config: dict[str, Any] = _filled(given, _schema())
    name = config["model"]["name"]
    if "weights" not in given.get("model", {}):  # the schema's default is for torchvision
        if name.startswith(TIMM):
            config["model"]["weights"] = "DEFAULT"
        elif is_callable_spec(name):
            config["model"]["weights"] = None
    config["dataset"] = {key: _expanded(value) for key, value in config["dataset"].items()}
    config["model"] = {key: _expanded(value) for key, value in config["model"].items()}
    config["analysis"]["reference"]["file"] = _expanded(config["analysis"]["reference"]["file"])
    methods = config["similarity"]["methods"]
    config["similarity"]["methods"] = [ALIASES.get(method, method) for method in methods]
    if len(set(config["similarity"]["methods"])) < len(methods):
        known = ", ".join(f"{alias} is {method}" for alias, method in ALIASES.items())
        _raise([f"similarity.methods: {methods!r} is not valid; expected no method twice ({known})"])
    if is_callable_spec(name):
        _raise(list(_missing_of_callable(config["model"])))
    return config


def check_files(config: Mapping[str, Any], made: Collection[str] = ()) -> None:
    """Check that the files and folders in a configuration exist.

    Parameters
    ----------
    config : mapping
        As `load` returns it.
    made : collection of str
        Paths that the workflow makes itself, and that need not exist yet.

    Raises
    ------
    LabelsimError
        With every key whose file or folder is missing.
    """
    _raise(list(_missing_files(config, set(made))))


def read(path: Path) -> dict[str, Any]:
    """Read and `load` a config file.

    Raises
    ------
    LabelsimError
        If the file is missing or is not YAML, and as in `load`.
    """
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LabelsimError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LabelsimError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(given, dict):
        raise LabelsimError(f"{path}: expected keys and values, such as `run: my-run`")
    return load(given)


def labels_file(labels: str) -> Path | None:
    """The file in `dataset.labels`; None for a keyword."""
    return _table_file(labels, "auto", "as-is", "imagenet-1k")


def outputs_file(classes: str) -> Path | None:
    """The file in `model.classes`; None for a keyword."""
    return _table_file(classes, "auto", "dataset", "imagenet-1k")


def _raise(problems: list[str]) -> None:
    if problems:
        raise LabelsimError("The configuration is not valid:\n" + "\n".join(f"  {problem}" for problem in problems))


@cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    items = schema["properties"]["similarity"]["properties"]["methods"]["items"]
    items["enum"] = [*METHODS, *ALIASES]
    return schema


def _errors(given: Mapping[str, Any]) -> list[ValidationError]:
    errors = _Validator(_schema()).iter_errors(dict(given))
    return sorted(errors, key=lambda error: [str(part) for part in error.absolute_path])


def _messages(error: ValidationError) -> list[str]:
    key = ".".join(str(part) for part in error.absolute_path)
    prefix = f"{key}." if key else ""
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = [str(name) for name in error.instance if name not in known]
        return [f"{prefix}{name}: unknown key{near(name, known)}" for name in unknown]
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return [f"{prefix}{name}: missing, and there is no default" for name in missing]
    return [f"{key or 'the file'}: {error.instance!r} is not valid; expected {_expected(error.schema)}"]


def _expected(schema: Mapping[str, Any]) -> str:
    """The expected value, in words."""
    if "expected" in schema:
        return str(schema["expected"])
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if "anyOf" in schema:
        return " or ".join(_expected(option) for option in schema["anyOf"])
    kinds = schema.get("type", [])
    words = {
        "array": "a list",
        "boolean": "true or false",
        "integer": "a whole number",
        "null": "null",
        "number": "a number",
        "object": "keys and values",
        "string": "text",
    }
    text = " or ".join(words[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds)) or "something else"
    limits = {
        "minimum": "at least",
        "maximum": "at most",
        "minItems": "entries: at least",
        "minLength": "characters: at least",
    }
    notes = [f"{limit} {schema[name]}" for name, limit in limits.items() if name in schema]
    if schema.get("uniqueItems"):
        notes.append("none twice")
    return f"{text} ({', '.join(notes)})" if notes else text


def _filled(given: Any, schema: Mapping[str, Any]) -> Any:
    if "properties" not in schema:
        return copy.deepcopy(given)
    return {key: _filled(given.get(key, sub.get("default")), sub) for key, sub in schema["properties"].items()}


def _expanded(value: Any) -> Any:
    """Expand ~ in a path; return any other value as it is."""
    return str(Path(value).expanduser()) if isinstance(value, str) and value.startswith("~") else value


def _missing_of_callable(model: Mapping[str, Any]) -> Iterator[str]:
    """Messages about keys that a callable needs, and a published network does not."""
    name, weights = model["name"], model["weights"]
    if weights is not None and weights_file(weights) is None:
        yield (
            f"model.weights: {weights!r} is not valid for a callable; expected a file, or null (the network as "
            f"{name!r} returns it)"
        )
    if model["transform"] == "auto":
        yield (
            f"model.transform: {name!r} has no transform of its own; expected a callable that returns it, "
            "package.module:callable or path/to/file.py:callable"
        )


def _missing_files(config: Mapping[str, Any], made: Collection[str]) -> Iterator[str]:
    """Messages about files and folders that do not exist."""
    source = config["dataset"]["source"]
    if is_pattern(source):
        try:
            expand(source)
        except LabelsimError as error:
            yield str(error)
    elif source not in made and not Path(source).exists():
        yield f"dataset.source: {_absent(Path(source))}"
    elif source not in made and Path(source).is_file() and Path(source).suffix not in (".tar", ".parquet"):
        yield f"dataset.source: {source!r} is neither a folder nor a .tar or .parquet file"
    model, reference = config["model"], config["analysis"]["reference"]["file"]
    files = {
        "dataset.labels": labels_file(config["dataset"]["labels"]),
        "dataset.class_names": _table_file(config["dataset"]["class_names"], "auto"),
        "model.classes": outputs_file(model["classes"]),
        "model.weights": weights_file(model["weights"]),
        "model.name": spec_file(model["name"]),
        "model.transform": spec_file(model["transform"]),
        "analysis.reference.file": None if reference is None else Path(reference),
    }
    for key, file in files.items():
        if file is not None and str(file) not in made and not file.is_file():
            yield f"{key}: {_absent(file)}"
    folder = timm_folder(model["name"])
    if folder is not None and not folder.is_dir():
        yield f"model.name: {_absent(folder)}"


def _table_file(value: str, *words: str) -> Path | None:
    return None if value in words else Path(value)


def _absent(path: Path) -> str:
    """Say that there is no such file or folder, and which part of the path is missing."""
    if path.exists():
        return f"{str(path)!r} is a {'folder' if path.is_dir() else 'file'}"
    parent = next((folder for folder in path.absolute().parents if folder.is_dir()), Path("/"))
    name = path.absolute().relative_to(parent).parts[0]
    found = sorted(entry.name for entry in parent.iterdir())
    return f"{str(path)!r} does not exist: there is no {name!r} in {parent}{near(name, found)}"

"""A name or a callable becomes a network, its weights and its transform."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.machinery
import importlib.util
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

import PIL.Image
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from labelsim.errors import LabelsimError

# Imported where it is used: a network of the user's own does without its two seconds in every job.
if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

__all__ = ["Network", "build", "check_name", "load_callable"]

Transform = Callable[[PIL.Image.Image], Tensor]

# Networks with auxiliary classifiers: how the keys of these begin in a state dict.
_AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
_WRAPPER = re.compile(r"module\.|_orig_mod\.")  # DataParallel's and torch.compile's
# torchvision's own DenseNet files say norm.1 for norm1.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


@dataclass(frozen=True)
class Network:
    """A classifier that is ready for inference, and what is known about it.

    Attributes
    ----------
    module : nn.Module
        In eval mode, float32, on the CPU, no parameter requires a gradient.
    transform : callable
        PIL image (RGB) -> float tensor (channels, height, width).
    weights_digest : str
        Hex BLAKE2b (16 bytes) over the state dict: sorted names, dtypes, shapes and raw bytes.
    outputs : list of str or None
        Label of each output as the weights' metadata names them, where there are any.
    top1 : float or None
        Published ImageNet-1K accuracy in per cent, from the weights' metadata.
    notes : list of str
        What the user should read in the log, such as a transform that was assumed.
    """

    module: nn.Module
    transform: Transform
    weights_digest: str
    outputs: list[str] | None
    top1: float | None
    notes: list[str]


def build(name: str, weights: str | None, transform: str = "auto", base: Path = Path()) -> Network:
    """Build a network with its weights and the transform that its images need.

    What torch draws at random on the way it draws from seed 0, so that every process gets the same network.

    Parameters
    ----------
    name : str
        A torchvision classification builder, or ``package.module:callable`` or ``path/to/file.py:callable``,
        called without arguments and returning an ``nn.Module``.
    weights : str or None
        An entry of the builder's torchvision weights (``IMAGENET1K_V1``, ``DEFAULT``), the path of a
        ``.safetensors`` file or of one that ``torch.save`` wrote (``.pth``, ``.pt``, ``.bin``), or None to
        take the network as its builder returns it.
    transform : str
        ``auto`` for the weights' own (of the builder's default entry if the weights have none), or the spec
        of a callable without arguments that returns the transform.
    base : Path
        What relative paths are relative to.

    Returns
    -------
    Network

    Raises
    ------
    LabelsimError
        If one of them does not exist, cannot be loaded, or does not fit the others.

    Notes
    -----
    No code in a weights file is ever executed: ``torch.load(weights_only=True)``.
    """
    check_name(name)
    entry = _find_entry(name, weights)
    file = None if weights is None or entry is not None else _find_file(name, weights, base)
    preprocess, notes = _find_transform(name, entry, transform, base)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if entry is not None:
            module = _with_entry(name, entry)
        elif ":" in name:
            module = _with_callable(name, file, base)
        else:
            module, more = _with_builder(name, file)
            notes = notes + more
    module = module.cpu().float().eval().requires_grad_(False)
    meta = entry.meta if entry is not None else {}
    return Network(
        module=module,
        transform=preprocess,
        weights_digest=_digest(module),
        outputs=list(meta["categories"]) if "categories" in meta else None,
        top1=meta.get("_metrics", {}).get("ImageNet-1K", {}).get("acc@1"),
        notes=notes,
    )


def check_name(name: str) -> None:
    """Check that a name is a network's, without building or importing anything.

    Parameters
    ----------
    name : str
        As in `build`; whether a callable exists is found out when it is loaded.

    Raises
    ------
    LabelsimError
        If it is neither a torchvision classification builder nor the spec of a callable.
    """
    supported = "a torchvision classification network, package.module:callable or path/to/file.py:callable"
    if name.startswith("timm:"):
        raise LabelsimError(
            f"model.name {name!r}: timm networks are not supported yet. Supported: {supported}; "
            "a callable may build the network with timm."
        )
    if ":" in name:
        return
    models = _models()
    known = models.list_models(module=models)
    if name in known:
        return
    if name in models.list_models():
        raise LabelsimError(
            f"model.name {name!r} is in torchvision, but is no classification network: give {supported}."
        )
    raise LabelsimError(f"model.name {name!r} is no known network{_near(name.lower(), known)} Give {supported}.")


def load_callable(spec: str, base: Path = Path()) -> Callable[..., Any]:
    """Import what a spec names.

    Parameters
    ----------
    spec : str
        ``package.module:callable`` or ``path/to/file.py:callable``.
    base : Path
        What a relative path is relative to.

    Returns
    -------
    callable

    Raises
    ------
    LabelsimError
        If there is no such file, module or name in it, if importing it fails, or if it cannot be called.
    """
    source, colon, name = spec.rpartition(":")
    if not (colon and source and name):
        raise LabelsimError(f"{spec!r} names no callable: give package.module:callable or path/to/file.py:callable.")
    module = _import_file(spec, base / Path(source).expanduser()) if source.endswith(".py") else _import(spec, source)
    if not hasattr(module, name):
        public = [other for other in vars(module) if not other.startswith("_")]
        raise LabelsimError(f"{spec!r}: there is no {name!r} in {source}{_near(name, public)}")
    found = getattr(module, name)
    if not callable(found):
        raise LabelsimError(f"{spec!r} cannot be called: it is of type {type(found).__name__}.")
    return found


def _models() -> ModuleType:
    from torchvision import models

    return models


def _near(name: str, known: Iterable[str]) -> str:
    """End a sentence with the known names that are most like the one given."""
    near = difflib.get_close_matches(name, list(known), n=5)
    return f"; did you mean {', '.join(near)}?" if near else "."


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _import(spec: str, source: str) -> object:
    try:
        return importlib.import_module(source)
    except ModuleNotFoundError as error:
        # Only if the spec's own module is missing; else it is there and lacks something that it imports.
        if error.name and f"{source}.".startswith(f"{error.name}."):
            raise LabelsimError(
                f"{spec!r}: there is no module {error.name!r} in this environment. "
                "Install it, or give the file: path/to/file.py:callable."
            ) from error
        raise LabelsimError(f"{spec!r} could not be imported: {_reason(error)}") from error
    except Exception as error:
        raise LabelsimError(f"{spec!r} could not be imported: {_reason(error)}") from error


def _import_file(spec: str, path: Path) -> object:
    path = path.resolve()
    if not path.is_file():
        raise LabelsimError(f"{spec!r}: there is no file {path}.")
    # Named after its contents, so that what comes from the file has the same name on every machine.
    name = f"_labelsim_{path.stem}_{hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()}"
    if name in sys.modules and sys.modules[name].__file__ == str(path):
        return sys.modules[name]
    module_spec = importlib.util.spec_from_file_location(name, path, loader=_SourceLoader(name, str(path)))
    assert module_spec is not None  # the name ends in .py
    assert module_spec.loader is not None
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[name] = module  # dataclasses and pickle look a class's module up here
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise LabelsimError(f"{spec!r} could not be imported: {_reason(error)}") from error
    return module


class _SourceLoader(importlib.machinery.SourceFileLoader):
    """Compiles the file as it is: Python's cache of compiled files overlooks an edit within a second of the last."""

    def get_code(self, fullname: str) -> CodeType:
        return self.source_to_code(self.get_data(self.path), self.path)


def _call(spec: str, base: Path) -> object:
    function = load_callable(spec, base)
    try:
        return function()
    except LabelsimError:
        raise
    except Exception as error:
        raise LabelsimError(f"{spec!r} failed when it was called without arguments: {_reason(error)}") from error


def _entries(name: str) -> list[str]:
    """Names of a builder's weights entries, aliases such as DEFAULT included."""
    return list(_models().get_model_weights(name).__members__)


def _find_entry(name: str, weights: str | None) -> WeightsEnum | None:
    """Find the weights entry of a torchvision builder that a string names, if it names one."""
    if weights is None or ":" in name:
        return None
    enum = _models().get_model_weights(name)
    return enum.__members__.get(weights.removeprefix(f"{enum.__name__}."))


def _find_file(name: str, weights: str, base: Path) -> Path:
    path = base / Path(weights).expanduser()
    if path.is_file():
        return path
    what = "a folder" if path.is_dir() else "no existing file"
    if ":" in name:
        raise LabelsimError(
            f"model.weights {weights!r} is {what} ({path}). For the callable {name!r} give a file, or null "
            "to take the network as it is returned; weights entries belong to torchvision's own networks."
        )
    raise LabelsimError(
        f"model.weights {weights!r} is neither a weights entry of {name} ({', '.join(_entries(name))}) "
        f"nor a file: {path} is {what}."
    )


def _find_transform(name: str, entry: WeightsEnum | None, transform: str, base: Path) -> tuple[Transform, list[str]]:
    """Find the transform, and what to note about it."""
    if transform != "auto":
        return _check_transform(transform, _call(transform, base)), []
    if entry is not None:
        return entry.transforms(), []
    if ":" in name:
        raise LabelsimError(
            f"model.transform is auto, but {name!r} does not say how its images are prepared: name a "
            "callable that returns the transform, package.module:callable or path/to/file.py:callable."
        )
    default = _models().get_model_weights(name)["DEFAULT"]
    note = f"assumed the transform of {default}, as model.transform is auto and the weights do not bring one"
    return default.transforms(), [note]


def _check_transform(spec: str, transform: object) -> Transform:
    """Try a transform on a grey image, so that a wrong one does not cost a run."""
    if not callable(transform):
        raise LabelsimError(
            f"model.transform {spec!r} must return the transform, a callable, when called without arguments; "
            f"it returned a {type(transform).__name__}."
        )
    try:
        image = transform(PIL.Image.new("RGB", (320, 256), (128, 128, 128)))
    except Exception as error:
        raise LabelsimError(
            f"the transform that model.transform {spec!r} returned failed on a PIL image: {_reason(error)}"
        ) from error
    if not (isinstance(image, Tensor) and image.is_floating_point() and image.ndim == 3):
        shape = f" {image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else ""
        raise LabelsimError(
            f"model.transform {spec!r} makes a {type(image).__name__}{shape} of an RGB image; "
            "a float tensor (3, height, width) is needed."
        )
    return transform


def _with_entry(name: str, entry: WeightsEnum) -> nn.Module:
    try:
        return _models().get_model(name, weights=entry)
    except Exception as error:
        cache = Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name
        raise LabelsimError(
            f"the weights {entry} could not be loaded from {entry.url} ({_reason(error)}). "
            f"To do it by hand, download that file and put it at {cache}."
        ) from error


def _with_callable(spec: str, file: Path | None, base: Path) -> nn.Module:
    module = _call(spec, base)
    if not isinstance(module, nn.Module):
        raise LabelsimError(f"model.name {spec!r} returned a {type(module).__name__}, not a torch.nn.Module.")
    if file is not None:
        _load(module, _read(file), file)
    return module


def _with_builder(name: str, file: Path | None) -> tuple[nn.Module, list[str]]:
    """Build a torchvision network with random weights or those of a file, and say what to note about it."""
    options: dict[str, Any] = {}
    if file is None:
        if name in _AUXILIARY:
            options["init_weights"] = True  # what it does by default, with a FutureWarning
        return _models().get_model(name, **options), [f"{name} has random weights: model.weights is null"]
    state, notes = _read(file), []
    if name in _AUXILIARY:
        auxiliary = any(_WRAPPER.sub("", key).startswith(_AUXILIARY[name]) for key in state)
        # The input is rescaled in the network, as torchvision does for every pretrained one.
        options = {"init_weights": False, "aux_logits": auxiliary, "transform_input": True}
        notes.append(f"assumed that the weights expect transform_input=True, as torchvision's own for {name} do")
    module = _models().get_model(name, **options)
    classes = _classes_in(module, state)
    if classes is not None:
        module = _models().get_model(name, num_classes=classes, **options)
        notes.append(f"built {name} with num_classes={classes}, as {file} has them")
    _load(module, state, file)
    return module, notes


def _read(file: Path) -> dict[str, Tensor]:
    """Read the state dict in a file, without ever executing code from it."""
    loaded: Any
    try:
        if file.suffix == ".safetensors":
            loaded = safetensors.torch.load_file(file)
        else:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # Garbage in place of a file raises anything from EOFError to KeyError.
        raise LabelsimError(_unreadable(file, error)) from error
    if isinstance(loaded, Mapping):
        nested = (loaded[key] for key in ("state_dict", "model") if isinstance(loaded.get(key), Mapping))
        state = dict(next(nested, loaded))
        if state and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
            return state
    raise LabelsimError(
        f"model.weights {file} holds no state dict: it must be a dict of tensors, or have one under "
        "'state_dict' or 'model'."
    )


def _unreadable(file: Path, error: Exception) -> str:
    """Say why a weights file could not be read."""
    refused = re.search(r"GLOBAL (\S+)", str(error))
    if refused:
        return (
            f"model.weights {file} holds a Python object ({refused[1]}), which could run code when loaded: "
            "it was not loaded. Save the state dict alone: torch.save(network.state_dict(), file)."
        )
    return f"model.weights {file} is damaged or no weights file ({_reason(error)})."


def _fit(module: nn.Module, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Give a file's tensors the network's names, and split those whose shape differs from the others."""
    own = module.state_dict()

    def bare(key: str) -> str:
        while key not in own and (wrapper := _WRAPPER.match(key)):
            key = key[wrapper.end() :]
        return key if key in own else _OLD_DENSENET.sub(r"\1\2", key)

    named = {bare(key): value for key, value in state.items()}
    differs = {key: value for key, value in named.items() if key in own and own[key].shape != value.shape}
    return {key: value for key, value in named.items() if key not in differs}, differs


def _classes_in(module: nn.Module, state: Mapping[str, Tensor]) -> int | None:
    """Find the number of classes in a state dict, if that is all that keeps it from fitting a network."""
    own = module.state_dict()
    _, differs = _fit(module, state)
    if not all(value.ndim and value.shape[1:] == own[key].shape[1:] for key, value in differs.items()):
        return None
    counts = {(own[key].shape[0], value.shape[0]) for key, value in differs.items()}
    return counts.pop()[1] if len(counts) == 1 else None


def _load(module: nn.Module, state: Mapping[str, Tensor], file: Path) -> None:
    """Load a state dict into a network, strictly."""
    own = module.state_dict()
    fits, differs = _fit(module, state)
    versioned: Any = OrderedDict(fits)
    # Without versions of its own, modules look for their old names too; MNASNet insists on one.
    versioned._metadata = {"": {"version": module._version}}
    try:
        missing, unexpected = module.load_state_dict(versioned, strict=False)
    except Exception as error:
        raise LabelsimError(f"model.weights {file} does not fit {type(module).__name__}: {_reason(error)}") from error
    shapes = [f"{key} {tuple(value.shape)} instead of {tuple(own[key].shape)}" for key, value in differs.items()]
    problems = {
        "of another shape": shapes,
        "missing": [key for key in missing if key not in differs],
        "unexpected": unexpected,
    }
    found = [f"{len(keys)} {what}: {_some(keys)}" for what, keys in problems.items() if keys]
    if found:
        raise LabelsimError(f"model.weights {file} does not fit {type(module).__name__}: {'; '.join(found)}.")


def _some(keys: list[str], most: int = 5) -> str:
    return ", ".join(keys[:most]) + (", ..." if len(keys) > most else "")


def _digest(module: nn.Module) -> str:
    """Hex BLAKE2b over a network's state dict; see `Network`."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        if not isinstance(tensor, Tensor):
            raise LabelsimError(f"the network's state {name!r} is a {type(tensor).__name__}, not a tensor.")
        digest.update(f"{name}\n{tensor.dtype}\n{tuple(tensor.shape)}\n".encode())
        # NumPy knows no bfloat16, so the bytes are taken as such.
        digest.update(tensor.reshape(-1).contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()

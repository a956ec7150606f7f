"""A name or a callable becomes a network, its weights and its transform."""

from __future__ import annotations

import hashlib
import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import PIL.Image
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from labelsim.errors import LabelsimError, near, reason
from labelsim.network.published import Published, Transform
from labelsim.network.specs import TIMM, is_callable_spec, weights_file
from labelsim.network.weights import load_state, read_state

__all__ = ["Network", "build", "check_name", "load_callable"]


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
    labels : list of str or None
        Class id of each output, where the weights' publisher tells.
    top1 : float or None
        Published ImageNet-1k accuracy in per cent, where the weights' publisher tells.
    notes : list of str
        What the user should read in the log, such as a transform that was assumed.
    """

    module: nn.Module
    transform: Transform
    weights_digest: str
    labels: list[str] | None
    top1: float | None
    notes: list[str]


def build(name: str, weights: str | None, transform: str = "auto", base: Path = Path()) -> Network:
    """Build a network with its weights and the transform that its images need.

    What torch draws at random on the way it draws from seed 0, so that every process gets the same network.

    Parameters
    ----------
    name : str
        A torchvision classification builder, or a network of timm as ``timm:NAME`` or ``timm:NAME.TAG``
        (``timm:hf-hub:owner/repository`` and ``timm:local-dir:folder`` too), or ``package.module:callable`` or
        ``path/to/file.py:callable``, called without arguments and returning an ``nn.Module``.
    weights : str or None
        An entry of the builder's torchvision weights (``IMAGENET1K_V1``, ``DEFAULT``), one of timm's tags or
        ``DEFAULT`` (the tag in the name, or timm's first), the path of a ``.safetensors`` file or of one that
        ``torch.save`` wrote (``.pth``, ``.pt``, ``.bin``), or None to take the network as its builder returns it.
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
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # before the file is imported: it may draw, too
        own = None if transform == "auto" else _check_transform(transform, _call(transform, base))
        torch.manual_seed(0)
        found = _called(name, weights, base) if is_callable_spec(name) else _published(name, weights, base)
    preprocess = own or found.transform
    if preprocess is None:
        raise LabelsimError(
            f"model.transform is auto, but {name!r} does not say how its images are prepared: name a "
            "callable that returns the transform, package.module:callable or path/to/file.py:callable."
        )
    notes = list(found.notes)
    if own is None and found.assumed is not None:
        whose = f"the transform of {found.assumed}"
        notes.insert(0, f"assumed {whose}, as model.transform is auto and the weights do not bring one")
    module = found.module.cpu().float().eval().requires_grad_(False)
    return Network(module, preprocess, _digest(module), found.labels, found.top1, notes)


def check_name(name: str) -> None:
    """Check that a name is a network's, without building it.

    Parameters
    ----------
    name : str
        As in `build`; whether a callable exists is found out when it is loaded.

    Raises
    ------
    LabelsimError
        If it is neither a torchvision classification builder, nor one of timm's, nor the spec of a callable.
    """
    if not is_callable_spec(name):
        _zoo(name).check(name.removeprefix(TIMM))


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
        raise LabelsimError(f"{spec!r}: there is no {name!r} in {source}{near(name, public)}")
    found = getattr(module, name)
    if not callable(found):
        raise LabelsimError(f"{spec!r} cannot be called: it is of type {type(found).__name__}.")
    return found


def _zoo(name: str) -> Any:
    """The module that knows a published network. Imported here: a network of the user's own does without."""
    if name.startswith(TIMM):
        from labelsim.network import timm_models

        return timm_models
    from labelsim.network import torchvision_models

    return torchvision_models


def _published(name: str, weights: str | None, base: Path) -> Published:
    """A network of torchvision's or timm's."""
    zoo, short = _zoo(name), name.removeprefix(TIMM)
    file = weights_file(weights, base)
    entry = None if weights is None or file is not None else zoo.find_entry(short, weights)
    if weights is not None and entry is None:
        known = ", ".join(zoo.entries(short)) or "it has none"
        file = _find_file(weights, base, f"is neither published weights of {name} ({known}) nor a file: it is {{}}.")
    found: Published = zoo.build(short, entry, file)
    return found


def _called(spec: str, weights: str | None, base: Path) -> Published:
    """A network of the user's own."""
    wrong = (
        f"is {{}}. For the callable {spec!r} give a file, or null to take the network as it is returned; "
        "weights entries belong to torchvision's own networks, and timm's."
    )
    file = None if weights is None else _find_file(weights, base, wrong)
    module = _call(spec, base)
    if not isinstance(module, nn.Module):
        raise LabelsimError(f"model.name {spec!r} returned a {type(module).__name__}, not a torch.nn.Module.")
    _check_module(spec, module)
    if file is not None:
        load_state(module, read_state(file), file)
    return Published(module)


def _check_module(spec: str, module: nn.Module) -> None:
    """Refuse modules whose layers cannot be seen, or that have no weights yet."""
    tensors = [*module.parameters(), *module.buffers()]
    if isinstance(module, torch.jit.ScriptModule):
        wrong = "a TorchScript module, whose layers cannot be probed: return the module that it was made from"
    elif any(map(is_lazy, tensors)):
        wrong = "a module with lazy layers that have no weights yet: run it once on an image before it is returned"
    elif any(tensor.is_meta for tensor in tensors):
        wrong = "a module on the device meta, which has no weights: build it on the CPU"
    else:
        return
    raise LabelsimError(f"model.name {spec!r} returned {wrong}.")


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
        raise LabelsimError(f"{spec!r} could not be imported: {reason(error)}") from error
    except Exception as error:
        raise LabelsimError(f"{spec!r} could not be imported: {reason(error)}") from error


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
        raise LabelsimError(f"{spec!r} could not be imported: {reason(error)}") from error
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
        raise LabelsimError(f"{spec!r} failed when it was called without arguments: {reason(error)}") from error


def _find_file(weights: str, base: Path, wrong: str) -> Path:
    path = base / Path(weights).expanduser()
    if path.is_file():
        return path
    what = f"a folder ({path})" if path.is_dir() else f"no existing file ({path})"
    raise LabelsimError(f"model.weights {weights!r} {wrong.format(what)}")


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
            f"the transform that model.transform {spec!r} returned failed on a PIL image: {reason(error)}"
        ) from error
    if not (isinstance(image, Tensor) and image.is_floating_point() and image.ndim == 3):
        shape = f" {image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else ""
        raise LabelsimError(
            f"model.transform {spec!r} makes a {type(image).__name__}{shape} of an RGB image; "
            "a float tensor (3, height, width) is needed."
        )
    return transform


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

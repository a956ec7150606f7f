"""Build a network from its name or from a callable, with its weights and its transform."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import PIL.Image
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from labelsim.errors import LabelsimError, near, reason
from labelsim.network.network import Network, Transform
from labelsim.network.specs import TIMM, is_callable_spec, weights_file
from labelsim.network.weights import load_state, read_state

__all__ = ["Network", "build", "check_name", "load_callable"]


def build(name: str, weights: str | None, transform: str = "auto", base: Path = Path()) -> Network:
    """Build a network with its weights and the transform for its images.

    Random numbers of torch are drawn from seed 0, so that every process builds the same network.

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
        ``auto`` for the weights' own (or that of the builder's default entry if they have none), or the spec of a
        callable without arguments that returns the transform.
    base : Path
        Folder for relative paths.

    Returns
    -------
    Network

    Raises
    ------
    LabelsimError
        If one of them does not exist, cannot be loaded, or does not fit the others.

    Notes
    -----
    Code in a weights file is never executed: ``torch.load(weights_only=True)``.
    """
    check_name(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # before the file is imported: it may draw, too
        own = None if transform == "auto" else _check_transform(transform, _call(transform, base))
        torch.manual_seed(0)
        if not is_callable_spec(name):
            found = _published(name, weights, base)
        elif own is not None:
            found = Network(_called(name, weights, base), own)
        else:
            raise LabelsimError(
                f"model.transform is auto, but {name!r} has no transform of its own: give a callable that returns it, "
                "package.module:callable or path/to/file.py:callable."
            )
    notes = found.notes
    if own is None and found.assumed is not None:
        assumed = f"assumed the transform of {found.assumed}, as model.transform is auto and the weights have none"
        notes = [assumed, *notes]
    module = found.module.cpu().float().eval().requires_grad_(False)
    return replace(found, module=module, transform=own or found.transform, weights_digest=_digest(module), notes=notes)


def check_name(name: str) -> None:
    """Check the name of a network without building it.

    Parameters
    ----------
    name : str
        As in `build`. A callable is only checked when it is loaded.

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
        Folder for relative paths.

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
        raise LabelsimError(f"{spec!r} is not a callable: give package.module:callable or path/to/file.py:callable.")
    module = _import(spec, source, base)
    if not hasattr(module, name):
        public = [other for other in vars(module) if not other.startswith("_")]
        raise LabelsimError(f"{spec!r}: there is no {name!r} in {source}{near(name, public)}")
    found = getattr(module, name)
    if not callable(found):
        raise LabelsimError(f"{spec!r} cannot be called: it is of type {type(found).__name__}.")
    return found


def _zoo(name: str) -> Any:
    """The module with a published network. Imported here, as a network of the user's own needs neither."""
    if name.startswith(TIMM):
        from labelsim.network import timm_models

        return timm_models
    from labelsim.network import torchvision_models

    return torchvision_models


def _published(name: str, weights: str | None, base: Path) -> Network:
    """A network of torchvision's or timm's."""
    zoo, short = _zoo(name), name.removeprefix(TIMM)
    file = weights_file(weights, base)
    entry = None if weights is None or file is not None else zoo.find_entry(short, weights)
    if weights is not None and entry is None:
        known = ", ".join(zoo.entries(short)) or "there are none"
        file = _find_file(weights, base, f"published weights of {name} ({known}) or a file")
    found: Network = zoo.build(short, entry, file)
    return found


def _called(spec: str, weights: str | None, base: Path) -> nn.Module:
    """A network of the user's own."""
    expected = f"a file, or null (the network as {spec!r} returns it)"
    file = None if weights is None else _find_file(weights, base, expected)
    module = _call(spec, base)
    if not isinstance(module, nn.Module):
        raise LabelsimError(f"model.name {spec!r} returned a {type(module).__name__}, not a torch.nn.Module.")
    _check_module(spec, module)
    if file is not None:
        load_state(module, read_state(file), file)
    return module


def _check_module(spec: str, module: nn.Module) -> None:
    """Refuse modules whose layers cannot be hooked, or that have no weights yet."""
    tensors = [*module.parameters(), *module.buffers()]
    if isinstance(module, torch.jit.ScriptModule):
        wrong = "a TorchScript module, whose layers cannot be probed: return the original module"
    elif any(map(is_lazy, tensors)):
        wrong = "a module with lazy layers, which have no weights yet: run it once on an image before you return it"
    elif any(tensor.is_meta for tensor in tensors):
        wrong = "a module on the device meta, which has no weights: build it on the CPU"
    else:
        return
    raise LabelsimError(f"model.name {spec!r} returned {wrong}.")


def _import(spec: str, source: str, base: Path) -> ModuleType:
    try:
        if source.endswith(".py"):
            return _run_file(base / Path(source).expanduser())
        return importlib.import_module(source)
    except Exception as error:
        raise LabelsimError(f"{spec!r} could not be imported: {reason(error)}") from error


def _run_file(path: Path) -> ModuleType:
    """Import a file as it is now: Python's cache of compiled files misses an edit within a second of the last."""
    code = path.read_bytes()
    # Named after its contents, so that objects from the file have the same module name on every machine.
    name = f"_labelsim_{path.stem}_{hashlib.blake2b(code, digest_size=8).hexdigest()}"
    path = path.resolve()
    if name in sys.modules and sys.modules[name].__file__ == str(path):
        return sys.modules[name]
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses and pickle look up a class's module here
    try:
        exec(compile(code, path, "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _call(spec: str, base: Path) -> object:
    function = load_callable(spec, base)
    try:
        return function()
    except LabelsimError:
        raise
    except Exception as error:
        raise LabelsimError(f"{spec!r} failed when it was called without arguments: {reason(error)}") from error


def _find_file(weights: str, base: Path, expected: str) -> Path:
    path = base / Path(weights).expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise LabelsimError(f"model.weights {weights!r} is not valid: {path} {what}; expected {expected}.")
    return path


def _check_transform(spec: str, transform: object) -> Transform:
    """Try a transform on a grey image, before it costs a run."""
    if not callable(transform):
        raise LabelsimError(
            f"model.transform {spec!r} returned a {type(transform).__name__}; expected the transform, a callable."
        )
    try:
        image = transform(PIL.Image.new("RGB", (320, 256), (128, 128, 128)))
    except Exception as error:
        raise LabelsimError(
            f"the transform from model.transform {spec!r} failed on a PIL image: {reason(error)}"
        ) from error
    if not (isinstance(image, Tensor) and image.is_floating_point() and image.ndim == 3):
        shape = f" {image.dtype} {tuple(image.shape)}" if isinstance(image, Tensor) else ""
        raise LabelsimError(
            f"the transform from model.transform {spec!r} returned a {type(image).__name__}{shape} for an RGB image; "
            "expected a float tensor (3, height, width)."
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

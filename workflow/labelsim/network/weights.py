"""Weights in a file: read without running code from it, and loaded strictly."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from labelsim.errors import LabelsimError, listed, reason

__all__ = ["WRAPPER", "classes_in", "load_state", "read_state"]

WRAPPER = re.compile(r"module\.|_orig_mod\.")  # prefixes of keys, from DataParallel and torch.compile
_LFS = b"version https://git-lfs"  # start of a pointer file
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# torchvision's own DenseNet files have norm.1 for norm1.
_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")


def read_state(file: Path) -> dict[str, Tensor]:
    """Read a state dict from a file, without executing code from it.

    Parameters
    ----------
    file : Path
        A ``.safetensors`` file, or one written by ``torch.save``.

    Returns
    -------
    dict of str to Tensor
        The file's contents, or its entry ``state_dict`` or ``model``.

    Raises
    ------
    LabelsimError
        If the file cannot be read, or does not contain a state dict.
    """
    loaded: Any
    try:
        if file.suffix == ".safetensors":
            loaded = safetensors.torch.load_file(file)
        else:
            loaded = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # A damaged file can raise anything from EOFError to KeyError.
        raise LabelsimError(_unreadable(file, error)) from error
    if isinstance(loaded, Mapping):
        nested = (loaded[key] for key in ("state_dict", "model") if isinstance(loaded.get(key), Mapping))
        state = dict(next(nested, loaded))
        if state and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
            return state
    raise LabelsimError(
        f"model.weights {file} is not a state dict; expected a dict of tensors, or one under 'state_dict' or 'model'."
    )


def classes_in(module: nn.Module, state: Mapping[str, Tensor]) -> int | None:
    """Number of classes in a state dict that fits a network otherwise.

    Parameters
    ----------
    module : nn.Module
        The network, with any number of classes.
    state : mapping of str to Tensor
        As `read_state` returns it.

    Returns
    -------
    int or None
        None if the state dict fits as it is, or if more than the number of classes differs.
    """
    own = module.state_dict()
    _, differs = _fit(module, state)
    if not all(value.ndim and value.shape[1:] == own[key].shape[1:] for key, value in differs.items()):
        return None
    counts = {(own[key].shape[0], value.shape[0]) for key, value in differs.items()}
    return counts.pop()[1] if len(counts) == 1 else None


def load_state(module: nn.Module, state: Mapping[str, Tensor], file: Path) -> None:
    """Load a state dict into a network, strictly.

    Parameters
    ----------
    module : nn.Module
        The network.
    state : mapping of str to Tensor
        As `read_state` returns it.
    file : Path
        Where it came from, for the message.

    Raises
    ------
    LabelsimError
        If tensors are missing, unexpected, of another shape, or not real where the network's are.
    """
    own = module.state_dict()
    fits, differs = _fit(module, state)
    versioned: Any = OrderedDict(fits)
    # Without versions, modules also look for their old names; MNASNet requires one.
    versioned._metadata = {"": {"version": module._version}}
    try:
        missing, unexpected = module.load_state_dict(versioned, strict=False)
    except Exception as error:
        raise LabelsimError(f"model.weights {file} does not fit {type(module).__name__}: {reason(error)}") from error
    shapes = [f"{key} {tuple(value.shape)} instead of {tuple(own[key].shape)}" for key, value in differs.items()]
    types = [
        f"{key} {str(value.dtype).removeprefix('torch.')}"
        for key, value in fits.items()
        if key in own and own[key].is_floating_point() and value.dtype not in _FLOATS
    ]
    problems = {
        "of another shape": shapes,
        "of another type": types,
        "missing": [key for key in missing if key not in differs],
        "unexpected": unexpected,
    }
    found = [f"{len(keys)} {what}: {listed(keys, 5)}" for what, keys in problems.items() if keys]
    if found:
        raise LabelsimError(f"model.weights {file} does not fit {type(module).__name__}: {'; '.join(found)}.")


def _unreadable(file: Path, error: Exception) -> str:
    """Say why a weights file could not be read."""
    text = reason(error)
    if refused := re.search(r"GLOBAL (\S+)", text):
        return (
            f"model.weights {file} was not loaded: it contains a Python object ({refused[1]}), which could run code. "
            "Save the state dict alone: torch.save(network.state_dict(), file)."
        )
    if "TorchScript" in text:
        return (
            f"model.weights {file} is a TorchScript archive. "
            "Save its state dict instead: torch.save(torch.jit.load(file).state_dict(), other)."
        )
    if not isinstance(error, OSError) and _begins_with(file, _LFS):
        return f"model.weights {file} is a Git LFS pointer, not the weights: run `git lfs pull` in its folder."
    # PyTorch's message about weights_only advises to run code from the file.
    return f"model.weights {file} is damaged or not a weights file{'' if 'weights_only' in text else f' ({text})'}."


def _begins_with(file: Path, start: bytes) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(start)) == start


def _fit(module: nn.Module, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Rename a file's tensors to the network's names; return those of the right shape, and the others."""
    own = module.state_dict()

    def bare(key: str) -> str:
        while key not in own and (wrapper := WRAPPER.match(key)):
            key = key[wrapper.end() :]
        return key if key in own else _OLD_DENSENET.sub(r"\1\2", key)

    named = {bare(key): value for key, value in state.items()}
    differs = {key: value for key, value in named.items() if key in own and own[key].shape != value.shape}
    return {key: value for key, value in named.items() if key not in differs}, differs

"""Interpret values of the section `model`: a published network or weights, a callable, or a file."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["TIMM", "is_callable_spec", "short_name", "spec_file", "timm_folder", "weights_file"]

TIMM = "timm:"
# ResNet34_Weights.IMAGENET1K_V1, as torchvision prints an entry; not ResNet34_Weights.pth.
_ENTRY = re.compile(r"[A-Za-z0-9]+(_[A-Za-z0-9]+)*_Weights\.[A-Z][A-Z0-9_]*")


def is_callable_spec(spec: str) -> bool:
    """Whether a value has the form package.module:callable or path/to/file.py:callable."""
    return ":" in spec and not spec.startswith(TIMM)


def spec_file(spec: str) -> Path | None:
    """The file of path/to/file.py:callable; None for any other value."""
    file, _, name = spec.rpartition(":")
    return Path(file) if name and file.endswith(".py") else None


def short_name(name: str) -> str:
    """A network's name without the parent folders of its file or folder."""
    if (file := spec_file(name)) is not None:
        return f"{file.name}:{name.rpartition(':')[2]}"
    folder = timm_folder(name)
    return name if folder is None else f"{TIMM}local-dir:{folder.name}"


def timm_folder(name: str) -> Path | None:
    """The folder of timm:local-dir:folder; None for any other name."""
    folder = name.removeprefix(f"{TIMM}local-dir:")
    return Path(folder) if folder != name else None


def weights_file(weights: str | None, base: Path = Path()) -> Path | None:
    """The file in `model.weights`, whether it exists or not.

    Parameters
    ----------
    weights : str or None
        The value of `model.weights`.
    base : Path
        Folder for relative paths.

    Returns
    -------
    Path or None
        None for published weights of torchvision or timm, and for null. An existing file takes precedence.
    """
    if weights is None:
        return None
    path = base / Path(weights).expanduser()
    if path.is_file():
        return path
    if _ENTRY.fullmatch(weights):
        return None
    return path if path.suffix or "/" in weights else None

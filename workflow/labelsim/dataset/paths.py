"""Sources that are several files: patterns, as in a shell."""

import os
from glob import escape, glob, has_magic
from itertools import takewhile
from pathlib import Path

from braceexpand import braceexpand

from labelsim.errors import LabelsimError, listed

__all__ = ["expand", "is_pattern", "parts", "root"]


def is_pattern(source: str | Path) -> bool:
    """Whether a source has braces or wildcards and is not a path that exists."""
    # Path.exists raises an error for names of more than 255 characters, which braces may have
    return any(character in str(source) for character in "{*?[") and not os.path.exists(source)  # noqa: PTH110


def expand(source: str | Path) -> list[Path]:
    """Find the files that match a pattern.

    Parameters
    ----------
    source : path
        A path; or a pattern with braces, ``{0000..0063}`` or ``{a,b}``, with wildcards, ``*``, ``?`` and ``[ab]``, or
        both. Existing paths and folders are taken literally, as the first part of ``set [1]/*.tar``.

    Returns
    -------
    list of Path
        Sorted and unique. A path that is not a pattern need not exist.

    Raises
    ------
    LabelsimError
        If an expansion of the braces matches nothing, as a missing shard must be noticed, if a brace is not closed, or
        if expansions are absolute and relative paths.
    """
    return sorted({file for files in parts(source).values() for file in files})


def parts(source: str | Path) -> dict[str, list[Path]]:
    """Find the files of each expansion of a pattern's braces, sorted; parameters and errors as for `expand`."""
    if not is_pattern(source):
        return {str(source): [Path(source)]}
    found = {part: sorted(map(Path, _matches(part))) for part in _braces(source)}
    if missing := [part for part, files in found.items() if not files]:
        raise LabelsimError(f"dataset.source: {str(source)!r}: there is no {listed(missing, 1)}")
    return found


def root(source: str | Path) -> Path:
    """Return the folder below which all files of a source lie: for a pattern by its text, not by what it matches."""
    if not is_pattern(source):
        return Path(source) if Path(source).is_dir() else Path(source).parent
    return Path(os.path.commonpath(list(map(_fixed, _braces(source)))))


def _there(source: str | Path) -> tuple[Path, Path]:
    """Split a path into the folders at its beginning that exist, and the rest."""
    above = Path(source).parents
    folder = next((folder for folder in above if os.path.exists(folder)), above[-1])  # noqa: PTH110
    return folder, Path(source).relative_to(folder)


def _fixed(part: str) -> Path:
    """Return the folders at the beginning of a path that are no patterns."""
    folder, rest = _there(part)
    return folder.joinpath(*takewhile(lambda name: not has_magic(name), rest.parent.parts))


def _braces(source: str | Path) -> list[str]:
    folder, rest = _there(source)
    try:
        found = [str(folder / one) for one in braceexpand(str(rest), escape=False)]
    except ValueError:
        raise LabelsimError(f"dataset.source: a brace of {str(source)!r} is not closed") from None
    if len({os.path.isabs(part) for part in found}) > 1:  # noqa: PTH117
        raise LabelsimError(f"dataset.source: {str(source)!r} mixes absolute and relative paths; use one kind")
    return found


def _matches(part: str) -> list[str]:
    if os.path.exists(part):  # noqa: PTH110
        return [part]
    folder, rest = _there(part)
    # Path.glob would find hidden files
    return glob(str(Path(escape(str(folder))) / rest)) if has_magic(str(rest)) else []  # noqa: PTH207

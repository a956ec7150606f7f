"""Sources that are several files: patterns as shells have them."""

import os
from glob import glob, has_magic
from itertools import takewhile
from pathlib import Path

from braceexpand import braceexpand

from labelsim.errors import LabelsimError

__all__ = ["expand", "is_pattern", "parts", "root"]


def is_pattern(source: str | Path) -> bool:
    """Whether a source is a pattern: it has braces or wildcards, and is no path that exists."""
    # not Path.exists, which raises an error if braces make a name of more than 255 characters
    return any(character in str(source) for character in "{*?[") and not os.path.exists(source)  # noqa: PTH110


def expand(source: str | Path) -> list[Path]:
    """Find the files that a pattern stands for.

    Parameters
    ----------
    source : path
        A path; or a pattern with braces, ``{0000..0063}`` or ``{a,b}``, of which every expansion must exist, with
        wildcards, ``*``, ``?`` and ``[ab]``, or with both.

    Returns
    -------
    list of Path
        Sorted, none twice. A path that is no pattern is returned as it is, whether it exists or not.

    Raises
    ------
    LabelsimError
        If a part of the pattern matches nothing, as a missing shard must not go unnoticed, or if a brace is not closed.
    """
    return sorted({file for files in parts(source).values() for file in files})


def parts(source: str | Path) -> dict[str, list[Path]]:
    """Find the files that each expansion of a pattern's braces stands for.

    Parameters
    ----------
    source : path
        As for `expand`.

    Returns
    -------
    dict of str to list of Path
        Sorted files by expansion. A path that is no pattern stands for itself, whether it exists or not.

    Raises
    ------
    LabelsimError
        As `expand` does.
    """
    if not is_pattern(source):
        return {str(source): [Path(source)]}
    found = {part: sorted(map(Path, _matches(part))) for part in _braces(source)}
    missing = [part for part, files in found.items() if not files]
    if missing:
        others = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise LabelsimError(f"dataset.source: there is no {missing[0]}{others}, which {str(source)!r} stands for")
    return found


def root(source: str | Path) -> Path:
    """The folder below which all files of a source lie: of a pattern, by its text and not by what it matches today."""
    if not is_pattern(source):
        return Path(source) if Path(source).is_dir() else Path(source).parent
    fixed = (takewhile(lambda name: not has_magic(name), Path(part).parent.parts) for part in _braces(source))
    return Path(os.path.commonpath([Path(*names) for names in fixed]))


def _braces(source: str | Path) -> list[str]:
    try:
        return list(braceexpand(str(source), escape=False))
    except ValueError:
        raise LabelsimError(f"dataset.source: a brace of {str(source)!r} has no partner") from None


def _matches(part: str) -> list[str]:
    if has_magic(part):
        return glob(part)  # noqa: PTH207  Path.glob takes no absolute pattern
    return [part] if os.path.exists(part) else []  # noqa: PTH110

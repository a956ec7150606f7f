"""Sources that are several files: patterns as shells have them."""

import os
from glob import escape, glob, has_magic
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
        wildcards, ``*``, ``?`` and ``[ab]``, or with both. What is there by its very name is no pattern, be it all of
        the source, the folders that it begins with, or what braces make of it: ``set [1]/*.tar``.

    Returns
    -------
    list of Path
        Sorted, none twice. A path that is no pattern is returned as it is, whether it exists or not.

    Raises
    ------
    LabelsimError
        If a part of the pattern matches nothing, as a missing shard must not go unnoticed, if a brace has no partner,
        or if braces make absolute and relative paths.
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
    return Path(os.path.commonpath(list(map(_fixed, _braces(source)))))


def _there(source: str | Path) -> tuple[Path, Path]:
    """The folders that a path begins with and that are there by their very names, and the rest of it."""
    above = Path(source).parents
    folder = next((folder for folder in above if os.path.exists(folder)), above[-1])  # noqa: PTH110
    return folder, Path(source).relative_to(folder)


def _fixed(part: str) -> Path:
    """The folders that a path begins with, up to the first name that is a pattern."""
    folder, rest = _there(part)
    return folder.joinpath(*takewhile(lambda name: not has_magic(name), rest.parent.parts))


def _braces(source: str | Path) -> list[str]:
    folder, rest = _there(source)
    try:
        found = [str(folder / one) for one in braceexpand(str(rest), escape=False)]
    except ValueError:
        raise LabelsimError(f"dataset.source: a brace of {str(source)!r} has no partner") from None
    if len({os.path.isabs(part) for part in found}) > 1:  # noqa: PTH117
        raise LabelsimError(
            f"dataset.source: {str(source)!r} mixes absolute and relative paths; give those of one kind"
        )
    return found


def _matches(part: str) -> list[str]:
    if os.path.exists(part):  # noqa: PTH110
        return [part]
    folder, rest = _there(part)
    # Path.glob would find hidden files
    return glob(str(Path(escape(str(folder))) / rest)) if has_magic(str(rest)) else []  # noqa: PTH207

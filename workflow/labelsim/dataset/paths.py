"""Sources that are several files: patterns as shells have them."""

from glob import glob, has_magic
from pathlib import Path

from braceexpand import braceexpand

from labelsim.errors import LabelsimError

__all__ = ["expand", "is_pattern"]


def is_pattern(source: str | Path) -> bool:
    """Whether a source is a pattern: it has braces or wildcards, and is no path that exists."""
    return any(character in str(source) for character in "{*?[") and not Path(source).exists()


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
        If a part of the pattern matches nothing: a missing shard must not go unnoticed.
    """
    if not is_pattern(source):
        return [Path(source)]
    parts = list(braceexpand(str(source), escape=False))
    found = {part: _matches(part) for part in parts}
    missing = [part for part, files in found.items() if not files]
    if missing:
        others = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise LabelsimError(f"dataset.source: there is no {missing[0]}{others}, which {str(source)!r} stands for")
    return sorted({Path(file) for files in found.values() for file in files})


def _matches(part: str) -> list[str]:
    if has_magic(part):
        return glob(part)  # noqa: PTH207  Path.glob takes no absolute pattern
    return [part] if Path(part).exists() else []

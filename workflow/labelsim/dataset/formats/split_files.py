"""The files of one split, told by their names, such as the Hugging Face hub's `train-00000-of-00002.parquet`."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath

from labelsim.dataset.paths import parts
from labelsim.errors import LabelsimError

__all__ = ["check_split", "find", "split_by_folder", "split_files", "split_folders"]

# Older tables of the hub have a hash behind the numbers.
_NUMBERED = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?:-[0-9a-f]+)?")
_WORDS = {
    **dict.fromkeys(["train", "training"], "train"),
    **dict.fromkeys(["validation", "valid", "val", "dev"], "validation"),
    **dict.fromkeys(["test", "testing", "eval", "evaluation"], "test"),
}
_LISTED = 3  # files that an error message names


def find(source: str | Path) -> list[Path]:
    """Find the tables of a source.

    Parameters
    ----------
    source : path
        A table; a folder with tables in it, or in its folder `data`; or a pattern of either.

    Returns
    -------
    list of Path
        Sorted. A path that is neither folder nor pattern is returned as it is, whether it exists or not.

    Raises
    ------
    LabelsimError
        If there are none, or both in a folder and in its `data`.
    """
    return _all(_found(source))


def split_files(source: str | Path) -> list[Path]:
    """Find the tables of a source, and see that none is missing and that splits are mixed on purpose only.

    Each expansion of the source's braces is looked at by itself: `{train,validation}-*.parquet` are two splits. A
    folder, and what wildcards match, must be one split, and all of it. How many files that are is said by names such as
    `train-00000-of-00002.parquet`. Files that are named one by one, with braces too, may be a part of a split.

    Parameters
    ----------
    source : path
        As for `find`.

    Returns
    -------
    list of Path
        Sorted.

    Raises
    ------
    LabelsimError
        If there are no tables, or one is no regular file; as `check_split` does; or if some of a split's are missing.
    """
    found = _found(source)
    for part, files in found.items():
        if strange := [file for file in files if not file.is_file()]:
            raise LabelsimError(f"dataset.source: there is no file {strange[0]}")
        check_split(part, files)
        if files != [Path(part)]:
            _check_complete(files)
    return _all(found)


def check_split(source: str | Path, files: Sequence[Path]) -> None:
    """See that files are not of several splits.

    Splits are told by names such as `train-00000-of-00002`, or by words such as `train` and `test` in them; or by such
    words in the names of the folders in which the files lie. A name that says nothing of a split is that of no other
    split.

    Parameters
    ----------
    source : path
        What they were found by: one expansion of a pattern's braces.
    files : sequence of Path
        Tables, or other files that are named as tables are.

    Raises
    ------
    LabelsimError
        If their names, or those of their folders, are of more than one.
    """
    root = Path(os.path.commonpath([file.parent for file in files]))
    inside = [file.relative_to(root) for file in files]
    for told in (_by_name, split_by_folder):
        splits: dict[str, list[Path]] = defaultdict(list)
        patterns: dict[str, str] = {}
        for file in inside:
            if named := told(file):
                split, pattern = named
                splits[split].append(file)
                patterns.setdefault(split, str(file.with_name(f"{pattern}{file.suffix}")))
        if len(splits) > 1:
            counts = ", ".join(f"{split} ({len(members):,})" for split, members in splits.items())
            one = patterns.get("train") or patterns[max(patterns)]
            raise LabelsimError(
                f"dataset.source: {source} holds the files of more than one split: {counts}. Name one of them, by a "
                f"pattern such as {root / one}; or several, with braces: {root}/{{{','.join(patterns.values())}}}"
            )


def split_by_folder(file: PurePath) -> tuple[str, str] | None:
    """Which split a file is of by the folders in its path, and the pattern of its files' names; None if none says."""
    return next(((split, "*") for folder in file.parts[:-1] for split, _ in _splits_in(folder)), None)


def split_folders(names: Iterable[str]) -> list[str]:
    """The names that are a split's and nothing else, such as `train` and `val`, if they are of several splits or all.

    Parameters
    ----------
    names : iterable of str
        Of folders that lie together.
    """
    names = sorted(names)
    found = [name for name in names if name.lower() in _WORDS]
    return found if found == names or len({_WORDS[name.lower()] for name in found}) > 1 else []


def _found(source: str | Path) -> dict[str, list[Path]]:
    """The tables of each expansion of the source's braces."""
    return {part: [file for path in paths for file in _inside(path)] for part, paths in parts(source).items()}


def _all(found: Mapping[str, Sequence[Path]]) -> list[Path]:
    return sorted({file for files in found.values() for file in files})


def _inside(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    here, inside = (_tables(folder) for folder in (path, path / "data"))
    if here and inside:
        raise LabelsimError(
            f"dataset.source: there are tables in {path} and in {path / 'data'}; "
            f"name those of one, by a pattern such as {inside[0].parent / '*.parquet'}"
        )
    if not here and not inside:
        raise LabelsimError(f"dataset.source: there are no .parquet files in {path}, nor in a folder data in it")
    return here or inside


def _tables(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))


def _by_name(file: Path) -> tuple[str, str] | None:
    """Which split a file is of, and the pattern of its files' names; None if its name does not say."""
    if numbered := _NUMBERED.fullmatch(file.stem):
        return numbered["split"], f"{numbered['split']}-*"
    return next(((split, f"*{word}*") for split, word in _splits_in(file.stem)), None)


def _splits_in(name: str) -> list[tuple[str, str]]:
    """The splits that words in a name stand for, and these words."""
    return [(_WORDS[word.lower()], word) for word in re.split(r"[^A-Za-z]+", name) if word.lower() in _WORDS]


def _check_complete(files: Sequence[Path]) -> None:
    counts: dict[tuple[Path, str], set[int]] = defaultdict(set)
    for file in files:
        if numbered := _NUMBERED.fullmatch(file.stem):
            counts[file.parent, numbered["split"]].add(int(numbered["count"]))
    for (folder, split), found in counts.items():
        if len(found) > 1:
            raise LabelsimError(
                f"dataset.source: {folder} holds the split {split} more than once, cut into "
                f"{' and into '.join(map(str, sorted(found)))} files; name the files of one"
            )
        (count,) = found
        names = [f"{split}-{number:05d}-of-{count:05d}" for number in range(count)]
        # one that is there but not chosen is no accident
        there = {file.stem[: len(names[0])] for file in _tables(folder)}
        if missing := [f"{name}.parquet" for name in names if name not in there]:
            others = f" and {len(missing) - _LISTED:,} more" if len(missing) > _LISTED else ""
            raise LabelsimError(
                f"dataset.source: of the {count:,} files of the split {split} in {folder} there are missing "
                f"{', '.join(missing[:_LISTED])}{others}. Fetch them; or name those that are to be used, one by one "
                f"or with braces, as in {folder / split}-{{00000..00002}}-of-{count:05d}.parquet"
            )

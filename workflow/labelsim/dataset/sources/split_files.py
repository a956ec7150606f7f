"""The files of one split, told by their names, such as the Hugging Face hub's `train-00000-of-00002.parquet`."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from labelsim.dataset.paths import expand, is_pattern
from labelsim.errors import LabelsimError

__all__ = ["check_split", "find", "split_files"]

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
        A table; a folder with tables in it, or in its folder `data`; or a pattern of tables.

    Returns
    -------
    list of Path
        Sorted. A path that is neither folder nor pattern is returned as it is, whether it exists or not.

    Raises
    ------
    LabelsimError
        If there are none, or both in the folder and in `data`.
    """
    path = Path(source)
    if not path.is_dir():
        return expand(source)
    here, inside = (_tables(folder) for folder in (path, path / "data"))
    if here and inside:
        raise LabelsimError(
            f"dataset.source: there are tables in {path} and in {path / 'data'}; "
            f"name those of one, by a pattern such as {inside[0].parent / '*.parquet'}"
        )
    if not here and not inside:
        raise LabelsimError(f"dataset.source: there are no .parquet files in {path}, nor in a folder data in it")
    return here or inside


def split_files(source: str | Path) -> list[Path]:
    """Find the tables of a source, and see that they are one split, and all of it.

    Which split a table is of, and of how many files, is said by its name: `train-00000-of-00002.parquet`. Without such
    numbers, words such as `train` and `test` in the names are heeded. Files that are named one by one, with
    braces too, may be a part of a split.

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
        If there are no tables, if they are of more than one split, or if some of the split's are missing.
    """
    files = find(source)
    check_split(source, files)
    if Path(source).is_dir() or (is_pattern(source) and any(sign in str(source) for sign in "*?[")):
        _check_complete(files)
    return files


def check_split(source: str | Path, files: Sequence[Path]) -> None:
    """See that files are of one split.

    Parameters
    ----------
    source : path
        What they were found by.
    files : sequence of Path
        Tables, or other files that are named as tables are.

    Raises
    ------
    LabelsimError
        If their names are of more than one.
    """
    splits = defaultdict(list)
    for file in files:
        splits[_split(file)].append(file)
    if len(splits) > 1:
        counts = ", ".join(f"{split or members[0].name} ({len(members):,})" for split, members in splits.items())
        raise LabelsimError(
            f"dataset.source: {source} holds the files of more than one split: {counts}. "
            f"Name one of them, by a pattern such as {_pattern(splits)}"
        )


def _tables(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))


def _split(file: Path) -> str:
    if numbered := _NUMBERED.fullmatch(file.stem):
        return numbered["split"]
    return _WORDS.get(_word(file).lower(), "")


def _word(file: Path) -> str:
    """The word in a file's name that says which split it is of."""
    return next((word for word in re.split(r"[^A-Za-z]+", file.stem) if word.lower() in _WORDS), "")


def _pattern(splits: dict[str, list[Path]]) -> Path:
    split = "train" if "train" in splits else max(splits)
    file = splits[split][0]
    if _NUMBERED.fullmatch(file.stem):
        return file.with_name(f"{split}-*{file.suffix}")
    return file if len(splits[split]) == 1 else file.with_name(f"*{_word(file)}*{file.suffix}")


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

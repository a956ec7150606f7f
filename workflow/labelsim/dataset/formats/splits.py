"""The files of one split, known by their names, such as the Hugging Face hub's `train-00000-of-00002.parquet`."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from labelsim.dataset.paths import parts
from labelsim.errors import LabelsimError, listed

__all__ = ["check_split", "find", "split_files", "split_folders", "split_of_folders", "tables_in"]

# Older tables of the hub have a hash after the numbers.
_NUMBERED = re.compile(r"(?P<split>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?:-[0-9a-f]+)?")
_WORDS = {
    **dict.fromkeys(["train", "training"], "train"),
    **dict.fromkeys(["validation", "valid", "val", "dev"], "validation"),
    **dict.fromkeys(["test", "testing", "eval", "evaluation"], "test"),
}


def find(source: str | Path) -> list[Path]:
    """Find the tables of a source, sorted.

    Parameters
    ----------
    source : path
        A table, which need not exist; a folder with tables in it, or in its folder `data`; or a pattern of either.

    Raises
    ------
    LabelsimError
        If there are none, or some both in a folder and in its `data`.
    """
    return sorted({file for paths in parts(source).values() for path in paths for file in _inside(path)})


def split_files(source: str | Path) -> list[Path]:
    """Find the tables of a source as `find` does, and check that none is missing and that splits are not mixed.

    Each expansion of the source's braces is checked by itself: `{train,validation}-*.parquet` are two splits. A folder,
    and what wildcards match, must be one split, and complete: `train-00000-of-00002.parquet` says how many files it
    has. Files that are named one by one may be a part of a split.

    Raises
    ------
    LabelsimError
        If there are no tables, files of several splits, or only some of a split's.
    """
    for part, paths in parts(source).items():
        files = [file for path in paths for file in _inside(path)]
        if missing := [file for file in files if not file.is_file()]:
            raise LabelsimError(f"dataset.source: there is no file {missing[0]}")
        check_split(part, files)
        if files != [Path(part)]:
            _check_complete(files)
    return find(source)


def check_split(source: str | Path, files: Sequence[Path]) -> None:
    """Check that the files of a source, without braces, are of one split; LabelsimError if not.

    Their names say which split they are of, or those of their folders: by numbers (`train-00000-of-00002`) or by words
    (`train`, `val`). A name that says nothing is of no other split.
    """
    root = Path(os.path.commonpath([file.parent for file in files]))
    for split_of in (_split_of_name, split_of_folders):
        counts: Counter[str] = Counter()
        patterns: dict[str, Path] = {}
        for file in files:
            if found := split_of(file.relative_to(root)):
                split, pattern = found
                counts[split] += 1
                patterns.setdefault(split, file.relative_to(root).with_name(f"{pattern}{file.suffix}"))
        if len(counts) > 1:
            numbers = ", ".join(f"{split} ({number:,})" for split, number in counts.items())
            one = patterns.get("train") or patterns[max(patterns)]
            raise LabelsimError(
                f"dataset.source: {source} has files of more than one split: {numbers}. Name one split, such as "
                f"{root / one}; or several, with braces: {root}/{{{','.join(map(str, patterns.values()))}}}"
            )


def split_of_folders(file: PurePath) -> tuple[str, str] | None:
    """Return the split that a file's folders are named after and the pattern of its files' names; None if none is."""
    return next(((split, "*") for folder in file.parts[:-1] for split, _ in _splits_in(folder)), None)


def split_folders(names: Iterable[str]) -> list[str]:
    """Return those names of folders that are a split's, if they are all of the names or of several splits."""
    names = sorted(names)
    found = [name for name in names if name.lower() in _WORDS]
    return found if found == names or len({_WORDS[name.lower()] for name in found}) > 1 else []


def _inside(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    here, data = (tables_in(folder) for folder in (path, path / "data"))
    if here and data:
        raise LabelsimError(
            f"dataset.source: there are tables in {path} and in {path / 'data'}. Name one, such as "
            f"{path / 'data' / '*.parquet'}"
        )
    if not here and not data:
        raise LabelsimError(f"dataset.source: there are no .parquet files in {path} or its folder data")
    return here or data


def tables_in(folder: Path) -> list[Path]:
    """Return the tables directly in a folder."""
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))


def _split_of_name(file: Path) -> tuple[str, str] | None:
    if numbered := _NUMBERED.fullmatch(file.stem):
        return numbered["split"], f"{numbered['split']}-*"
    return next(((split, f"*{word}*") for split, word in _splits_in(file.stem)), None)


def _splits_in(name: str) -> list[tuple[str, str]]:
    """Return the splits that a name mentions, and their words there."""
    return [(_WORDS[word.lower()], word) for word in re.split(r"[^A-Za-z]+", name) if word.lower() in _WORDS]


def _check_complete(files: Sequence[Path]) -> None:
    counts: dict[tuple[Path, str], set[int]] = defaultdict(set)
    for file in files:
        if numbered := _NUMBERED.fullmatch(file.stem):
            counts[file.parent, numbered["split"]].add(int(numbered["count"]))
    for (folder, split), (count, *others) in counts.items():
        if others:
            raise LabelsimError(
                f"dataset.source: {folder} has the split {split} twice, in {count} and {others[0]} files"
            )
        names = [f"{split}-{number:05d}-of-{count:05d}" for number in range(count)]
        # one that is there but was not chosen is not missing
        there = {file.stem[: len(names[0])] for file in tables_in(folder)}
        if missing := [f"{name}.parquet" for name in names if name not in there]:
            raise LabelsimError(
                f"dataset.source: {len(missing):,} of the {count:,} files of the split {split} in {folder} are "
                f"missing: {listed(missing)}. Add them; or name those to use, one by one or with braces: "
                f"{folder / split}-{{00000..00002}}-of-{count:05d}.parquet"
            )

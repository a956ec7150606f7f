"""The classes of a run: their ids and names, the file that holds them, and finding the class that someone means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from unicodedata import normalize

from labelsim.dataset.imagenet import imagenet_names, official_labels
from labelsim.dataset.tables import read_pairs
from labelsim.errors import LabelsimError, listed, near
from labelsim.storage.damage import damaged
from labelsim.storage.digests import canonical, digest
from labelsim.storage.json_files import read_document, write_document

__all__ = ["class_names", "composed", "find_class", "read_class_table", "read_classes", "write_classes"]

# "é" may be one character or two, as on Macs, and looks the same
composed = partial(normalize, "NFC")


def class_names(ids: Sequence[str], table: Path | None = None) -> list[str]:
    """Name the classes.

    A name comes from the table; else it is the ImageNet-1k name if the id is one of its wnids; else the id. Classes
    of the same name (ignoring case) get their id appended: "crane (n02012849)".

    Parameters
    ----------
    ids : sequence of str
        Class ids.
    table : Path, optional
        CSV or Parquet file with the columns class_id and name; it need not have all classes.

    Returns
    -------
    list of str
        One name per class, in the order of `ids`.

    Raises
    ------
    LabelsimError
        If the table cannot be used, or names none of the classes.
    """
    given = read_class_table(table) if table is not None else {}
    given = {composed(class_id): name for class_id, name in given.items()} | given
    if given and given.keys().isdisjoint(map(composed, ids)):
        raise LabelsimError(
            f"dataset.class_names: {table} names none of the dataset's classes. Its first class_id is "
            f"{next(iter(given))!r}, the dataset's first class {ids[0]!r}."
        )
    known = imagenet_names()
    names = [given.get(id_) or given.get(composed(id_)) or known.get(id_, id_) for id_ in ids]
    times = Counter(map(_folded, names))
    return [f"{name} ({id_})" if times[_folded(name)] > 1 else name for id_, name in zip(ids, names, strict=True)]


def read_class_table(path: Path) -> dict[str, str]:
    """Read names by class id from a CSV or Parquet file with the columns class_id and name.

    Raises
    ------
    LabelsimError
        If the file cannot be read, lacks a column or a value, or has a class twice.
    """
    return read_pairs(Path(path), "class_id", "name", "class names")


def write_classes(folder: Path, ids: Sequence[str], names: Sequence[str]) -> None:
    """Write `classes.json`, and `class_ids.json` with the number of classes and a digest of their ids.

    Snakemake compares files of up to 1 MB by content. The ids and names of 21,841 classes take more, so the small
    file stands for the large one. Both are in the folder of the shards; ids and names are in the order of the class
    index.
    """
    classes = [{"id": id_, "name": name} for id_, name in zip(ids, names, strict=True)]
    write_document(folder / "classes.json", {"classes": classes})
    write_document(folder / "class_ids.json", {"classes": len(ids), "digest": digest(canonical(list(ids)))})


def read_classes(folder: Path) -> tuple[list[str], list[str]]:
    """Return the ids and the names that `write_classes` wrote.

    Raises
    ------
    LabelsimError
        If a file is missing or damaged, or the two do not belong together.
    """
    classes = read_document(folder / "classes.json")["classes"]
    ids = [entry["id"] for entry in classes]
    if digest(canonical(ids)) != read_document(folder / "class_ids.json")["digest"]:
        raise damaged(folder / "classes.json", f"it does not hold the classes of {folder / 'class_ids.json'}")
    return ids, [entry["name"] for entry in classes]


def find_class(query: str, ids: Sequence[str], names: Sequence[str]) -> int:
    """Find the class that someone means.

    Parameters
    ----------
    query : str
        In this order of precedence: an id; a name, or, for a class with its ImageNet-1k name, the official label or any
        of its synonyms; a part of a name; a part of a label. The query is ambiguous if several classes match equally
        well: "crane", "maillot" and "missile" are two classes each. Case matters in ids only.
    ids, names : sequence of str
        Ids and names of the classes.

    Returns
    -------
    int
        Position of the class.

    Raises
    ------
    LabelsimError
        If there is no such class, or more than one: "crane" and "maillot" are two classes each.
    """
    if query in ids:
        return list(ids).index(query)
    folded = list(map(_folded, names))
    labels = [_label(*pair) for pair in zip(ids, folded, strict=True)]
    synonyms = [label.split(", ") if label else [] for label in labels]
    wanted = _folded(query.strip())
    ways: list[Callable[[int], bool]] = [
        lambda i: composed(ids[i]) == composed(query),
        lambda i: wanted in (folded[i], labels[i], *synonyms[i]),
        lambda i: wanted in folded[i],
        lambda i: wanted in labels[i],
    ]
    hits = ([i for i in range(len(ids)) if way(i)] for way in ways if wanted)
    found = next(filter(None, hits), [])
    if len(found) == 1:
        return found[0]
    if found:
        candidates = listed([f"{names[index]} [{ids[index]}]" for index in found], 10)
        raise LabelsimError(f"{query!r} may mean {len(found)} classes. Give the id of one: {candidates}")
    raise LabelsimError(
        f"there is no class {query!r}{near(wanted, folded)} Give a class's id, its name, or part of its name."
    )


def _folded(name: str) -> str:
    return composed(name).casefold()


def _label(class_id: str, folded_name: str) -> str:
    """Return the official label, in lower case, of a class that has its ImageNet-1k name; else an empty text."""
    if imagenet_names().get(class_id, "").casefold() != folded_name:
        return ""
    return official_labels()[class_id].casefold()

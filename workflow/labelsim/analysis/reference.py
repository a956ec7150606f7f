"""A reference: similarity of classes from another source than the network, WordNet or a file.

WordNet knows kinds, not shapes or scenes: its nearest to a knot are screw and nail, which are fasteners too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute

from labelsim.analysis.stored import Matrix
from labelsim.analysis.wordnet.hierarchy import hierarchy
from labelsim.dataset.tables import open_table
from labelsim.errors import LabelsimError, listed
from labelsim.statistics import taxonomy

__all__ = ["REFERENCE", "reference"]

logger = logging.getLogger(__name__)

REFERENCE = "reference"  # what tables call it as a method; its measures are the groups
_KEY = "analysis.reference.file"


def reference(ids: Sequence[str], file: Path | None) -> list[Matrix]:
    """Matrices of reference similarity between classes.

    Parameters
    ----------
    ids : sequence of str
        Ids of the run's classes.
    file : Path or None
        A CSV or Parquet file with the columns `class_id`, `neighbor_id` and `similarity`. The similarity of two classes
        is the mean of their rows, in either direction. By default the reference is WordNet 3.0, for ids that are wnids.

    Returns
    -------
    list of Matrix
        One for each measure: `file`; or `wup`, `path` and `lin` of `labelsim.statistics.taxonomy`. NaN for classes, or
        pairs of them, that the reference lacks. Empty if it knows no two of the classes.

    Raises
    ------
    LabelsimError
        If the file cannot be read, or lacks a column or a value.
    """
    return _of_wordnet(ids) if file is None else _of_file(ids, file)


def _of_wordnet(ids: Sequence[str]) -> list[Matrix]:
    known, synset, child, parent, hyponyms = hierarchy(ids)
    _log_known("WordNet 3.0", ids, known)
    if len(known) < 2:
        return []
    of = taxonomy.ancestors(child, parent, synset)
    depth = taxonomy.depths(child, parent, len(hyponyms))
    content = taxonomy.information(hyponyms, len(hyponyms))
    measures: dict[str, Callable[[slice], NDArray[np.float64]]] = {
        "wup": partial(taxonomy.wup, of, depth),
        "path": partial(taxonomy.path, of),
        "lin": partial(taxonomy.lin, of, content),
    }
    return [
        Matrix(REFERENCE, name, partial(_known_rows, measure, known, len(ids))) for name, measure in measures.items()
    ]


def _known_rows(
    measure: Callable[[slice], NDArray[np.float64]], known: NDArray[np.int64], classes: int, rows: slice
) -> NDArray[np.float32]:
    """Rows of a matrix of all classes from those of the known ones."""
    first, last = (int(i) for i in np.searchsorted(known, (rows.start, rows.stop)))
    result = np.full((rows.stop - rows.start, classes), np.nan, dtype=np.float32)
    result[np.ix_(known[first:last] - rows.start, known)] = measure(slice(first, last))
    return result


def _of_file(ids: Sequence[str], file: Path) -> list[Matrix]:
    names, table = open_table(file, _KEY, ("class_id", "neighbor_id", "similarity"))
    try:
        one, other = (compute.index_in(table[name].cast(pa.string()), pa.array(ids, pa.string())) for name in names[:2])
        values = table[names[2]].cast(pa.float64()).to_numpy()
    except pa.ArrowException as error:
        raise LabelsimError(f"{_KEY}: {file}: similarity must be a number: {error}") from None
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        raise LabelsimError(f"{_KEY}: row {wrong[0] + 1} of {file} has no finite similarity")
    of_run = compute.and_(one.is_valid(), other.is_valid()).to_numpy()
    ends = np.array([column.fill_null(0).to_numpy() for column in (one, other)], dtype=np.int64)
    of_run &= ends[0] != ends[1]
    low, high = np.sort(ends[:, of_run], axis=0)
    pairs, pair = np.unique(low * len(ids) + high, return_inverse=True)
    means = np.bincount(pair, values[of_run]) / np.bincount(pair)
    low, high = np.divmod(pairs, max(1, len(ids)))
    _log_known(str(file), ids, np.union1d(low, high))
    if not len(pairs):
        return []
    keys = np.concatenate([pairs, high * len(ids) + low])
    order = np.argsort(keys)
    return [Matrix(REFERENCE, "file", partial(_listed_rows, keys[order], np.tile(means, 2)[order], len(ids)))]


def _listed_rows(
    keys: NDArray[np.int64], values: NDArray[np.float64], classes: int, rows: slice
) -> NDArray[np.float32]:
    """Rows of a matrix whose values are listed by row and column, as one number."""
    first, last = np.searchsorted(keys, (rows.start * classes, rows.stop * classes))
    result = np.full((rows.stop - rows.start, classes), np.nan, dtype=np.float32)
    result.flat[keys[first:last] - rows.start * classes] = values[first:last]
    return result


def _log_known(name: str, ids: Sequence[str], known: NDArray[np.int64]) -> None:
    missing = [ids[i] for i in np.setdiff1d(np.arange(len(ids)), known)]
    left_out = f"; left out: {listed(missing)}" if missing else ""
    logger.info("%s knows %s of %s classes%s", name, f"{len(known):,}", f"{len(ids):,}", left_out)

"""Agreement: how far methods, or two runs, agree on which classes are similar."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from labelsim.analysis.stored import Matrix, nullable, rankable, read, stored
from labelsim.errors import LabelsimError
from labelsim.statistics.agreement import overlaps, spearman, upper
from labelsim.statistics.bootstrap import mean_interval
from labelsim.storage.zarr_store import load

if TYPE_CHECKING:
    import xarray

__all__ = ["agreement", "compare"]


def agreement(similarity: xarray.Dataset, reference: Sequence[Matrix], k: int) -> pa.Table:
    """Compare each two methods, layer groups and measures of the reference.

    Parameters
    ----------
    similarity : xarray.Dataset
        A run's similarity matrices.
    reference : sequence of Matrix
        As `labelsim.analysis.reference.reference` returns it.
    k : int
        Number of nearest classes.

    Returns
    -------
    pyarrow.Table
        One row for each two: `method_a`, `group_a`, `method_b`, `group_b`; `classes`, the number of classes that both
        compare with another; `spearman` over all pairs of classes; `overlap`, the share of the k nearest classes that
        they have in common, averaged over classes, with a 95 % bootstrap interval (`low`, `high`). Null where it cannot
        be computed.
    """
    matrices = [*stored(similarity), *reference]
    pairs = list(combinations(range(len(matrices)), 2))
    names = {
        f"{name}_{side}": pa.array([getattr(matrices[pair[i]], name) for pair in pairs], pa.string())
        for i, side in enumerate("ab")
        for name in ("method", "group")
    }
    return pa.table({**names, **_measure(matrices, pairs, k, similarity.sizes["class"])})


def compare(a: xarray.Dataset, b: xarray.Dataset, k: int) -> pa.Table:
    """Compare each method and layer group of one run with that of another.

    Parameters
    ----------
    a, b : xarray.Dataset
        The similarity matrices of two runs. Classes are the same if their ids are; others are left out.
    k : int
        Number of nearest classes.

    Returns
    -------
    pyarrow.Table
        One row a (method, group) of both runs; other columns as in `agreement`.

    Raises
    ------
    LabelsimError
        If the runs have no two classes, or no method, in common.
    """
    of_a, of_b = ({(matrix.method, matrix.group): matrix for matrix in stored(run)} for run in (a, b))
    common = [key for key in of_a if key in of_b]
    if not common:
        methods = (", ".join(sorted({method for method, _ in found})) for found in (of_a, of_b))
        raise LabelsimError(f"The runs have no method in common: {' against '.join(methods)}")
    ids = [load(run, "class_id").tolist() for run in (a, b)]
    shared = set(ids[0]) & set(ids[1])
    if len(shared) < 2:
        raise LabelsimError(
            f"The runs have {len(shared)} class ids in common, of {len(ids[0]):,} such as {ids[0][0]!r} and "
            f"{len(ids[1]):,} such as {ids[1][0]!r}; two are needed"
        )
    order = [id_ for id_ in ids[0] if id_ in shared]
    index = [{id_: i for i, id_ in enumerate(own)} for own in ids]
    places = [np.array([own[id_] for id_ in order]) for own in index]
    matrices = [_at(found[key], place) for key in common for found, place in zip((of_a, of_b), places, strict=True)]
    pairs = [(2 * i, 2 * i + 1) for i in range(len(common))]
    names = {name: pa.array([key[i] for key in common], pa.string()) for i, name in enumerate(("method", "group"))}
    return pa.table({**names, **_measure(matrices, pairs, k, len(order))})


def _at(matrix: Matrix, places: NDArray[np.int64]) -> Matrix:
    """A matrix of some of the classes, in another order."""

    def rows(part: slice) -> NDArray[np.float32]:
        own = places[part]
        block = matrix.rows(slice(int(own.min()), int(own.max()) + 1))
        return block[np.ix_(own - own.min(), places)]

    return matrix._replace(rows=rows)


def _measure(matrices: Sequence[Matrix], pairs: Sequence[tuple[int, int]], k: int, classes: int) -> dict[str, Any]:
    """The columns that measure how far two matrices agree."""
    ranked = rankable(len(matrices), classes)
    shares, parts = [np.zeros((len(pairs), 0))], []
    for first, blocks in read(matrices, classes):
        shares.append(overlaps(blocks, pairs, k, first))
        if ranked:
            parts.append([upper(block, first) for block in blocks])
    overlap = np.concatenate(shares, axis=1)
    vectors = [np.concatenate(part) for part in zip(*parts, strict=True)]
    known = [values[~np.isnan(values)] for values in overlap]
    intervals = [mean_interval(values) for values in known]
    return {
        "classes": pa.array([len(values) for values in known], pa.int64()),
        "spearman": nullable(spearman(vectors, pairs) if ranked else np.full(len(pairs), np.nan)),
        "overlap": nullable([values.mean() if len(values) else np.nan for values in known]),
        "low": nullable([low for low, _ in intervals]),
        "high": nullable([high for _, high in intervals]),
    }

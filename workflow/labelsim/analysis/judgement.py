"""Judgement: how similar the nearest classes of each method are by a reference."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from labelsim.analysis.stored import Matrix, nullable, rankable, read, stored
from labelsim.statistics.agreement import spearman, upper
from labelsim.statistics.bootstrap import mean_interval
from labelsim.statistics.judgement import Judgement, judge

if TYPE_CHECKING:
    import xarray

__all__ = ["BASELINE", "judgement"]

BASELINE = "hidden"  # the method that the others are compared with

_COLUMNS = {
    **dict.fromkeys(("method", "group", "measure"), pa.string()),
    **dict.fromkeys(("k", "classes"), pa.int64()),
    **dict.fromkeys(("mean", "random", "best", "spearman", "difference", "low", "high"), pa.float64()),
}


def judgement(similarity: xarray.Dataset, reference: Sequence[Matrix], k: int) -> pa.Table:
    """Compare the nearest classes of each method with a reference.

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
        One row a (method, group, measure): `k`; `classes`, the number of classes that could be compared; the means over
        classes of `labelsim.statistics.judgement.Judgement`: `mean`, `random` and `best`; `spearman` over all pairs of
        classes; `difference` between `mean` and that of the method `hidden`, with a paired 95 % bootstrap interval over
        classes (`low`, `high`). Null where it cannot be computed; the difference also for `hidden` itself. No rows
        without a reference.

    Notes
    -----
    All of a row is computed from the pairs of classes that the reference, the method and `hidden` know.
    """
    methods = stored(similarity)
    if not reference or not methods:
        return pa.schema(_COLUMNS).empty_table()
    baseline = next((i for i, matrix in enumerate(methods) if matrix.method == BASELINE), None)
    matrices, classes = [*methods, *reference], similarity.sizes["class"]
    ranked = rankable(len(matrices), classes)
    judged, parts = [], []
    for first, blocks in read(matrices, classes):
        judged.append(judge(blocks[: len(methods)], blocks[len(methods) :], k, first, baseline))
        if ranked:
            parts.append([upper(block, first) for block in blocks])
    found = Judgement(*(np.concatenate(part, axis=2) for part in zip(*judged, strict=True)))
    pairs = list(product(range(len(methods)), range(len(methods), len(matrices))))
    correlations = np.full(len(pairs), np.nan)
    if ranked:
        vectors = [np.concatenate(part) for part in zip(*parts, strict=True)]
        if baseline is not None:
            unknown = np.isnan(vectors[baseline])
            for vector in vectors:
                vector[unknown] = np.nan
        correlations = spearman(vectors, pairs)
    rows = []
    for (i, j), correlation in zip(pairs, correlations, strict=True):
        mean, own, random, best = (values[i, j - len(methods)] for values in found)
        differences = np.full(len(mean), np.nan) if i == baseline else mean - own
        averages = [_mean(values) for values in (mean, random, best)]
        names = (methods[i].method, methods[i].group, matrices[j].group)
        known = np.count_nonzero(~np.isnan(mean))
        rows.append((*names, k, known, *averages, correlation, _mean(differences), *mean_interval(differences)))
    columns = zip(*rows, strict=True)
    return pa.table(
        {
            name: nullable(values) if kind == pa.float64() else pa.array(values, kind)
            for (name, kind), values in zip(_COLUMNS.items(), columns, strict=True)
        }
    )


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else np.nan

"""How similar the nearest classes are by a reference, such as what people say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelsim.statistics.neighbors import top_k

__all__ = ["Judgement", "judge"]


class Judgement(NamedTuple):
    """Reference similarity of classes, by method (P), measure (M) of the reference, and class (R); NaN where unknown.

    Attributes
    ----------
    mean : (P, M, R) float64
        Mean over the k nearest classes by the method.
    baseline : (P, M, R) float64
        The same by the baseline; NaN without one.
    random : (P, M, R) float64
        Mean over all other classes: what random neighbors have on average.
    best : (P, M, R) float64
        Mean over the k nearest classes by the reference itself: the largest possible.
    """

    mean: NDArray[np.float64]
    baseline: NDArray[np.float64]
    random: NDArray[np.float64]
    best: NDArray[np.float64]


def judge(
    similarities: Sequence[NDArray[np.floating]],
    measures: Sequence[NDArray[np.floating]],
    k: int,
    first: int = 0,
    baseline: int | None = None,
) -> Judgement:
    """Compare the nearest classes by some methods with a reference.

    Everything about a method is computed from the pairs of classes that it, the baseline and all measures know. So
    `mean`, `baseline`, `random` and `best` differ only in which of the same classes they call the nearest.

    Parameters
    ----------
    similarities : sequence of P (R, C) float
        A similarity matrix of each method, or some of its rows; NaN where there is no similarity.
    measures : sequence of M (R, C) float
        The same rows of each measure of the reference; NaN where the reference lacks a class.
    k : int
        Number of nearest classes. Where fewer are known, all are the nearest.
    first : int
        Class index of the first row.
    baseline : int, optional
        The method to compare all with.
    """
    rows = len(similarities[0])
    result = Judgement(*(np.full((len(similarities), len(measures), rows), np.nan) for _ in Judgement._fields))
    comparable: NDArray[np.bool_] = ~np.any([np.isnan(measure) for measure in measures], axis=0)
    comparable[np.arange(rows), first + np.arange(rows)] = False
    if baseline is not None:
        comparable &= ~np.isnan(similarities[baseline])
    same: dict[bytes, list[NDArray[np.float64]]] = {}  # what only depends on the pairs that are known
    for i, similarity in enumerate(similarities):
        known = comparable & ~np.isnan(similarity)
        pattern = np.packbits(known).tobytes()
        if pattern not in same:
            best = [_nearest(measure, [measure], known, k, first)[0] for measure in measures]
            same[pattern] = [_means(measures, known), np.array(best)]
            if baseline is not None:
                same[pattern].append(_nearest(similarities[baseline], measures, known, k, first))
        result.mean[i] = _nearest(similarity, measures, known, k, first)
        result.random[i], result.best[i], *own = same[pattern]
        if own:
            result.baseline[i] = own[0]
    return result


def _nearest(
    similarity: NDArray[np.floating],
    measures: Sequence[NDArray[np.floating]],
    known: NDArray[np.bool_],
    k: int,
    first: int,
) -> NDArray[np.float64]:
    """Mean of each measure over the k nearest classes, (M, R)."""
    found = top_k(np.where(known, similarity, np.nan), k, first)
    row, column, rows = found.class_index - first, found.neighbor_index, len(similarity)
    sums = [np.bincount(row, measure[row, column], minlength=rows) for measure in measures]
    with np.errstate(invalid="ignore"):
        return np.array(sums) / np.bincount(row, minlength=rows)


def _means(measures: Sequence[NDArray[np.floating]], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Mean of each measure over all known classes, (M, R)."""
    with np.errstate(invalid="ignore"):
        return np.array([measure.sum(axis=1, where=known, dtype=np.float64) for measure in measures]) / known.sum(
            axis=1
        )

"""Similarities between classes, from what represents them, read in blocks of columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from labelsim.statistics.moments import Moments

__all__ = ["Columns", "centered", "cosine", "mutual", "pairwise"]

Columns = Callable[[], Iterable[NDArray[np.floating]]]


def cosine(
    columns: Columns, rows: int, groups: NDArray[np.bool_] | None = None, block: int | None = None
) -> Iterator[NDArray[np.float64]]:
    """Cosine between all pairs of C vectors, by groups of their D columns, some rows of the matrices at a time.

    Parameters
    ----------
    columns : callable
        Returns the vectors as an iterable over blocks of columns, (C, B) float; summed in float64. It is called once if
        there is one block of rows, else once more than there are blocks.
    rows : int
        C, the number of vectors.
    groups : (G, D) bool, optional
        The columns of each group; one group of all columns by default.
    block : int, optional
        Rows at a time; all of them by default.

    Yields
    ------
    (G, R, C) float64
        The matrices' rows in order, `block` at a time. Each matrix is symmetric, between -1 and 1, and 1 on the
        diagonal. The rows and columns of vectors that contain NaN or are zero are NaN.
    """
    block = max(1, rows if block is None else min(block, rows))
    parts = [slice(start, min(start + block, rows)) for start in range(0, rows, block)]
    number = 1 if groups is None else len(groups)
    # With one block of rows they are on the diagonal of the products.
    squares = _squares(columns, rows, groups) if len(parts) > 1 else None
    for part in parts:
        products = np.zeros((number, part.stop - part.start, rows))
        defined = np.ones((number, rows), dtype=bool) if squares is None else ~np.isnan(squares)
        for g, vectors in _by_group(columns(), groups):
            defined[g] &= np.isfinite(vectors).all(axis=1)
            values = np.where(defined[g, :, np.newaxis], np.asarray(vectors, dtype=np.float64), 0.0)
            for other in parts:
                products[g, :, other] += _product(values, part, other)
        own = np.arange(part.start, part.stop)
        for g, matrix in enumerate(products):
            norms = np.sqrt(np.where(defined[g], np.diagonal(matrix), np.nan) if squares is None else squares[g])
            norms[norms == 0] = np.nan
            for other in parts:
                matrix[:, other] /= np.outer(norms[part], norms[other])
            np.clip(matrix, -1.0, 1.0, out=matrix)
            matrix[own - part.start, own] = np.where(np.isnan(norms[part]), np.nan, 1.0)
        yield products


def pairwise(
    columns: Callable[[], Iterable[Moments]], rows: int, groups: NDArray[np.bool_], block: int | None = None
) -> Iterator[NDArray[np.float64]]:
    r"""Minus the root mean square, over channels, of Welch's t between two classes; as `cosine` otherwise.

    .. math:: -\sqrt{\frac{1}{D} \sum_j \frac{(\mu_{cj} - \mu_{ij})^2}{v_{cj} / n_c + v_{ij} / n_i}}

    A channel in which two equal constants are compared has t = 0. A channel is left out of all pairs if t is infinite
    for one of them, as it is constant in two classes, with different values.

    Parameters
    ----------
    columns : callable
        Returns the classes' moments as an iterable over blocks of channels: count (C,), mean and m2 (C, B).
    rows, groups, block
        As in `cosine`.

    Yields
    ------
    (G, R, C) float64
        The matrices' rows. Each matrix is symmetric, at most 0, and 0 on the diagonal. The rows and columns of classes
        with fewer than two samples are NaN.
    """
    from labelsim.statistics.pairwise_kernel import add_squares  # loads Numba

    block = max(1, rows if block is None else min(block, rows))
    for first in range(0, rows, block):
        size = min(block, rows - first)
        sums, channels = np.zeros((len(groups), size, rows)), np.zeros(len(groups))
        start = 0
        for moments in columns():
            stop = start + moments.mean.shape[1]
            with np.errstate(divide="ignore", invalid="ignore"):
                errors = moments.variance() / moments.count[:, np.newaxis]
            usable = _one_constant(moments.mean, errors)
            for g, chosen in enumerate(groups[:, start:stop] & usable):
                if chosen.any():
                    add_squares(sums[g], _columns(moments.mean, chosen), _columns(errors, chosen), first)
                    channels[g] += chosen.sum()
            start = stop
        inside = np.arange(first, first + size)
        for g in range(len(groups)):
            square = sums[g][:, inside]
            sums[g][:, inside] = square + square.T  # one of the two is 0
            sums[g][moments.count[inside] < 2] = sums[g][:, moments.count < 2] = np.nan
        with np.errstate(divide="ignore", invalid="ignore"):
            yield 0 - np.sqrt(sums / channels[:, np.newaxis, np.newaxis])


def mutual(
    columns: Columns, rows: int, groups: NDArray[np.bool_] | None = None, block: int | None = None
) -> Iterator[NDArray[np.float64]]:
    """Mean of a matrix of shares and its transpose: of what class c gives class i, and i gives c.

    Parameters
    ----------
    columns : callable
        Returns the matrix, (C, C), as an iterable over blocks of columns.
    rows, groups, block
        As in `cosine`; there are no groups.

    Yields
    ------
    (1, R, C) float64
        The rows of the symmetric matrix; NaN where either direction is NaN.
    """
    shares = np.concatenate(list(columns()), axis=1)
    for start in range(0, rows, block or rows):
        part = slice(start, start + (block or rows))
        yield ((shares[part] + shares[:, part].T) / 2)[np.newaxis]


def centered(means: NDArray[np.float64], count: NDArray[np.int64]) -> NDArray[np.float64]:
    """Subtract the mean over all samples from the means of classes.

    Parameters
    ----------
    means : (C, D) float64
        NaN for classes without samples.
    count : (C,) int64
        Number of samples of each class.
    """
    present = count > 0
    return means - np.average(means[present], axis=0, weights=count[present]) if present.any() else means


def _one_constant(means: NDArray[np.float64], errors: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Channels in which all classes without variance have the same mean."""
    constant = errors == 0
    least = np.where(constant, means, np.inf).min(axis=0, initial=np.inf)
    most = np.where(constant, means, -np.inf).max(axis=0, initial=-np.inf)
    return least >= most


def _columns(values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    return values if chosen.all() else np.ascontiguousarray(values[:, chosen])


def _by_group(
    blocks: Iterable[NDArray[np.floating]], groups: NDArray[np.bool_] | None
) -> Iterator[tuple[int, NDArray[np.floating]]]:
    """Index of a group and a block of its columns, for all groups and blocks."""
    start = 0
    for vectors in blocks:
        stop = start + vectors.shape[1]
        if groups is None:
            yield 0, vectors
        else:
            for g, chosen in enumerate(groups[:, start:stop]):
                if chosen.any():
                    yield g, vectors if chosen.all() else vectors[:, chosen]
        start = stop


def _squares(columns: Columns, rows: int, groups: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Squared lengths of vectors by group, (G, C); NaN for vectors with values that are not finite."""
    total = np.zeros((1 if groups is None else len(groups), rows))
    for g, vectors in _by_group(columns(), groups):
        values = np.asarray(vectors, dtype=np.float64)
        total[g] += np.einsum("ij,ij->i", values, values)
        total[g, ~np.isfinite(values).all(axis=1)] = np.nan
    return total


def _product(values: NDArray[np.float64], part: slice, other: slice) -> NDArray[np.float64]:
    """Inner products of two parts of the rows, exactly symmetric in the parts."""
    if other.start < part.start:
        return _product(values, other, part).T
    product: NDArray[np.float64] = values[part] @ values[other].T
    return product

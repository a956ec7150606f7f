"""What makes two vectors alike: the contributions of their channels to their cosine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelsim.statistics.largest import largest

__all__ = ["Evidence", "contributions"]

_VALUES = 2**20  # products at a time: 8 MiB


class Evidence(NamedTuple):
    """Contributions to the cosines of P pairs of vectors.

    Attributes
    ----------
    similarity : (P,) float64
        The cosine; NaN if either vector is zero.
    channel : (P, k) int64
        The channels of the largest contributions, the largest first; of equal ones the earlier channel first. -1 where
        a pair has fewer channels.
    contribution : (P, k) float64
        Their contributions.
    first, second : (P, k) float64
        Their values in the two vectors.
    by_layer : (P, L) float64
        Sum of the contributions of each layer.
    """

    similarity: NDArray[np.float64]
    channel: NDArray[np.int64]
    contribution: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    by_layer: NDArray[np.float64]


def contributions(
    columns: Iterable[NDArray[np.floating]],
    pairs: NDArray[np.integer],
    group: NDArray[np.integer],
    groups: NDArray[np.bool_],
    layer: NDArray[np.integer],
    k: int,
) -> Evidence:
    r"""Contributions of channels and layers to cosines.

    The contribution of channel j to the cosine of the vectors a and b is

    .. math:: a_j b_j / (|a| |b|)

    so that those of all channels add up to the cosine.

    Parameters
    ----------
    columns : iterable of (C, B) float
        The vectors in blocks of columns.
    pairs : (P, 2) int
        The two vectors of each pair.
    group : (P,) int
        Which group's channels each pair is compared by.
    groups : (G, D) bool
        The channels of each group; all others are treated as 0.
    layer : (D,) int
        The layer of each channel, 0 to L - 1. The channels of a layer are next to each other.
    k : int
        Number of contributions to find for each pair.

    Returns
    -------
    Evidence
        Contributions of the channels of the pair's group.
    """
    size, layers = len(pairs), int(layer.max(initial=-1)) + 1
    found = Evidence(
        np.full(size, np.nan),
        np.full((size, k), -1),
        np.full((size, k), -np.inf),
        np.full((size, k), np.nan),
        np.full((size, k), np.nan),
        np.zeros((size, layers)),
    )
    squares = np.zeros((size, 2))
    members = [np.flatnonzero(group == g) for g in range(len(groups))]
    start = 0
    for vectors in columns:
        stop = start + vectors.shape[1]
        for rows, chosen in zip(members, groups[:, start:stop], strict=True):
            channels = start + np.flatnonzero(chosen)
            if len(rows) and len(channels):
                values = np.asarray(vectors if chosen.all() else vectors[:, chosen], dtype=np.float64)
                squares[rows] += np.einsum("ij,ij->i", values, values)[pairs[rows]]
                step = max(1, _VALUES // len(channels))
                for i in range(0, len(rows), step):
                    _add(found, rows[i : i + step], values, pairs, channels, layer[channels])
        start = stop
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = 1 / np.sqrt(squares).prod(axis=1)
        scale[~np.isfinite(scale)] = np.nan
    contribution = np.where(found.channel < 0, np.nan, found.contribution) * scale[:, np.newaxis]
    by_layer = found.by_layer * scale[:, np.newaxis]
    return found._replace(similarity=by_layer.sum(axis=1), contribution=contribution, by_layer=by_layer)


def _add(
    found: Evidence,
    rows: NDArray[np.int64],
    values: NDArray[np.float64],
    pairs: NDArray[np.integer],
    channels: NDArray[np.int64],
    layer: NDArray[np.integer],
) -> None:
    """Add the products of some pairs' values in some channels, and keep the largest of all so far."""
    first, second = pairs[rows].T
    products = values[first] * values[second]
    starts = np.flatnonzero(np.diff(layer, prepend=-1))
    found.by_layer[rows[:, np.newaxis], layer[starts]] += np.add.reduceat(products, starts, axis=1)
    k = found.channel.shape[1]
    # Those that were found before come first, as they win ties.
    best = largest(np.hstack([found.contribution[rows], products]), k)
    at = np.maximum(best - k, 0)
    for kept, new in (
        (found.contribution, np.take_along_axis(products, at, axis=1)),
        (found.channel, channels[at]),
        (found.first, values[first[:, np.newaxis], at]),
        (found.second, values[second[:, np.newaxis], at]),
    ):
        before = np.take_along_axis(kept[rows], np.minimum(best, k - 1), axis=1)
        kept[rows] = np.where(best < k, before, new)

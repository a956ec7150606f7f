"""Underflow in the store: nonzero values that become 0 in the dtype of the stored features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Parts", "count", "shares", "total"]

# The variable and the columns of each part of the features.
Parts: TypeAlias = Mapping[str, tuple[str, slice]]


def count(
    values: Mapping[str, NDArray[np.float32]], stored: Mapping[str, NDArray[np.floating]], parts: Parts
) -> dict[str, int]:
    """Count the values that become 0.

    Parameters
    ----------
    values, stored : mapping of str to array
        `gap`, `hidden` and `logits` of some images, (sample, …), as computed and as stored.
    parts : Parts
        The parts of the features to count in.

    Returns
    -------
    dict of str to int
        Counts above 0, by part.
    """
    counts = {}
    for part, (name, columns) in parts.items():
        before, after = values[name][:, columns], stored[name][:, columns]
        if before.dtype != after.dtype:
            counts[part] = int(np.count_nonzero((after == 0) & (before != 0)))
    return {part: number for part, number in counts.items() if number}


def total(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Sum the counts of several sets of images, sorted by part."""
    return dict(sorted(sum(map(Counter, counts), Counter[str]()).items()))


def shares(counts: Mapping[str, int], parts: Parts, images: int) -> dict[str, float]:
    """Share of the values of some images that became 0, by part, the largest first.

    Parameters
    ----------
    counts : mapping of str to int
        As `count` and `total` return it.
    parts : Parts
        The parts of the features.
    images : int
        Number of images used.
    """
    found = {part: number / (images * (parts[part][1].stop - parts[part][1].start)) for part, number in counts.items()}
    return dict(sorted(found.items(), key=lambda item: -item[1]))

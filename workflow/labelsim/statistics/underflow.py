"""Underflow in the store: nonzero values that become 0 in the dtype of the stored features."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelsim.errors import listed

__all__ = ["count", "total", "warning"]

_MANY = 0.001  # share of a part's values above which a warning is given


def count(
    values: Mapping[str, NDArray[np.float32]], stored: Mapping[str, NDArray[np.floating]], network: Mapping[str, Any]
) -> dict[str, int]:
    """Count the values that become 0.

    Parameters
    ----------
    values, stored : mapping of str to array
        `gap`, `hidden` and `logits` of some images, (sample, …), as computed and as stored.
    network : mapping
        Contents of `network.json`, for the layers and widths.

    Returns
    -------
    dict of str to int
        Counts above 0 by part of the features: "gap of LAYER", "hidden" or "logits".
    """
    counts = {}
    for part, (name, columns) in _parts(network).items():
        before, after = values[name][:, columns], stored[name][:, columns]
        if before.dtype != after.dtype:
            counts[part] = int(np.count_nonzero((after == 0) & (before != 0)))
    return {part: number for part, number in counts.items() if number}


def total(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Sum the counts of several sets of images, sorted by part."""
    return dict(sorted(sum(map(Counter, counts), Counter[str]()).items()))


def warning(counts: Mapping[str, int], network: Mapping[str, Any], images: int, dtype: str) -> str | None:
    """Warn about parts of the features of which more than a thousandth underflowed; None if there are none.

    Parameters
    ----------
    counts : mapping of str to int
        As `count` and `total` return it.
    network : mapping
        Contents of `network.json`.
    images : int
        Number of images used.
    dtype : str
        The dtype of the stored features.
    """
    columns = {part: columns for part, (_, columns) in _parts(network).items()}
    shares = {part: counts[part] / (images * (columns[part].stop - columns[part].start)) for part in counts}
    worst = sorted((part for part in shares if shares[part] > _MANY), key=lambda part: -shares[part])
    if not worst:
        return None
    parts = listed([f"{100 * shares[part]:.1f} % of the values of {part}" for part in worst])
    return (
        f"Nonzero values too small for {dtype} became 0 in the store: {parts}.\n"
        "Set store.dtype: float32 to avoid that; the features are then computed again."
    )


def _parts(network: Mapping[str, Any]) -> dict[str, tuple[str, slice]]:
    """The variable and the columns of each part of the features."""
    parts: dict[str, tuple[str, slice]] = {}
    start = 0
    for layer, channels in network["layers"]:
        parts[f"gap of {layer}"] = ("gap", slice(start, start + channels))
        start += channels
    widths = {"hidden": network["hidden_units"], "logits": network["outputs"]}
    return parts | {name: (name, slice(0, width)) for name, width in widths.items()}

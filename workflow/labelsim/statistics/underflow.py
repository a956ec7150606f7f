"""Underflow in the store: values that are not 0, and become 0 in the dtype that features are stored in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["count", "total", "warning"]

_MANY = 0.001  # of the values of a part; with fewer, not one channel in a thousand may have gone
_LISTED = 3


def count(
    values: Mapping[str, NDArray[np.float32]], stored: Mapping[str, NDArray[np.floating]], network: Mapping[str, Any]
) -> dict[str, int]:
    """Count the values that are lost.

    Parameters
    ----------
    values, stored : mapping of str to array
        `gap`, `hidden` and `logits` of some images, (sample, …), as the network gave them and as they are stored.
    network : mapping
        The network's description, of which the layers and widths are read.

    Returns
    -------
    dict of str to int
        By the part of the features, "gap of LAYER", "hidden" or "logits"; parts that lost nothing are left out.
    """
    lost = {
        name: np.count_nonzero((stored[name] == 0) & (block != 0), axis=0)
        for name, block in values.items()
        if stored[name].dtype != block.dtype
    }
    counts = {part: int(lost[name][columns].sum()) for part, (name, columns) in _parts(network).items() if name in lost}
    return {part: number for part, number in counts.items() if number}


def total(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Sum what was counted of several sets of images, sorted by part."""
    result: dict[str, int] = {}
    for one in counts:
        for part, number in one.items():
            result[part] = result.get(part, 0) + number
    return dict(sorted(result.items()))


def warning(counts: Mapping[str, int], network: Mapping[str, Any], images: int, dtype: str) -> str | None:
    """Say for people which parts of the features lost more than a thousandth of their values; None if none did.

    Parameters
    ----------
    counts : mapping of str to int
        As `count` and `total` return it.
    network : mapping
        The network's description.
    images : int
        Number of images that were used.
    dtype : str
        What features are stored in.
    """
    widths = {part: columns.stop - columns.start for part, (_, columns) in _parts(network).items()}
    shares = {part: number / (images * widths[part]) for part, number in counts.items()}
    worst = sorted((part for part in shares if shares[part] > _MANY), key=lambda part: -shares[part])
    if not worst:
        return None
    listed = [f"{100 * shares[part]:.1f} % of the values of {part}" for part in worst[:_LISTED]]
    more = f", and some of {len(worst) - _LISTED} more" if len(worst) > _LISTED else ""
    return (
        f"In the store, values that are not 0 became 0, as they are too small for {dtype}: {', '.join(listed)}{more}.\n"
        "Similarities leave out what these values tell. store.dtype: float32 avoids it; features are then made again."
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

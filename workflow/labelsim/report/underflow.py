"""The warning about values that became 0 in the store."""

from __future__ import annotations

from collections.abc import Mapping

from labelsim.errors import listed
from labelsim.statistics.underflow import Parts, shares

__all__ = ["underflow_warning"]

_MANY = 0.001  # share of a part's values above which a warning is given


def underflow_warning(counts: Mapping[str, int], parts: Parts, images: int, dtype: str) -> str | None:
    """Warn about parts of the features of which more than a thousandth underflowed; None if there are none.

    Parameters
    ----------
    counts, parts, images
        As in `labelsim.statistics.underflow.shares`.
    dtype : str
        The dtype of the stored features.
    """
    found = {part: share for part, share in shares(counts, parts, images).items() if share > _MANY}
    if not found:
        return None
    lines = listed([f"{100 * share:.1f} % of the values of {part}" for part, share in found.items()])
    return (
        f"Nonzero values too small for {dtype} became 0 in the store: {lines}.\n"
        "Set store.dtype: float32 to avoid that; the features are then computed again."
    )

"""A similarity with its stability, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

__all__ = ["STABILITY", "decimals_of", "similarity_text"]

STABILITY = "± standard error; 7/8: among the most similar in 7 of 8 replicates, each without some of the images"


def decimals_of(values: Sequence[float]) -> int:
    """The fewest decimals, three to six, that tell each value from the next."""
    different = [pair for pair in pairwise(values) if pair[0] != pair[1]]
    enough = (n for n in (3, 4, 5) if all(f"{a:.{n}f}" != f"{b:.{n}f}" for a, b in different))
    return next(enough, 6)


def similarity_text(row: Mapping[str, Any], decimals: int = 3) -> str:
    """A row of `neighbors.parquet` or `stability.parquet`, such as "+0.465 ± 0.031  8/8"."""
    text = f"{row['similarity']:+.{decimals}f}"
    if row.get("stderr"):  # neither unknown nor 0, which is no certainty but a share that is 0 in every replicate
        text += f" ± {row['stderr']:.{decimals}f}"
    if row.get("folds"):
        text += f"  {row['folds_in_top_k']}/{row['folds']}"
    return text

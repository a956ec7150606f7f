"""A similarity with its stability, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["STABILITY", "similarity_text"]

STABILITY = "± standard error; 7/8: among the most similar in 7 of 8 replicates, each without some of the images"


def similarity_text(row: Mapping[str, Any]) -> str:
    """A row of `neighbors.parquet` or `stability.parquet`, such as "+0.465 ± 0.031  8/8"."""
    text = f"{row['similarity']:+.3f}"
    if row.get("stderr"):  # neither unknown nor 0, which is no certainty but a share that is 0 in every replicate
        text += f" ± {row['stderr']:.3f}"
    if row.get("folds"):
        text += f"  {row['folds_in_top_k']}/{row['folds']}"
    return text

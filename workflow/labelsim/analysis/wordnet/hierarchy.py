"""The hierarchy of WordNet's nouns as arrays, and which classes are among them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet

from labelsim.analysis.wordnet import NOUNS

__all__ = ["Hierarchy", "hierarchy", "lemmas"]

_WNID = re.compile(r"n[0-9]{8}")


class Hierarchy(NamedTuple):
    """The N noun synsets, numbered as in their table, and the K classes that are among them.

    Attributes
    ----------
    known : (K,) int64
        Indices of the classes, ascending.
    synset : (K,) int64
        Their synsets.
    child, parent : (P,) int64
        A synset and one of its hypernyms, in WordNet's order.
    hyponyms : (N,) int32
        How many synsets are below each, directly or not.
    """

    known: NDArray[np.int64]
    synset: NDArray[np.int64]
    child: NDArray[np.int64]
    parent: NDArray[np.int64]
    hyponyms: NDArray[np.int32]


def hierarchy(ids: Sequence[str]) -> Hierarchy:
    """Read the hierarchy, and find the classes whose ids are wnids, such as n01440764."""
    table = parquet.read_table(NOUNS, columns=["offset", "hypernyms", "hyponyms"])
    offsets, hypernyms = table["offset"].to_numpy(), table["hypernyms"].combine_chunks()
    numbers = np.array([int(id_[1:]) if _WNID.fullmatch(id_) else -1 for id_ in ids], dtype=np.int64)
    known = np.flatnonzero(np.isin(numbers, offsets))
    child = np.repeat(np.arange(len(offsets)), np.diff(hypernyms.offsets))
    parent = np.searchsorted(offsets, hypernyms.flatten())
    return Hierarchy(known, np.searchsorted(offsets, numbers[known]), child, parent, table["hyponyms"].to_numpy())


def lemmas() -> pa.Array:
    """Read the words of each synset: a list of strings, the first of which names it."""
    return parquet.read_table(NOUNS, columns=["lemmas"])["lemmas"].combine_chunks()

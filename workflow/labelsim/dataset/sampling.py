"""Chooses images per class, and assigns images to folds: by hashes of the sample ids, so always the same ones."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b

import numpy as np
import pyarrow as pa

__all__ = ["choose", "folds", "hashes", "ids", "rows"]

_BATCH = 65_536  # rows that are Python objects at a time


def choose(samples: pa.Table, images_per_class: int) -> pa.Table:
    """Choose at most so many samples of each class.

    Parameters
    ----------
    samples : pyarrow.Table
        Table with sample_id and class_index, whose order is kept.
    images_per_class : int
        How many to keep: those whose sample_id has the smallest hash.
    """
    classes = samples["class_index"].to_numpy()
    order = np.lexsort((hashes(ids(samples), b"labelsim.choice"), classes))
    ranked = classes[order]
    rank = np.arange(len(order)) - np.searchsorted(ranked, ranked)
    return samples.take(pa.array(np.sort(order[rank < images_per_class])))


def folds(sample_ids: Sequence[str], n: int = 8) -> np.ndarray:
    """Assign each sample to a fold.

    Parameters
    ----------
    sample_ids : sequence of str
        Ids of the samples.
    n : int
        Number of folds, at most 127.

    Returns
    -------
    array of int8, shape (len(sample_ids),)
        Folds from 0 to n - 1.
    """
    return (hashes(sample_ids, b"labelsim.fold") % np.uint64(n)).astype(np.int8)


def hashes(sample_ids: Iterable[str], purpose: bytes) -> np.ndarray:
    """Hash ids to uint64, independently for each purpose, and the same on every machine and in every Python."""
    digests = (blake2b(text.encode(), digest_size=8, person=purpose).digest() for text in sample_ids)
    return np.fromiter(digests, "S8").view("<u8")


def ids(samples: pa.Table) -> Iterator[str]:
    """Yield the sample ids without holding all of them as Python objects."""
    return (sample_id for (sample_id,) in rows(samples.select(["sample_id"])))


def rows(samples: pa.Table) -> Iterator[tuple]:
    """Yield the rows of a table as tuples, likewise."""
    for batch in samples.to_batches(max_chunksize=_BATCH):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

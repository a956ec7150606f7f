"""Cuts the list of samples into shards, and chooses samples and folds, all by hashes of the sample ids.

Shards are content-defined: the rows themselves say where one begins, so one image added or removed changes
one shard or two. And they are content-addressed: a shard's name is a digest of its rows.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import pyarrow as pa

__all__ = ["automatic_aim", "boundaries", "choose", "cut", "folds", "row_digests", "shard_name"]

DIGEST_BYTES = 16
BATCH = 65_536  # rows that are Python objects at a time

# `person` of BLAKE2b: makes independent hashes of one sample_id
BOUNDARY, CHOICE, FOLD = b"labelsim.shard", b"labelsim.choice", b"labelsim.fold"


def row_digests(samples: pa.Table) -> np.ndarray:
    """Digest each row: its sample_id, its size and, if there is such a column, the digest of its content.

    The class_index is not digested: a class added before others must not rename their shards. Nor is the
    locator: a sample stays the same wherever it lies.

    Parameters
    ----------
    samples : pyarrow.Table
        Table with sample_id, bytes and, optionally, content.

    Returns
    -------
    array of uint8, shape (n, 16)
    """
    columns = [name for name in ("bytes", "content", "sample_id") if name in samples.column_names]
    # the sample_id comes last, since it alone may contain the separator
    rows = ("\0".join(map(str, row)) for row in _rows(samples.select(columns)))
    digests = (blake2b(row.encode(), digest_size=DIGEST_BYTES).digest() for row in rows)
    # not joined, which would hold all of them as objects
    return np.fromiter(digests, f"S{DIGEST_BYTES}", samples.num_rows).view(np.uint8).reshape(-1, DIGEST_BYTES)


def boundaries(keys: np.ndarray, aim: int) -> np.ndarray:
    """Choose the rows at which a shard begins.

    A row is a boundary if its key is the smallest among the w = (aim - 1) // 2 rows on either side of it, so
    what lies farther away cannot move it; the first and the last w rows of the list, which have no such
    neighbourhood, are none. A shard longer than 2 aim is cut again at the smallest key that leaves both parts
    at least aim // 2 long, and so on, so these cuts depend on that shard's rows only.

    Parameters
    ----------
    keys : (n,) uint64
        Smaller than 2**52: random numbers that belong to the rows.
    aim : int
        Rows a shard that are aimed at.

    Returns
    -------
    array of int64
        First rows of the shards, ascending; the first is 0. Empty for no rows. A list of at least w rows has
        shards of w to 2 aim rows, of about aim in the mean.

    References
    ----------
    Bjørner, Blass, Gurevich (2010). Content-dependent chunking for differential compression, the local
    maximum approach. Journal of Computer and System Sciences 76, 154-203.
    """
    from scipy.ndimage import minimum_filter1d  # here, as most that import this module cut nothing

    n, w = len(keys), (aim - 1) // 2
    # float64 holds the keys exactly, and is what the filter works in
    smallest = minimum_filter1d(keys.astype(np.float64), 2 * w + 1)
    starts = np.flatnonzero(keys == smallest)
    starts = starts[(starts >= w) & (starts < n - w) & (starts > 0)]
    edges = [0, *starts.tolist(), n]
    pieces = [first for start, stop in pairwise(edges) for first in _split(keys, start, stop, aim)]
    return np.array(pieces[:n], np.int64)  # [:n]: no rows, no shard


def automatic_aim(images: int) -> int:
    """Choose how many images a shard should have.

    Parameters
    ----------
    images : int
        Number of all images.

    Returns
    -------
    int
        The largest power of two that is at most a sixteenth of them, but at least 16,384 and at most 262,144: enough
        shards for several GPUs, and seldom another value when images are added.
    """
    sixteenth = min(max(images // 16, 16_384), 262_144)
    return 1 << (sixteenth.bit_length() - 1)


def cut(samples: pa.Table, images_per_shard: int) -> list[tuple[str, int, int]]:
    """Cut the list of samples into shards.

    Parameters
    ----------
    samples : pyarrow.Table
        The samples in their order, which is kept.
    images_per_shard : int
        Rows a shard that are aimed at.

    Returns
    -------
    list of (name, start, stop)
        The shards, one after the other: the digest of their rows (16 hexadecimal digits), first row, row
        after the last.
    """
    # by the sample_id alone, so that a changed image moves no boundary
    keys = _hashes(_ids(samples), BOUNDARY) >> np.uint64(12)
    starts = boundaries(keys, images_per_shard).tolist()
    digests = row_digests(samples)
    return [
        (_name(digests[start:stop]), start, stop)
        for start, stop in zip(starts, [*starts[1:], samples.num_rows], strict=False)
    ]


def shard_name(rows: pa.Table) -> str:
    """Name the shard that is made of some rows, as `cut` does.

    Parameters
    ----------
    rows : pyarrow.Table
        Table with sample_id, bytes and, optionally, content.
    """
    return _name(row_digests(rows))


def choose(samples: pa.Table, images_per_class: int) -> pa.Table:
    """Choose at most so many samples of each class, the same ones every time.

    Parameters
    ----------
    samples : pyarrow.Table
        Table with sample_id and class_index.
    images_per_class : int
        How many to keep: those whose sample_id has the smallest hash.

    Returns
    -------
    Table
        The chosen rows in their order.
    """
    classes = samples["class_index"].to_numpy()
    order = np.lexsort((_hashes(_ids(samples), CHOICE), classes))
    ranked = classes[order]
    rank = np.arange(len(order)) - np.searchsorted(ranked, ranked)
    return samples.take(pa.array(np.sort(order[rank < images_per_class])))


def folds(sample_ids: Sequence[str], n: int = 8) -> np.ndarray:
    """Assign each sample to a fold, by a hash of its id.

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
    return (_hashes(sample_ids, FOLD) % np.uint64(n)).astype(np.int8)


def _name(digests: np.ndarray) -> str:
    return blake2b(digests.tobytes(), digest_size=8).hexdigest()


def _split(keys: np.ndarray, start: int, stop: int, aim: int) -> list[int]:
    """Return the starts of the parts, of at most 2 aim rows each, into which a shard is cut."""
    least = max(1, aim // 2)
    starts, rest = [], [(start, stop)]
    while rest:
        start, stop = rest.pop()
        if stop - start > 2 * aim:
            middle = start + least + int(np.argmin(keys[start + least : stop - least + 1]))
            rest += [(middle, stop), (start, middle)]
        else:
            starts.append(start)
    return starts


def _hashes(sample_ids: Iterable[str], person: bytes) -> np.ndarray:
    """Hash ids to uint64, the same on every machine and in every Python."""
    digests = (blake2b(text.encode(), digest_size=8, person=person).digest() for text in sample_ids)
    return np.fromiter(digests, "S8").view("<u8")


def _ids(samples: pa.Table) -> Iterator[str]:
    return (sample_id for (sample_id,) in _rows(samples.select(["sample_id"])))


def _rows(samples: pa.Table) -> Iterator[tuple]:
    for batch in samples.to_batches(max_chunksize=BATCH):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

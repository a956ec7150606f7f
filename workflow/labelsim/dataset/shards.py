"""Cuts the list of samples into shards.

Shards are content-defined: hashes of the rows decide where one begins, so adding or removing an image changes one shard
or two. And they are content-addressed: a shard's name is a digest of its rows.
"""

from hashlib import blake2b
from itertools import pairwise

import numpy as np
import pyarrow as pa

from labelsim.dataset.sampling import hashes, ids, rows

__all__ = ["automatic_aim", "boundaries", "cut", "row_digests", "shard_name"]

DIGEST_BYTES = 16


def row_digests(samples: pa.Table) -> np.ndarray:
    """Digest each row: its sample_id, its size and, if there is such a column, the digest of its content.

    The class_index is left out, as a class added before others must not rename their shards; and so are path and
    offset, as a sample is the same wherever it lies.

    Parameters
    ----------
    samples : pyarrow.Table
        Table with sample_id, bytes and, optionally, content.

    Returns
    -------
    array of uint8, shape (n, 16)
    """
    columns = [name for name in ("bytes", "content", "sample_id") if name in samples.column_names]
    # the sample_id comes last, as only it may contain the separator
    texts = ("\0".join(map(str, row)) for row in rows(samples.select(columns)))
    digests = (blake2b(text.encode(), digest_size=DIGEST_BYTES).digest() for text in texts)
    # not joined, which would hold all of them as Python objects
    return np.fromiter(digests, f"S{DIGEST_BYTES}", samples.num_rows).view(np.uint8).reshape(-1, DIGEST_BYTES)


def boundaries(keys: np.ndarray, aim: int) -> np.ndarray:
    """Choose the rows at which a shard begins.

    A row is a boundary if its key is the smallest among the w = (aim - 1) // 2 rows on either side, so rows farther
    away do not matter; the first and the last w rows are no boundaries. A shard longer than 2 aim is cut again at the
    smallest key that leaves both parts at least aim // 2 long, and so on, so these cuts depend on its own rows only.

    Parameters
    ----------
    keys : (n,) uint64
        Random numbers below 2**52 that belong to the rows.
    aim : int
        Desired number of rows per shard.

    Returns
    -------
    array of int64
        First rows of the shards, ascending from 0. Empty for no rows. At least w rows make shards of w to 2 aim rows,
        about aim on average.

    References
    ----------
    Bjørner, Blass, Gurevich (2010). Content-dependent chunking for differential compression, the local
    maximum approach. Journal of Computer and System Sciences 76, 154-203.
    """
    from scipy.ndimage import minimum_filter1d  # slow to import, and only needed here

    n, w = len(keys), (aim - 1) // 2
    # float64 holds the keys exactly, and the filter computes in it
    smallest = minimum_filter1d(keys.astype(np.float64), 2 * w + 1)
    starts = np.flatnonzero(keys == smallest)
    starts = starts[(starts >= w) & (starts < n - w) & (starts > 0)]
    edges = [0, *starts.tolist(), n]
    pieces = [first for start, stop in pairwise(edges) for first in _split(keys, start, stop, aim)]
    return np.array(pieces[:n], np.int64)  # [:n]: no rows, no shard


def automatic_aim(images: int) -> int:
    """Choose the number of images per shard by the number of all images.

    It is the largest power of two up to a sixteenth of them, between 16,384 and 262,144: enough shards for several
    GPUs, and rarely another value when images are added.
    """
    sixteenth = min(max(images // 16, 16_384), 262_144)
    return 1 << (sixteenth.bit_length() - 1)


def cut(samples: pa.Table, images_per_shard: int) -> list[tuple[str, int, int]]:
    """Cut the list of samples into shards.

    Parameters
    ----------
    samples : pyarrow.Table
        The samples, whose order is kept.
    images_per_shard : int
        Desired number of rows per shard.

    Returns
    -------
    list of (name, start, stop)
        For each shard the digest of its rows (16 hexadecimal digits), its first row, and the row after its last.
    """
    # by the sample_id only, so a changed image moves no boundary
    keys = hashes(ids(samples), b"labelsim.shard") >> np.uint64(12)
    starts = boundaries(keys, images_per_shard).tolist()
    digests = row_digests(samples)
    return [
        (_name(digests[start:stop]), start, stop)
        for start, stop in zip(starts, [*starts[1:], samples.num_rows], strict=False)
    ]


def shard_name(samples: pa.Table) -> str:
    """Return the name that `cut` gives a shard of these rows; columns as for `row_digests`."""
    return _name(row_digests(samples))


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

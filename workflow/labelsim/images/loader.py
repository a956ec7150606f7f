"""From rows of the manifest to batches of pixels, decoded in worker processes."""

from __future__ import annotations

import mmap
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from labelsim.dataset.formats.base import Source, digest
from labelsim.errors import LabelsimError
from labelsim.images.decode import ImageError, decode, first_line

__all__ = ["CHANGED", "UNREADABLE", "Batch", "Images", "batches"]

_PARTS = ("reading", "decoding", "resizing")
_PIECE = 32  # images that a worker decodes at a time
Read = tuple[dict[str, Any], bytes | str]

# Reasons of circumstance: the image itself may be sound, and another try may read it.
UNREADABLE = "cannot be read"
CHANGED = "changed since the scan"


class Images:
    """The images of a table's rows, as a network takes them.

    An image that cannot be used does not raise: it gives zeros and the reason.

    Parameters
    ----------
    source : Source
        Reads a row's bytes.
    rows : pyarrow.Table
        Samples.
    transform : callable
        Turns RGB pixels, (H, W, 3) uint8, into a tensor.
    shape : tuple of int
        Shape that the tensor must have, (3, H, W).
    dtype : torch.dtype
        What the pixels are given in: what the transform makes, or float32.
    """

    def __init__(
        self,
        source: Source,
        rows: pa.Table,
        transform: Callable[[NDArray[np.uint8]], torch.Tensor],
        shape: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.source = source
        self.rows = rows
        self.transform = transform
        self.shape = tuple(shape)
        self.dtype = dtype
        self._seconds = dict.fromkeys(_PARTS, 0.0)

    def __len__(self) -> int:
        return self.rows.num_rows

    def __getitem__(self, index: int) -> tuple[torch.Tensor, str]:
        """Return the pixels, of `shape` and `dtype`, and ""; or zeros and the reason why there are none."""
        pixels = self.empty(1)
        (reason,) = self.load(self.read([index]), pixels)
        return pixels[0].permute(2, 0, 1), reason

    def empty(self, count: int, memory: mmap.mmap | None = None) -> torch.Tensor:
        """Room for the pixels of some images, (count, H, W, 3): channels last, as convolutions take them."""
        channels, height, width = self.shape
        shape = (count, height, width, channels)
        if memory is None:
            return torch.empty(shape, dtype=self.dtype)
        return torch.frombuffer(memory, dtype=self.dtype, count=prod(shape)).view(shape)

    def read(self, rows: Sequence[int]) -> list[Read]:
        """Read images: their rows of the table, and their bytes or the reason why they cannot be read."""
        began = time.perf_counter()
        entries = self.rows.slice(rows[0], len(rows)) if isinstance(rows, range) else self.rows.take(rows)
        found = [(row, self._bytes(row)) for row in entries.to_pylist()]
        self._seconds["reading"] += time.perf_counter() - began
        return found

    def load(self, read: Sequence[Read], pixels: torch.Tensor) -> list[str]:
        """Decode images that were read.

        Parameters
        ----------
        read : sequence
            As `read` returns it.
        pixels : (N, H, W, 3) tensor
            Filled: zeros for an image that cannot be used.

        Returns
        -------
        list of str
            For each image, why it cannot be used; empty for one that can.
        """
        reasons = []
        for (row, data), out in zip(read, pixels, strict=True):
            try:
                self._load(row, data, out)
                reasons.append("")
            except ImageError as error:
                out.zero_()
                reasons.append(str(error))
        return reasons

    def pop_seconds(self) -> dict[str, float]:
        """Seconds that this process has spent since the last call: "reading", "decoding" and "resizing"."""
        seconds, self._seconds = self._seconds, dict.fromkeys(_PARTS, 0.0)
        return seconds

    def _bytes(self, row: dict[str, Any]) -> bytes | str:
        try:
            return self.source.read(row)
        except OSError as error:
            return f"{UNREADABLE}: {error.strerror or first_line(error)}"

    def _load(self, row: dict[str, Any], data: bytes | str, out: torch.Tensor) -> None:
        if isinstance(data, str):
            raise ImageError(data)
        if row["bytes"] and len(data) != row["bytes"]:
            raise ImageError(f"{CHANGED}: {len(data)} bytes where there were {row['bytes']}")
        if (content := row.get("content")) is not None and content != digest(data):
            raise ImageError(f"{CHANGED}: other contents")
        began = time.perf_counter()
        decoded = decode(data)
        between = time.perf_counter()
        self._seconds["decoding"] += between - began
        try:
            pixels = self.transform(decoded)
        except MemoryError:
            raise
        except Exception as error:
            raise ImageError(f"transform: {first_line(error)}") from error
        if not isinstance(pixels, torch.Tensor):
            raise ImageError(f"transform gave {type(pixels).__name__} where a tensor was expected")
        if tuple(pixels.shape) != self.shape:
            raise ImageError(f"transform gave {tuple(pixels.shape)} where {self.shape} was expected")
        out.copy_(pixels.permute(1, 2, 0))
        self._seconds["resizing"] += time.perf_counter() - between


class Batch(NamedTuple):
    """Images, ready for the network.

    Attributes
    ----------
    pixels : (N, 3, H, W) tensor
        Of the images' dtype, in channels-last order; zeros for an image that cannot be used. Overwritten when the
        batch after the next one is asked for.
    reasons : list of str
        Why an image cannot be used; empty for one that can.
    seconds : dict of str to float
        What the processes spent on it: "reading", "decoding", "resizing".
    """

    pixels: torch.Tensor
    reasons: list[str]
    seconds: dict[str, float]


def batches(
    images: Images, rows: Sequence[Sequence[int]], workers: int, pin_memory: bool = False, niceness: int = 0
) -> Iterator[Batch]:
    """Decode batches of images in worker processes, in order and a little ahead.

    The workers also read the files, except where all of them would read the same groups of rows: then this process
    reads. They write the pixels into a ring buffer that they share with this process, and from which a GPU can copy. It
    is not in /dev/shm, which is small in containers.

    Parameters
    ----------
    images : Images
        The images of a shard.
    rows : sequence of sequence of int
        Which rows make each batch.
    workers : int
        Number of processes; 0 decodes in this one.
    pin_memory : bool
        Whether the batches are to be copied to a GPU.
    niceness : int
        Of the processes, from 0 to 19: the more, the rather they leave the cores to a network that runs on them.

    Yields
    ------
    Batch

    Raises
    ------
    LabelsimError
        If a worker was killed.
    """
    if not rows:
        return
    # Pieces in flight, the batch that is put together, and the two that were given away; none of them in two parts.
    size = 2 * workers * _PIECE + 4 * max(map(len, rows))
    ring = images.empty(size, mmap.mmap(-1, prod((size, *images.shape)) * images.dtype.itemsize))
    places = _places(map(len, rows), size)
    pieces = [
        (place + first, batch[first : first + _PIECE])
        for place, batch in zip(places, rows, strict=True)
        for first in range(0, len(batch), _PIECE)
    ]
    loader = DataLoader(
        _Pieces(images, ring),
        batch_size=None,
        sampler=_read(images, pieces) if images.source.reads_in_groups else pieces,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        collate_fn=tuple,
        # whatever Python's own choice is: a transform may be a function that cannot be sent to a new process
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=partial(_begin, niceness),
    )
    iterator = iter(loader)
    processes = multiprocessing.active_children()
    try:
        with _pinned(ring) if pin_memory else nullcontext():
            for place, batch in zip(places, rows, strict=True):
                reasons: list[str] = []
                spent = [images.pop_seconds()]
                while len(reasons) < len(batch):
                    found, seconds = next(iterator)
                    reasons += found
                    spent.append(seconds)
                yield Batch(ring[place : place + len(batch)].permute(0, 3, 1, 2), reasons, _sum(spent))
    except (RuntimeError, ConnectionError, EOFError) as error:
        codes = [process.exitcode or 0 for process in processes]
        signals = {-code for code in codes if code < 0} - {signal.SIGTERM}
        if not signals and "DataLoader worker" not in str(error):
            raise
        raise LabelsimError(_ended(signals, error)) from error


def _sum(spent: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {part: sum(seconds[part] for seconds in spent) for part in _PARTS}


def _places(lengths: Iterable[int], size: int) -> list[int]:
    """Where each batch begins in a ring of `size` images: one after the other, none across the end."""
    places, place = [], 0
    for length in lengths:
        if place + length > size:
            place = 0
        places.append(place)
        place += length
    return places


class _Pieces(Dataset[tuple[list[str], dict[str, float]]]):
    """Parts of batches: each is decoded by one worker, at its place in the ring."""

    def __init__(self, images: Images, ring: torch.Tensor) -> None:
        self._images = images
        self._ring = ring

    def __getitem__(self, piece: tuple[int, Sequence[Any]]) -> tuple[list[str], dict[str, float]]:
        place, rows = piece
        read = self._images.read(rows) if isinstance(rows[0], int) else rows
        reasons = self._images.load(read, self._ring[place : place + len(rows)])
        return reasons, self._images.pop_seconds()


@contextmanager
def _pinned(memory: torch.Tensor) -> Iterator[None]:
    """Lock memory in RAM, so that a GPU copies from it while the processor does other work."""
    cuda = torch.cuda.cudart()
    locked = int(cuda.cudaHostRegister(memory.data_ptr(), memory.nbytes, 0)) == 0  # else the copies are slower
    try:
        yield
    finally:
        if locked:
            cuda.cudaHostUnregister(memory.data_ptr())


def _read(images: Images, pieces: Sequence[tuple[int, Sequence[int]]]) -> Iterator[tuple[int, list[Read]]]:
    """Read pieces in a thread, one ahead: whoever asks for decoded ones seldom waits for that."""
    with ThreadPoolExecutor(1) as pool:
        ahead: deque[tuple[int, Future[list[Read]]]] = deque()
        for place, rows in pieces:
            ahead.append((place, pool.submit(images.read, rows)))
            if len(ahead) > 1:
                place, read = ahead.popleft()
                yield place, read.result()
        for place, read in ahead:
            yield place, read.result()


def _ended(signals: set[int], error: Exception) -> str:
    """What to say of a worker that ended before its work did."""
    if signals <= {signal.SIGKILL}:
        return (
            "A process that decodes images was killed, most likely because memory ran out (the system's out-of-memory "
            "killer).\nGive the job more memory (mem_mb), or lower extract.workers or extract.batch_size. "
            "What was extracted so far is kept."
        )
    names = ", ".join(signal.Signals(number).name for number in sorted(signals))
    return f"A process that decodes images crashed ({names}): {first_line(error)}"


def _begin(niceness: int, worker: int) -> None:
    """Leave Ctrl-C, which the terminal sends to all processes, to the one that ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(niceness)

"""From rows of the manifest to batches of pixels, decoded in worker processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from labelsim.dataset.formats.base import Source, digest
from labelsim.errors import LabelsimError
from labelsim.images.decode import ImageError, decode, first_line

__all__ = ["CHANGED", "UNREADABLE", "Images", "batches"]

# Reasons of circumstance: the image itself may be sound, and another try may read it.
UNREADABLE = "cannot be read"
CHANGED = "changed since the scan"


class Images(Dataset[tuple[torch.Tensor, str]]):
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
        Shape that the tensor must have.
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

    def __len__(self) -> int:
        return self.rows.num_rows

    def __getitem__(self, item: int | tuple[int, bytes | str]) -> tuple[torch.Tensor, str]:
        """Return the pixels, of `shape` and `dtype`, and ""; or zeros and the reason why there are none.

        Parameters
        ----------
        item : int or what `read` gives
            Which image.
        """
        index, data = item if isinstance(item, tuple) else self.read(item)
        try:
            return self._pixels(self._row(index), data), ""
        except ImageError as error:
            return torch.zeros(self.shape, dtype=self.dtype), str(error)

    def read(self, index: int) -> tuple[int, bytes | str]:
        """Return the index of an image and its bytes, or the reason why they cannot be read."""
        try:
            return index, self.source.read(self._row(index))
        except OSError as error:
            return index, f"{UNREADABLE}: {error.strerror or first_line(error)}"

    def _row(self, index: int) -> dict[str, Any]:
        row: dict[str, Any] = self.rows.slice(index, 1).to_pylist()[0]
        return row

    def _pixels(self, row: dict[str, Any], data: bytes | str) -> torch.Tensor:
        if isinstance(data, str):
            raise ImageError(data)
        if row["bytes"] and len(data) != row["bytes"]:
            raise ImageError(f"{CHANGED}: {len(data)} bytes where there were {row['bytes']}")
        if (content := row.get("content")) is not None and content != digest(data):
            raise ImageError(f"{CHANGED}: other contents")
        decoded = decode(data)
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
        return pixels.to(self.dtype)


def batches(
    images: Images, rows: Sequence[Sequence[int]], workers: int, pin_memory: bool = False, niceness: int = 0
) -> Iterator[tuple[torch.Tensor, list[str]]]:
    """Decode batches of images in worker processes, in order and at most two a worker ahead.

    The workers read as well, but where that would be the same groups of rows in each: then this process does.

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
    pixels : (N, 3, H, W) tensor
        Of the images' dtype, in channels-last order. Zeros for an image that cannot be used.
    reasons : list of str
        Why not; empty for an image that can.

    Raises
    ------
    LabelsimError
        If a worker was killed.
    """
    loader = DataLoader(
        images,
        batch_sampler=_read(images, rows) if images.source.reads_in_groups else rows,  # type: ignore[arg-type]
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        pin_memory=pin_memory,
        collate_fn=_collate,
        # whatever Python's own choice is: a transform may be a function that cannot be sent to a new process
        multiprocessing_context="fork" if workers else None,
        worker_init_fn=partial(_begin, niceness),
    )
    iterator = iter(loader)
    processes = multiprocessing.active_children()
    try:
        yield from iterator
    except (RuntimeError, ConnectionError, EOFError) as error:
        codes = [process.exitcode or 0 for process in processes]
        signals = {-code for code in codes if code < 0} - {signal.SIGTERM}
        if not signals and "DataLoader worker" not in str(error):
            raise
        raise LabelsimError(_ended(signals, error)) from error


def _read(images: Images, rows: Sequence[Sequence[int]]) -> Iterator[list[tuple[int, bytes | str]]]:
    """Read batches in a thread, one ahead: whoever asks for decoded ones seldom waits for that."""
    with ThreadPoolExecutor(1) as pool:
        ahead: deque[Future[list[tuple[int, bytes | str]]]] = deque()
        for batch in rows:
            ahead.append(pool.submit(lambda batch: list(map(images.read, batch)), batch))
            if len(ahead) > 1:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


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


def _collate(items: Sequence[tuple[torch.Tensor, str]]) -> tuple[torch.Tensor, list[str]]:
    # channels last, as a decoded image has them and as convolutions take them
    stacked = torch.stack([pixels.permute(1, 2, 0) for pixels, _ in items]).permute(0, 3, 1, 2)
    return stacked, [reason for _, reason in items]

"""Run a model over batches of images: in a precision, with overlapping copies, in batches that fit into memory."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from labelsim.errors import LabelsimError
from labelsim.images.decode import first_line
from labelsim.network.model import HALF, Model
from labelsim.network.probes import Features

__all__ = ["Inference", "automatic_batch_size", "out_of_memory", "precision_of"]

logger = logging.getLogger(__name__)

_RUNNING = 2  # batches on the GPU at a time: one is computed, one is copied


def automatic_batch_size(device: torch.device, shape: Sequence[int]) -> int:
    """Choose how many images to compute at a time.

    Parameters
    ----------
    device : torch.device
        CPU or GPU.
    shape : sequence of 3 int
        Of an image, (3, H, W).

    Returns
    -------
    int
        256 on a GPU. On a CPU 32, and up to 256 if images have fewer than 224 x 224 pixels: small batches of small
        images take up to twice as long.
    """
    if device.type == "cuda":
        return 256
    return min(256, max(32, 32 * 224 * 224 // (shape[1] * shape[2])))


class _Batch(NamedTuple):
    """A batch on the GPU."""

    uploading: torch.cuda.Event
    uploaded: torch.cuda.Event
    computed: torch.cuda.Event
    downloaded: torch.cuda.Event
    features: Sequence[Tensor]  # kept alive until they are downloaded

    def seconds(self) -> dict[str, float]:
        """What the GPU spent on it."""
        events = self.uploading, self.uploaded, self.computed, self.downloaded
        milliseconds = [start.elapsed_time(end) for start, end in pairwise(events)]
        return dict(zip(("upload", "network", "download"), [spent / 1000 for spent in milliseconds], strict=True))


class Inference:
    """Computes features, batch after batch.

    On a GPU the next batch is uploaded, and the features of the last one are downloaded, while a batch is computed.
    Where memory runs out, this batch and all later ones are computed in halves.

    Parameters
    ----------
    model : Model
        On `device`.
    normalise : callable
        Turns pixels, (N, 3, H, W) on the device, into what the network takes.
    device : torch.device
        CPU or GPU.
    size : int
        Largest number of images to compute at a time.
    compiled : bool
        Whether PyTorch compiles the network, for batches of `size` images: smaller ones are filled up.

    Attributes
    ----------
    device : torch.device
        As given.
    size : int
        As given, or smaller: halved each time memory ran out.
    spent : dict of str to float
        Shares of the time of the last `submit`: waiting for the "upload", "network" and "download" of an earlier batch,
        and "launching" this one on a GPU.
    """

    def __init__(
        self,
        model: Model,
        normalise: Callable[[Tensor], Tensor],
        device: torch.device,
        size: int,
        compiled: bool = False,
    ) -> None:
        self.size = size
        self.spent = {"network": 1.0}
        self._model = model
        self._compiled = compiled
        if compiled:
            model.compile()
        self._normalise = normalise
        self.device = device
        self._running: deque[_Batch] = deque()
        self._staging: deque[Tensor] = deque()
        if device.type == "cuda":
            self._uploads, self._downloads = torch.cuda.Stream(device), torch.cuda.Stream(device)

    def warm_up(self, pixels: Tensor) -> None:
        """Compile the network and load the GPU's kernels, which would otherwise slow down the first batch.

        Parameters
        ----------
        pixels : (size, 3, H, W) tensor
            A batch like those to come, in main memory.

        Raises
        ------
        LabelsimError
            If PyTorch cannot compile the network.
        """
        if not self._compiled and self.device.type == "cpu":
            return
        try:
            self._features(pixels.to(self.device))
        except Exception as error:  # compilers fail in many ways
            if not self._compiled or isinstance(error, LabelsimError) or out_of_memory(error):
                raise
            raise LabelsimError(
                f"extract.compile: PyTorch cannot compile this network ({first_line(error)}).\n"
                "It needs a C++ compiler, and a network that computes with tensors alone. Set extract.compile: false."
            ) from error

    def room(self, images: int) -> Features:
        """Memory for the features of some images, to which a GPU can copy while other work goes on."""
        pinned = self.device.type == "cuda"
        widths = self._model.channels, self._model.hidden_units, self._model.outputs
        return Features(*(torch.empty((images, width), pin_memory=pinned) for width in widths))

    def submit(self, pixels: Tensor, targets: Sequence[Tensor]) -> Callable[[], None]:
        """Compute the features of a batch.

        Parameters
        ----------
        pixels : (N, 3, H, W) tensor
            In main memory, in channels-last order. They may be changed after the next call.
        targets : sequence of 3 tensors
            Where to put gap, hidden and logits: (N, …) float32, in memory from `room`.

        Returns
        -------
        callable
            Returns when the targets are filled. It may be called in any thread.

        Raises
        ------
        MemoryError or RuntimeError
            If there is too little memory even for one image.
        """
        if self.device.type == "cuda":
            return self._submit(pixels, targets)
        for target, features in zip(targets, self._features(pixels), strict=True):
            target.copy_(features)
        return lambda: None

    def _submit(self, pixels: Tensor, targets: Sequence[Tensor]) -> Callable[[], None]:
        if self._running:
            self._running[-1].uploaded.synchronize()
        began = time.perf_counter()
        waited: dict[str, float] = {}
        if len(self._running) == _RUNNING:
            done = self._running.popleft()
            done.downloaded.synchronize()
            waited = done.seconds()
        launching = time.perf_counter()
        uploading, uploaded, computed, downloaded = (torch.cuda.Event(enable_timing=True) for _ in range(4))
        with torch.cuda.stream(self._uploads):
            uploading.record()
            staged = self._stage(pixels)
            uploaded.record()
        torch.cuda.current_stream().wait_event(uploaded)
        features = self._features(staged)
        computed.record()
        with torch.cuda.stream(self._downloads):
            self._downloads.wait_event(computed)
            for target, values in zip(targets, features, strict=True):
                target.copy_(values, non_blocking=True)
            downloaded.record()
        self._running.append(_Batch(uploading, uploaded, computed, downloaded, features))
        share = (launching - began) / sum(waited.values()) if waited else 0.0
        self.spent = {part: seconds * share for part, seconds in waited.items()}
        self.spent["launching"] = time.perf_counter() - launching
        return downloaded.synchronize

    def _stage(self, pixels: Tensor) -> Tensor:
        """Copy pixels to the GPU, into memory of a batch that is finished."""
        values = pixels.permute(0, 2, 3, 1)
        if len(self._staging) < _RUNNING:
            self._staging.append(torch.empty(values.shape, dtype=values.dtype, device=self.device))
        room = self._staging.popleft()
        if len(room) < len(values):
            room = torch.empty(values.shape, dtype=values.dtype, device=self.device)
        self._staging.append(room)
        return room[: len(values)].copy_(values, non_blocking=True).permute(0, 3, 1, 2)

    def _features(self, pixels: Tensor) -> Sequence[Tensor]:
        while True:
            try:
                parts = [self._part(part) for part in pixels.split(self.size)]
                return parts[0] if len(parts) == 1 else [torch.cat(part) for part in zip(*parts, strict=True)]
            except (MemoryError, RuntimeError) as error:
                images = min(self.size, len(pixels))
                if not out_of_memory(error) or images == 1:
                    raise
                self.size = images // 2
            logger.warning("Memory is too small for batches of %d images: continuing with %d", images, self.size)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def _part(self, pixels: Tensor) -> Sequence[Tensor]:
        images = len(pixels)
        if self._compiled and images < self.size:
            pixels = torch.cat([pixels, pixels.new_zeros((self.size - images, *pixels.shape[1:]))])
        batch = self._normalise(pixels).contiguous(memory_format=self._model.memory_format)
        return [part[:images] for part in self._model.features(batch)]


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, the GPU's or the job's."""
    # PyTorch raises a plain RuntimeError where it is the CPU's.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextmanager
def precision_of(precision: str, device: torch.device) -> Iterator[None]:
    """Let networks compute in the precision asked for: float32, tf32, bfloat16 or float16."""
    torch.backends.cudnn.deterministic = True  # a resumed store must equal an uninterrupted one
    _allow_tf32(precision == "tf32")
    with torch.autocast(device.type, dtype=HALF[precision]) if precision in HALF else nullcontext():
        yield


def _allow_tf32(allowed: bool) -> None:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    if hasattr(cudnn, "conv"):  # PyTorch 2.9 and later
        matmul.fp32_precision = cudnn.conv.fp32_precision = "tf32" if allowed else "ieee"
    else:
        matmul.allow_tf32 = cudnn.allow_tf32 = allowed

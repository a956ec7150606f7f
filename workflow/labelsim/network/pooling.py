"""Global average pooling: the mean over the places of each channel, with or without ReLU before it."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from labelsim.statistics.compiled import compiled

__all__ = ["has_kernel", "mean", "rectified_mean"]

logger = logging.getLogger(__name__)

_POOL = ThreadPoolExecutor(thread_name_prefix="pooling")  # its threads begin with the first maps
_KERNEL_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_PLACES = 64  # summed in float32, before the sums are added up in float64


def mean(maps: Tensor, axis: int = 1) -> Tensor:
    """Mean over all places or tokens.

    Parameters
    ----------
    maps : (N, C, H, W), (N, H, W, C), (N, tokens, C) or (N, C, tokens) tensor
        Any floating-point dtype.
    axis : int
        The dimension of the channels, C.

    Returns
    -------
    (N, C) float32 tensor
    """
    places = [other for other in range(1, maps.ndim) if other != axis]
    return maps.mean(dim=places, dtype=torch.float32)


def rectified_mean(maps: Tensor) -> Tensor:
    """Mean over height and width of ReLU(maps); equations 2 and 3 of the paper.

    Parameters
    ----------
    maps : (N, C, H, W) tensor
        Any floating-point dtype. Maps on a GPU that has Triton, and maps of float32 on the CPU in channels-last order,
        are read once, and nothing is written on the way; all others are rectified first.

    Returns
    -------
    (N, C) float32 tensor
    """
    if torch.compiler.is_compiling():
        return mean(maps.relu())  # becomes one kernel with what the network does to the same map
    if maps.device.type == "cuda" and maps.dtype in _KERNEL_DTYPES and _even(maps) and has_kernel():
        from labelsim.network import pooling_kernel

        return pooling_kernel.rectified_mean(maps)
    if (
        maps.device.type == "cpu"
        and maps.dtype == torch.float32
        and maps.is_contiguous(memory_format=torch.channels_last)
    ):
        return _read_once(maps)
    return mean(maps.relu())


def _even(maps: Tensor) -> bool:
    """Whether the places of a map, row after row, are equally far apart in memory."""
    return maps.shape[2] == 1 or maps.stride(2) == maps.shape[3] * maps.stride(3)


@cache
def has_kernel() -> bool:
    """Whether maps on the GPU can be read once: Triton is there, and compiles (which takes a C compiler)."""
    try:
        from labelsim.network import pooling_kernel

        maps = torch.tensor([-1.0, 3.0], device="cuda").view(1, 1, 1, 2)
        return bool(pooling_kernel.rectified_mean(maps).item() == 1.5)
    except Exception as error:  # of many kinds: a missing compiler, a GPU that is too old
        logger.warning("Triton cannot be used, so probes on the GPU take longer (%s)", str(error).partition("\n")[0])
        return False


def _read_once(maps: Tensor) -> Tensor:
    images = len(maps)
    values = maps.detach().permute(0, 2, 3, 1).flatten(1, 2).numpy()
    means = np.empty((images, maps.shape[1]), np.float32)
    threads = min(images, torch.get_num_threads())
    bounds = [images * part // threads for part in range(threads + 1)]
    first, *others = [(values, means, bounds[part], bounds[part + 1]) for part in range(threads)]
    running = [_POOL.submit(_rectified_means, *part) for part in others]
    _rectified_means(*first)
    for part in running:
        part.result()
    return torch.from_numpy(means)


@compiled
def _rectified_means(values: NDArray[np.float32], means: NDArray[np.float32], start: int, stop: int) -> None:
    """Put the means of images `start` to `stop`, (N, places, channels), into `means`, (N, channels)."""
    places, channels = values.shape[1:]
    sums = np.empty(channels, np.float32)
    totals = np.empty(channels, np.float64)
    zero = np.float32(0)
    for image in range(start, stop):
        totals[:] = 0
        for first in range(0, places, _PLACES):
            sums[:] = 0
            for place in range(first, min(first + _PLACES, places)):
                for channel in range(channels):
                    value = values[image, place, channel]
                    sums[channel] += zero if value < zero else value  # NaN stays NaN, as with ReLU
            for channel in range(channels):
                totals[channel] += sums[channel]
        for channel in range(channels):
            means[image, channel] = totals[channel] / places

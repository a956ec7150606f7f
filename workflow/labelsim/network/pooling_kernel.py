"""Triton kernel of the rectified mean: reads each map once, and writes nothing but sums."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["rectified_mean"]

# Fixed, whatever the GPU: the order of the sums decides their last bits, and a resumed shard must have the same ones.
_ROW = 128  # bytes of neighbouring channels that a program reads
_TILE = 2048  # values that it reads at a time
_SLICE = 1024  # places of a program; the sums of larger maps are added up afterwards


@triton.jit
def _rectified_sums(  # type: ignore[no-untyped-def]  # Triton has types of its own
    maps,
    sums,
    channels,
    places,
    image_stride,
    channel_stride,
    place_stride,
    SLICE: tl.constexpr,
    PLACES: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Sum one slice of the places of some channels of an image, divided by the number of all places."""
    image = tl.program_id(0)
    part = tl.program_id(1)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    start = maps + image.to(tl.int64) * image_stride
    total = tl.zeros((PLACES, CHANNELS), tl.float32)
    for first in range(0, SLICE, PLACES):
        place = part * SLICE + first + tl.arange(0, PLACES)
        inside = (place < places)[:, None] & (channel < channels)[None, :]
        offset = place[:, None] * place_stride + channel[None, :] * channel_stride
        value = tl.load(start + offset, mask=inside, other=0.0).to(tl.float32)
        total += tl.where(value < 0, 0.0, value)  # NaN stays NaN, as with ReLU
    row = (part * tl.num_programs(0) + image) * channels
    tl.store(sums + row + channel, tl.sum(total, axis=0) / places, mask=channel < channels)


def rectified_mean(maps: Tensor) -> Tensor:
    """Mean over height and width of ReLU(maps).

    Parameters
    ----------
    maps : (N, C, H, W) tensor
        On a GPU, of float32, bfloat16 or float16, in any order of memory in which the places of a map, row after
        row, are equally far apart.

    Returns
    -------
    (N, C) float32 tensor
    """
    images, channels, height, width = maps.shape
    places = height * width
    parts = triton.cdiv(places, _SLICE)
    sums = torch.empty((parts, images, channels), dtype=torch.float32, device=maps.device)
    columns = _ROW // maps.element_size()
    rows = _TILE // columns
    grid = (images, parts, triton.cdiv(channels, columns))
    strides = maps.stride(0), maps.stride(1), maps.stride(3)
    size = min(_SLICE, triton.cdiv(places, rows) * rows)
    _rectified_sums[grid](maps, sums, channels, places, *strides, size, rows, columns)
    return sums[0] if parts == 1 else sums.sum(0)

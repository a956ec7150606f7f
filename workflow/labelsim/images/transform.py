"""Split a transform: geometry for each image, in bytes; normalization for a batch, on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from labelsim.images.resize import resize_part
from labelsim.statistics.compiled import compiled

__all__ = ["SplitTransform", "gathered", "split_transform"]

Pixels = NDArray[np.uint8]  # (H, W, 3), RGB

_TRIED = [(320, 256), (333, 500), (600, 90), (50, 200)]  # width and height of the pictures on which a split is tried
_LEVELS = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
_CPU = torch.device("cpu")


class SplitTransform(NamedTuple):
    """A transform, applied as ``batch(stack of image(…))``.

    Attributes
    ----------
    image : callable
        RGB pixels, (H, W, 3) uint8 -> tensor (3, H, W) of `dtype`.
    batch : callable
        Tensor (N, 3, H, W) of `dtype`, on any device -> float32, what the network takes.
    dtype : torch.dtype
        uint8 if the transform could be split, else float32, and `batch` leaves its input as it is.
    """

    image: Callable[[Pixels], Tensor]
    batch: Callable[[Tensor], Tensor]
    dtype: torch.dtype


def split_transform(transform: Callable[[Image.Image], Tensor]) -> SplitTransform:
    """Split a transform where its bytes become floating-point numbers.

    Bytes are a quarter of the data to hand from process to process and to a GPU, and are normalised there in one go.
    What can be split is torchvision's preset of its weights, and a ``Compose`` that ends with ``ToTensor`` and
    ``Normalize``, as timm makes it. Of an image that is resized and cropped, only what the crop keeps is computed.
    A split is tried on some pictures and used only if its result equals the transform's, bit for bit.

    Parameters
    ----------
    transform : callable
        PIL image (RGB) -> float tensor (3, H, W).
    """
    whole = SplitTransform(
        lambda pixels: transform(Image.fromarray(pixels)).to(torch.float32), lambda batch: batch, torch.float32
    )
    return next((found for found in _candidates(transform) if _same(transform, found)), whole)


def _candidates(transform: Any) -> Iterator[SplitTransform]:
    """Ways to split a transform that may give the same, the fastest first."""
    kind = type(transform).__name__
    if kind == "ImageClassification":
        normalize = transform.mean, transform.std
        yield _bytes(partial(_part, transform.resize_size, transform.crop_size, transform.interpolation), *normalize)
        yield _bytes(_of_images(partial(_preset, transform)), *normalize)
    elif kind == "Compose" and len(steps := list(transform.transforms)) > 2:
        *geometry, to_tensor, last = steps
        if type(to_tensor).__name__ in ("ToTensor", "MaybeToTensor") and type(last).__name__ == "Normalize":
            normalize = last.mean, last.std
            if [type(step).__name__ for step in geometry] == ["Resize", "CenterCrop"] and geometry[0].max_size is None:
                resize, crop = geometry
                yield _bytes(partial(_part, resize.size, crop.size, resize.interpolation), *normalize)
            yield _bytes(_of_images(partial(_composed, geometry)), *normalize)


def _part(size: Any, crop: Any, interpolation: Any, pixels: Pixels) -> Pixels:
    """Resize the shorter side to `size` and crop the middle, as torchvision does: of the result, the crop alone."""
    high, wide = pixels.shape[:2]
    short = min(high, wide)
    target = size if isinstance(size, int) else _only(size)
    resized = [target if side == short else int(target * side / short) for side in (wide, high)]
    width, height = (crop, crop) if isinstance(crop, int) else (crop[-1], crop[0])
    left, top = (round((side - part) / 2) for side, part in zip(resized, (width, height), strict=True))
    if min(left, top) < 0:
        raise ValueError("the crop is larger than the image")
    return resize_part(pixels, (resized[0], resized[1]), (left, top, width, height), interpolation.value)


def _only(values: Sequence[int]) -> int:
    (value,) = values
    return value


def _preset(preset: Any, image: Image.Image) -> Image.Image:
    from torchvision.transforms import functional

    size, how = preset.resize_size, {"interpolation": preset.interpolation, "antialias": preset.antialias}
    return functional.center_crop(functional.resize(image, size, **how), preset.crop_size)


def _composed(steps: Sequence[Callable[[Any], Any]], image: Image.Image) -> Image.Image:
    for step in steps:
        image = step(image)
    return image


def _of_images(geometry: Callable[[Image.Image], Image.Image]) -> Callable[[Pixels], Pixels]:
    return lambda pixels: np.array(geometry(Image.fromarray(pixels)))


def _bytes(geometry: Callable[[Pixels], Pixels], mean: Any, std: Any) -> SplitTransform:
    centre, spread = (torch.as_tensor(values, dtype=torch.float32).view(-1, 1, 1) for values in (mean, std))

    @cache  # once a device: a copy from the host makes the device wait
    def table(device: torch.device) -> Tensor:
        # The reference's operations in their order, on the CPU: a GPU divides by 255 with another last bit.
        return _LEVELS.to(torch.float32).div_(255).sub_(centre).div_(spread).flatten(1).to(device)

    def image(pixels: Pixels) -> Tensor:
        return torch.from_numpy(geometry(pixels)).permute(2, 0, 1)

    def batch(pixels: Tensor) -> Tensor:
        if pixels.device.type != "cpu":
            return gathered(pixels, table(pixels.device))
        levels = pixels.permute(0, 2, 3, 1).contiguous().numpy()
        return torch.from_numpy(_look_up(levels, table(_CPU).numpy())).permute(0, 3, 1, 2)

    return SplitTransform(image, batch, torch.uint8)


def gathered(pixels: Tensor, table: Tensor) -> Tensor:
    """Look up every byte of a batch in a table, on the device of both.

    Parameters
    ----------
    pixels : (N, 3, H, W) tensor of uint8
        In any order of memory.
    table : (3, 256) tensor of float32
        The value of each byte, by channel.

    Returns
    -------
    (N, 3, H, W) tensor of float32
        In channels-last order.
    """
    levels = pixels.permute(0, 2, 3, 1)
    channels = torch.arange(0, table.numel(), 256, dtype=torch.int32, device=pixels.device)
    values = table.flatten().index_select(0, (levels + channels).flatten())  # int32: uint8 alone would overflow
    return values.view(levels.shape).permute(0, 3, 1, 2)


@compiled
def _look_up(pixels: NDArray[np.uint8], table: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the table, (3, 256), has for every byte of pixels, (N, H, W, 3)."""
    values = np.empty(pixels.shape, np.float32)
    level, value = pixels.reshape(-1, 3), values.reshape(-1, 3)
    for place in range(len(level)):
        for channel in range(3):  # a number, so that it is unrolled: four times as fast
            value[place, channel] = table[channel, level[place, channel]]
    return values


def _same(transform: Callable[[Image.Image], Tensor], parts: SplitTransform) -> bool:
    """Whether a split gives what the transform gives, for pictures of every value."""
    for width, height in _TRIED:
        noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        try:
            if not torch.equal(transform(Image.fromarray(noise)), parts.batch(parts.image(noise)[None])[0]):
                return False
        except Exception:  # whatever it is that looks like a transform and is none
            return False
    return True

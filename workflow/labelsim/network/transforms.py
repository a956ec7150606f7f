"""A transform in two halves: what is done to an image, in bytes, and what is done to a batch of them, on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

__all__ = ["Halves", "split"]


class Halves(NamedTuple):
    """A transform, applied as ``batch(stack of image(…))``.

    Attributes
    ----------
    image : callable
        PIL image (RGB) -> tensor (3, H, W) of `dtype`.
    batch : callable
        Tensor (N, 3, H, W) of `dtype`, on any device -> float32, what the network takes.
    dtype : torch.dtype
        uint8 if the transform could be split, else float32, and `batch` leaves its input as it is.
    """

    image: Callable[[Image.Image], Tensor]
    batch: Callable[[Tensor], Tensor]
    dtype: torch.dtype


def split(transform: Callable[[Image.Image], Tensor]) -> Halves:
    """Split a transform where its bytes become floating-point numbers.

    Bytes are a quarter of the data to hand from process to process and to a GPU, and are normalised there in one go.
    What can be split is torchvision's preset of its weights, and a ``Compose`` that ends with ``ToTensor`` and
    ``Normalize``, as timm makes it. The halves are tried: they are used only if they give what the whole gives, bit
    for bit.

    Parameters
    ----------
    transform : callable
        PIL image (RGB) -> float tensor (3, H, W).
    """
    whole = Halves(lambda image: transform(image).to(torch.float32), lambda batch: batch, torch.float32)
    halves = _halves(transform)
    return halves if halves is not None and _same(transform, halves) else whole


def _halves(transform: Any) -> Halves | None:
    kind = type(transform).__name__
    if kind == "ImageClassification":
        return _bytes(lambda image: _resized(transform, image), transform.mean, transform.std)
    if kind == "Compose" and len(steps := list(transform.transforms)) > 2:
        *geometry, to_tensor, normalize = steps
        if type(to_tensor).__name__ in ("ToTensor", "MaybeToTensor") and type(normalize).__name__ == "Normalize":
            return _bytes(lambda image: _composed(geometry, image), normalize.mean, normalize.std)
    return None


def _resized(preset: Any, image: Image.Image) -> Image.Image:
    from torchvision.transforms import functional

    size, how = preset.resize_size, {"interpolation": preset.interpolation, "antialias": preset.antialias}
    return functional.center_crop(functional.resize(image, size, **how), preset.crop_size)


def _composed(steps: Sequence[Callable[[Any], Any]], image: Image.Image) -> Image.Image:
    for step in steps:
        image = step(image)
    return image


def _bytes(geometry: Callable[[Image.Image], Image.Image], mean: Any, std: Any) -> Halves:
    centre, spread = (torch.as_tensor(values, dtype=torch.float32).view(-1, 1, 1) for values in (mean, std))

    def image(picture: Image.Image) -> Tensor:
        return torch.from_numpy(np.array(geometry(picture))).permute(2, 0, 1)

    def batch(pixels: Tensor) -> Tensor:
        # the reference's operations in their order, so that every bit is the same
        return pixels.to(torch.float32).div_(255).sub_(centre.to(pixels.device)).div_(spread.to(pixels.device))

    return Halves(image, batch, torch.uint8)


def _same(transform: Callable[[Image.Image], Tensor], halves: Halves) -> bool:
    """Whether the halves give what the whole gives, for a picture of every value."""
    noise = np.random.default_rng(0).integers(0, 256, (256, 320, 3), np.uint8)
    picture = Image.fromarray(noise)
    try:
        return torch.equal(transform(picture), halves.batch(halves.image(picture).unsqueeze(0)).squeeze(0))
    except Exception:  # whatever it is that looks like a transform and is none
        return False

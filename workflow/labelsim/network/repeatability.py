"""Whether an image's features depend on this image alone: not on chance, nor on the images beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from labelsim.errors import LabelsimError, reason
from labelsim.network.model import Model
from labelsim.network.probes import Features

__all__ = ["check_repeatable"]

_SIZES = ((320, 256), (240, 360))  # width and height, in pixels
_TOLERANCE = 1e-3  # of a part's largest value: a batch of another size is rounded otherwise, by less than 1e-4


def check_repeatable(model: Model) -> None:
    """Run two images alone and together, twice, and compare the features.

    Parameters
    ----------
    model : Model
        On the CPU.

    Raises
    ------
    LabelsimError
        If the transform draws at random or gives tensors of several shapes, or if features depend on chance or on the
        batch, or are not finite.
    """
    first, second = ([_transformed(model.transform, number) for number in range(len(_SIZES))] for _ in range(2))
    if not all(map(torch.equal, first, second)):
        raise LabelsimError(
            "model.transform: of the same image it makes two different tensors. It draws at random, as transforms for "
            "training do: give the one for validation."
        )
    shapes = [tuple(tensor.shape) for tensor in first]
    if len(set(shapes)) > 1:
        sizes = " and ".join(f"{width} x {height}" for width, height in _SIZES)
        raise LabelsimError(
            f"model.transform: of images of {sizes} pixels it makes {' and '.join(map(str, shapes))}; "
            "all tensors must have one shape. Resize or crop to a fixed height and width."
        )
    batch = torch.stack(first)
    together, alone = model.features(batch), _alone(model, batch)
    if (
        found := _unlike(model, together, model.features(batch)) or _unlike(model, alone, _alone(model, batch))
    ) is not None:
        raise LabelsimError(
            f"the network's features depend on chance: the same images, run again, give others ({found}).\n"
            "Its eval() must switch all drawing off; F.dropout, for instance, needs training=self.training."
        )
    if (found := _unlike(model, together, alone)) is not None:
        raise LabelsimError(
            f"an image's features depend on the other images of its batch ({found}).\n"
            "Its eval() must switch that off; batch norms, for instance, must keep running statistics."
        )
    for name, values in _parts(model, together):
        if not values.isfinite().all(dim=1).any():
            raise LabelsimError(
                f"the network's features are not finite, from {name} on: are there NaN among its weights, or do they "
                "belong to images that are scaled otherwise?"
            )


def _transformed(transform: Callable[[Image.Image], Tensor], number: int) -> Tensor:
    """What a transform makes of a picture of smooth noise."""
    noise = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
    picture = Image.fromarray(noise).resize(_SIZES[number], Image.Resampling.BICUBIC)
    try:
        return transform(picture).to(torch.float32)
    except Exception as error:
        width, height = picture.size
        raise LabelsimError(
            f"model.transform failed on an image of {width} x {height} pixels: {reason(error)}"
        ) from error


def _alone(model: Model, batch: Tensor) -> Features:
    return Features(*map(torch.cat, zip(*(model.features(batch[[row]]) for row in range(len(batch))), strict=True)))


def _parts(model: Model, features: Features) -> Iterator[tuple[str, Tensor]]:
    """Names and values of all layers, the hidden state and the output."""
    channels = features.gap.split([layer.channels for layer in model.layers], dim=1)
    yield from zip((layer.name for layer in model.layers), channels, strict=True)
    yield "the hidden state", features.hidden
    yield "the output", features.logits


def _unlike(model: Model, features: Features, others: Features) -> str | None:
    """Say in which parts two sets of features differ by more than rounding; None if in none."""
    pairs = zip(_parts(model, features), _parts(model, others), strict=True)
    found = {
        name: change / scale if (scale := float(values.abs().max())) else float("inf")
        for (name, values), (_, other) in pairs
        if (change := float((values - other).abs().max())) > _TOLERANCE * float(values.abs().max())
    }
    if not found:
        return None
    parts = ", ".join(list(found)[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
    return f"{parts}: by up to {max(found.values()):.2g} of the largest value"

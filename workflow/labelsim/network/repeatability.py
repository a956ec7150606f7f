"""Check that an image's features depend only on the image: not on random numbers or on the rest of the batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from labelsim.errors import LabelsimError, listed, reason
from labelsim.network.model import Model
from labelsim.network.probes import Features

__all__ = ["check_repeatable"]

_SIZES = ((320, 256), (240, 360))  # width and height, in pixels
_TOLERANCE = 1e-3  # relative to the largest value: rounding depends on the batch size, but stays below 1e-4


def check_repeatable(model: Model) -> None:
    """Run two images separately and as a batch, twice each, and compare the features.

    Parameters
    ----------
    model : Model
        On the CPU.

    Raises
    ------
    LabelsimError
        If the transform is random or returns tensors of several shapes, or if features are random, depend on the batch,
        or are not finite.
    """
    first, second = ([_transformed(model.transform, number) for number in range(len(_SIZES))] for _ in range(2))
    if not all(map(torch.equal, first, second)):
        raise LabelsimError(
            "model.transform is random: it returns two different tensors for the same image. Give the transform for "
            "validation, not for training."
        )
    shapes = [tuple(tensor.shape) for tensor in first]
    if len(set(shapes)) > 1:
        sizes = " and ".join(f"{width} x {height}" for width, height in _SIZES)
        raise LabelsimError(
            f"model.transform returns tensors of different shapes ({' and '.join(map(str, shapes))}) for images of "
            f"{sizes} pixels. Resize or crop to a fixed height and width."
        )
    batch = torch.stack(first)
    together, alone = model.features(batch), _alone(model, batch)
    if found := _unlike(model, together, model.features(batch)) or _unlike(model, alone, _alone(model, batch)):
        raise LabelsimError(
            f"the network's features are random: they differ between two runs on the same images ({found}).\n"
            "Its eval() must switch off all randomness; F.dropout, for instance, needs training=self.training."
        )
    if found := _unlike(model, together, alone):
        raise LabelsimError(
            f"an image's features depend on the other images in the batch ({found}).\n"
            "Its eval() must switch that off; batch norms, for instance, must use running statistics."
        )
    for name, values in _parts(model, together):
        if not values.isfinite().all(dim=1).any():
            raise LabelsimError(
                f"the network's features are not finite, starting with {name}. Check the weights for NaN, and that "
                "model.transform scales images as the network expects."
            )


def _transformed(transform: Callable[[Image.Image], Tensor], number: int) -> Tensor:
    """The transform of a picture of smooth noise."""
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
    """Names and values of the layers, the hidden state and the output."""
    channels = features.gap.split([layer.channels for layer in model.layers], dim=1)
    yield from zip((layer.name for layer in model.layers), channels, strict=True)
    yield "the hidden state", features.hidden
    yield "the output", features.logits


def _unlike(model: Model, features: Features, others: Features) -> str | None:
    """The parts in which two sets of features differ by more than rounding, in words; None if there are none."""
    pairs = zip(_parts(model, features), _parts(model, others), strict=True)
    found = {
        name: change / scale if (scale := float(values.abs().max())) else float("inf")
        for (name, values), (_, other) in pairs
        if (change := float((values - other).abs().max())) > _TOLERANCE * float(values.abs().max())
    }
    if not found:
        return None
    return f"{listed(list(found))}: by up to {max(found.values()):.2g} of the largest value"

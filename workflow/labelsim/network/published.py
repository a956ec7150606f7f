"""A network as those who publish it give it, and what they say of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import PIL.Image
from torch import Tensor, nn

__all__ = ["Published", "Transform"]

Transform = Callable[[PIL.Image.Image], Tensor]


@dataclass(frozen=True)
class Published:
    """A network with its weights: torchvision's, timm's or the user's.

    Attributes
    ----------
    module : nn.Module
        With its weights.
    transform : callable or None
        PIL image (RGB) -> float tensor (channels, height, width), where it is known.
    assumed : str or None
        Whose transform this is, if the weights bring none.
    labels : list of str or None
        Class id of each output, where the weights are published ones and their classes are known.
    top1 : float or None
        Published ImageNet-1k accuracy in per cent.
    notes : list of str
        What the user should read in the log.
    """

    module: nn.Module
    transform: Transform | None = None
    assumed: str | None = None
    labels: list[str] | None = None
    top1: float | None = None
    notes: list[str] = field(default_factory=list)

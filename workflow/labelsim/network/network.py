"""A network with its weights, its transform, and what its publisher says of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import PIL.Image
from torch import Tensor, nn

__all__ = ["Network", "Transform"]

Transform = Callable[[PIL.Image.Image], Tensor]


@dataclass(frozen=True)
class Network:
    """A classifier: torchvision's, timm's or the user's.

    Attributes
    ----------
    module : nn.Module
        With its weights. `build` returns it ready for inference: in eval mode, float32, on the CPU, without gradients.
    transform : callable
        PIL image (RGB) -> float tensor (channels, height, width).
    weights_digest : str
        Hex BLAKE2b (16 bytes) over the state dict: sorted names, dtypes, shapes and raw bytes. `build` fills it in.
    labels : list of str or None
        Class id of each output, if the weights' publisher tells.
    top1 : float or None
        Published ImageNet-1k accuracy in per cent, if the weights' publisher tells.
    notes : list of str
        For the user's log, such as a transform that was assumed.
    assumed : str or None
        Whose transform this is, if the weights have none of their own.
    """

    module: nn.Module
    transform: Transform
    weights_digest: str = ""
    labels: list[str] | None = None
    top1: float | None = None
    notes: list[str] = field(default_factory=list)
    assumed: str | None = None

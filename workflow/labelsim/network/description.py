"""A network with its probes, and what identifies the two."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from PIL import Image

from labelsim.errors import LabelsimError
from labelsim.network.builder import Network, build
from labelsim.network.probes import Probes

__all__ = ["describe", "probed"]


def probed(model: Mapping[str, Any], probe: Mapping[str, Any]) -> tuple[Network, Probes]:
    """The network with its probes attached.

    Parameters
    ----------
    model, probe : mapping
        The configuration's sections of these names.

    Returns
    -------
    Network, Probes
        On the CPU, in evaluation mode.
    """
    built = build(model["name"], model["weights"], model["transform"])
    example = _example(built.transform)
    probes = Probes(built.module, example, probe["layers"], probe["at"], probe["head"])
    return built, probes


def describe(built: Network, probes: Probes) -> dict[str, Any]:
    """What identifies a network and its probes, as JSON values.

    Equal descriptions give equal features; nothing in it depends on the machine or on the time.
    """
    return {
        "weights_digest": built.weights_digest,
        "transform": _text(built.transform),
        "input_shape": list(probes.input_shape),
        "layers": [[layer.name, layer.channels] for layer in probes.layers],
        "head": probes.head,
        "hidden_units": probes.hidden_units,
        "outputs": probes.outputs,
        "skipped": [list(entry) for entry in probes.skipped],
    }


def _example(transform: Callable[[Image.Image], torch.Tensor]) -> torch.Tensor:
    """A batch of one grey image, as the network will get it."""
    try:
        example = transform(Image.new("RGB", (320, 256), (127, 127, 127)))
    except Exception as error:
        raise LabelsimError(
            f"model.transform: it fails on a grey RGB image of 320 x 256: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(example, torch.Tensor) or example.ndim != 3:
        what = tuple(example.shape) if isinstance(example, torch.Tensor) else type(example).__name__
        raise LabelsimError(
            f"model.transform: expected a tensor (channel, height, width) for an image, but it gave {what}"
        )
    return example.float().unsqueeze(0)


def _text(transform: object) -> str:
    """A transform's own description; where it has none, where it is defined."""
    if inspect.isfunction(transform):
        return f"{transform.__module__}.{transform.__qualname__}"
    return re.sub(r" at 0x[0-9a-f]+", "", repr(transform))

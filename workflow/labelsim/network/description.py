"""A network with its probes, and what identifies the two."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from PIL import Image

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
    example = built.transform(Image.new("RGB", (320, 256), (127, 127, 127))).float().unsqueeze(0)
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


def _text(transform: object) -> str:
    """A transform's own description; where it has none, where it is defined."""
    if inspect.isfunction(transform):
        text = f"{transform.__module__}.{transform.__qualname__}"
    else:
        text = re.sub(r" at 0x[0-9a-f]+", "", repr(transform))
    # A module loaded from a file is named after the file's bytes; its code counts, in `sources`, not its comments.
    return re.sub(r"\b_labelsim_(\w+?)_[0-9a-f]{16}\b", r"\1", text)

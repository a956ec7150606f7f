"""A network that turns a batch of images into features, and describes itself."""

from __future__ import annotations

import difflib
import inspect
import json
import platform
import re
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from labelsim.errors import LabelsimError
from labelsim.network.builder import Network, build
from labelsim.network.probes import Features, Layer, Probes

__all__ = ["HALF", "Model", "load_described", "load_model", "versions"]

HALF = {"bfloat16": torch.bfloat16, "float16": torch.float16}
"""Precisions of 16 bits."""

# What decides the last bits of a feature.
_LIBRARIES = ("torch", "torchvision", "pillow", "simplejpeg", "numpy")


class Model:
    """A network with its probes.

    Attributes
    ----------
    transform : callable
        PIL image (RGB) -> float tensor of `input_shape`.
    input_shape : tuple of int
        (3, H, W).
    layers : list of Layer
        Those whose channels are read, in the order in which the forward pass runs them.
    at : {"convolution", "batch_norm", "activation"}
        What is read of a layer; never `auto`.
    channels, hidden_units, outputs : int
        D, M and K.
    memory_format : torch.memory_format
        Memory format in which batches are computed fastest.
    head : str
        Name of the classification layer.
    skipped : list of (str, str)
        Layers that were selected and cannot be read, each with the reason.
    missing : str or None
        Why there is no layer, where there is none.
    notes : list of str
        What the user should read in the log.
    labels : list of str or None
        Class id of each output, where the weights' publisher tells.
    """

    def __init__(self, network: Network, probes: Probes) -> None:
        self._network = network
        self._probes = probes
        self.transform: Callable[[Image.Image], Tensor] = network.transform
        self.input_shape = probes.input_shape
        self.layers: list[Layer] = probes.layers
        self.at = probes.at
        self.memory_format = torch.channels_last
        self.channels = sum(layer.channels for layer in probes.layers)
        self.head, self.hidden_units, self.outputs = probes.head, probes.hidden_units, probes.outputs
        self.skipped, self.missing = probes.skipped, probes.missing
        self.notes = [*network.notes, *probes.notes]
        self.labels = network.labels

    def features(self, batch: Tensor) -> Features:
        """Run the network on a batch.

        Parameters
        ----------
        batch : (N, 3, H, W) tensor
            On the network's device.

        Returns
        -------
        Features
            On the same device, float32.

        Raises
        ------
        LabelsimError
            If the forward pass does not run the layers that the dry run found.
        """
        return self._probes(batch)

    def to(self, device: torch.device, precision: str = "float32") -> None:
        """Move the network to a device, and prepare its weights for a precision.

        Weights of convolutions are put in channels-last order, except for float32 on a GPU, which would be slower. For
        a 16-bit precision, those of convolutions and linear layers are cast here, to what autocast would cast them to
        in every batch.
        """
        self._network.module.to(device)
        if device.type == "cuda" and precision == "float32":
            self.memory_format = torch.contiguous_format
        # module.to(memory_format=...) fails where any parameter has five dimensions.
        for parameter in self._network.module.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=self.memory_format)
        if precision in HALF:
            for module in self._network.module.modules():
                # Not in subclasses, which may compute weights from these.
                for name in ("weight", "bias") if type(module) in (nn.Conv2d, nn.Linear) else ():
                    if (cast := module._parameters.get(name)) is not None:
                        cast.data = cast.data.to(HALF[precision])

    def head_weights(self) -> NDArray[np.float32] | None:
        """Weights of the classification layer: those of a linear layer, or of a 1 x 1 convolution.

        Returns
        -------
        (outputs, hidden units) float32 array, or None
            None if the layer has no weights of this shape.
        """
        weight = getattr(self._network.module.get_submodule(self.head), "weight", None)
        if not isinstance(weight, Tensor) or weight.ndim not in (2, 4):
            return None
        if weight.shape != (self.outputs, self.hidden_units, *(1,) * (weight.ndim - 2)):
            return None
        return weight.detach().flatten(1).to("cpu", torch.float32, copy=True).numpy()

    def compile(self) -> None:
        """Have PyTorch compile the network together with its probes, which takes a while in the first batch."""
        self._probes.compile()

    def describe(self) -> dict[str, Any]:
        """What identifies the features, as JSON values: equal descriptions give equal features.

        Nothing in it depends on the machine or on the time.
        """
        return {
            "weights_digest": self._network.weights_digest,
            "transform": _text(self.transform),
            "input_shape": list(self.input_shape),
            "layers": [[layer.name, layer.channels] for layer in self.layers],
            "head": self.head,
            "hidden_units": self.hidden_units,
            "outputs": self.outputs,
        }

    def inform(self) -> dict[str, Any]:
        """What else there is to know, as JSON values: it changes no feature."""
        return {
            "labels": self.labels,
            "published_top1": self._network.top1,
            "skipped": [list(entry) for entry in self.skipped],
            "missing": self.missing,
            "head_weights": self.head_weights() is not None,
            "versions": versions(),
        }


def load_model(model: Mapping[str, Any], probe: Mapping[str, Any]) -> Model:
    """Build a network and attach its probes.

    Parameters
    ----------
    model, probe : mapping
        The configuration's sections of these names.

    Returns
    -------
    Model
        On the CPU, in evaluation mode.

    Raises
    ------
    LabelsimError
        If the network, its weights, its transform, a layer or the classification layer cannot be found or used.
    """
    network = build(model["name"], model["weights"], model["transform"])
    example = network.transform(Image.new("RGB", (320, 256), (127, 127, 127))).float().unsqueeze(0)
    return Model(network, Probes(network.module, example, probe["layers"], probe["at"], probe["head"]))


def load_described(
    model: Mapping[str, Any], probe: Mapping[str, Any], description: Mapping[str, Any], path: Path
) -> Model:
    """Load the network of a run, as `load_model` does.

    Parameters
    ----------
    model, probe : mapping
        The configuration's sections of these names.
    description : mapping
        Contents of the run's `network.json`.
    path : Path
        That file, for the error.

    Raises
    ------
    LabelsimError
        If the network is not the one that the rest of the run was made with; and as `load_model`.
    """
    loaded = load_model(model, probe)
    for key, value in json.loads(json.dumps(loaded.describe())).items():
        if value != description[key]:
            raise LabelsimError(
                f"The network is not the one described in {path}: {_difference(key, value, description[key])}\n"
                "A builder that draws random weights must be seeded. If you changed the network, run again with "
                "--forcerun network."
            )
    return loaded


def _difference(key: str, value: Any, expected: Any) -> str:
    """How a part of a description differs from what was expected; of texts of several lines, the lines that do."""
    if not (isinstance(value, str) and isinstance(expected, str) and "\n" in value + expected):
        return f"{key} is {value!r}, not {expected!r}"
    lines = difflib.ndiff(expected.splitlines(), value.splitlines())
    return "\n".join([f"{key} differs (- before, + now)", *(line for line in lines if line[0] in "-+")])


def versions(device: torch.device | None = None) -> dict[str, str]:
    """Versions of what computes features: Python, the libraries, and the device's name if one is given."""
    found = {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}
    if device is not None:
        found["device"] = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return found


def _text(transform: object) -> str:
    """A transform's own description; where it has none, where it is defined."""
    if inspect.isfunction(transform):
        text = f"{transform.__module__}.{transform.__qualname__}"
    else:
        text = re.sub(r" at 0x[0-9a-f]+", "", repr(transform))
    # A module loaded from a file is named after the file's bytes; its code counts, in `sources`, not its comments.
    return re.sub(r"\b_labelsim_(\w+?)_[0-9a-f]{16}\b", r"\1", text)

"""Contents of `network.json`: what identifies the features, their parts, and the class of each output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labelsim.dataset.classes import read_class_table
from labelsim.dataset.imagenet import imagenet_names
from labelsim.errors import LabelsimError

__all__ = ["feature_parts", "identifying", "output_labels"]


def identifying(network: Mapping[str, Any]) -> dict[str, Any]:
    """The part of `network.json` that identifies the features: all except `information`."""
    return {key: value for key, value in network.items() if key != "information"}


def feature_parts(network: Mapping[str, Any]) -> dict[str, tuple[str, slice]]:
    """The variable and the columns of each part of the features: "gap of LAYER", "hidden" and "logits"."""
    parts: dict[str, tuple[str, slice]] = {}
    start = 0
    for layer, channels in network["layers"]:
        parts[f"gap of {layer}"] = ("gap", slice(start, start + channels))
        start += channels
    widths = {"hidden": network["hidden_units"], "logits": network["outputs"]}
    return parts | {name: (name, slice(0, width)) for name, width in widths.items()}


def output_labels(classes: str, network: Mapping[str, Any], dataset: Sequence[str]) -> list[str] | None:
    """Class id of each output.

    Parameters
    ----------
    classes : str
        The configuration's `model.classes`.
    network : mapping
        Contents of `network.json`.
    dataset : sequence of str
        Ids of the dataset's classes, sorted; used for `model.classes: dataset` only.

    Returns
    -------
    list of str or None
        None if the classes are not known.

    Raises
    ------
    LabelsimError
        If the numbers of classes and outputs differ, or the table of classes cannot be used.
    """
    if classes == "auto":
        labels = network["information"]["labels"]
    elif classes == "dataset":
        labels = list(dataset)
    elif classes == "imagenet-1k":
        labels = list(imagenet_names())
    else:
        labels = list(read_class_table(Path(classes)))
    if labels is not None and len(labels) != network["outputs"]:
        raise LabelsimError(
            f"model.classes: {classes} has {len(labels):,} classes, but the network has {network['outputs']:,} "
            "outputs; expected one class for each output, in their order"
        )
    return labels

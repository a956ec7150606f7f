"""What `network.json` says: what identifies the features, and which class each output stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labelsim.dataset.classes import read_class_table
from labelsim.errors import LabelsimError

__all__ = ["identifying", "output_labels"]


def identifying(network: Mapping[str, Any]) -> dict[str, Any]:
    """What of `network.json` identifies the features: all but the `information`."""
    return {key: value for key, value in network.items() if key != "information"}


def output_labels(classes: str, network: Mapping[str, Any], dataset: Sequence[str]) -> list[str] | None:
    """Class id of each output.

    Parameters
    ----------
    classes : str
        The configuration's `model.classes`.
    network : mapping
        As the stage `network` describes it: `information.labels`, which the weights bring, and the number of `outputs`.
    dataset : sequence of str
        Ids of the dataset's classes, sorted; read under `model.classes: dataset` only.

    Returns
    -------
    list of str or None
        None where nothing is known of the outputs.

    Raises
    ------
    LabelsimError
        If there are not as many classes as outputs, or the table of classes cannot be used.
    """
    if classes == "auto":
        labels = network["information"]["labels"]
    elif classes == "dataset":
        labels = list(dataset)
    else:
        labels = list(read_class_table(Path(classes)))
    if labels is not None and len(labels) != network["outputs"]:
        raise LabelsimError(
            f"model.classes: {classes} gives {len(labels):,} classes, but the network has "
            f"{network['outputs']:,} outputs; expected one for each, in their order"
        )
    return labels

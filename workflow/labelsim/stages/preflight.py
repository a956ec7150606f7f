"""preflight: check everything that can be checked before the first image is read."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labelsim.analysis.reference import reference
from labelsim.dataset.classes import find_class, read_classes
from labelsim.errors import LabelsimError
from labelsim.methods import METHODS
from labelsim.network.layer_groups import check_methods, layer_groups
from labelsim.network.outputs import output_labels
from labelsim.storage.json_files import read_document, write_document

__all__ = ["preflight"]

logger = logging.getLogger(__name__)


def preflight(network: Path, shards: Path, config: Mapping[str, Any], output: Path) -> None:
    """Compare the configuration with the network and the classes.

    Parameters
    ----------
    network : Path
        As the stage `network` wrote it.
    shards : Path
        The folder of the shards, with the list of classes.
    config : mapping
        The whole configuration: `similarity`, `model.classes`, `report.classes` and `analysis.reference.file` are
        checked.
    output : Path
        The JSON file to write: layers of each group, the number of classes with an output, and the ids of the classes
        to draw.

    Raises
    ------
    LabelsimError
        If a method cannot be computed, a layer group is empty, a class in `report.classes` is not found,
        `model.classes` does not fit the network's outputs, or the file of the reference cannot be read as one.
    """
    description = read_document(network)
    layers = [name for name, _ in description["layers"]]
    check_methods(config["similarity"]["methods"], layers, description["information"]["missing"])
    groups = layer_groups(layers, config["similarity"]["layer_groups"])
    ids, names = read_classes(shards)
    drawn = [ids[_drawn(label, ids, names)] for label in config["report"]["classes"]]
    known = _with_output(ids, output_labels(config["model"]["classes"], description, ids))
    _check_outputs(config["similarity"]["methods"], known, description)
    if file := config["analysis"]["reference"]["file"]:
        reference(ids, Path(file))
    write_document(output, {"layer_groups": groups, "classes_with_output": known, "drawn": drawn})


def _check_outputs(methods: Sequence[str], known: int, network: Mapping[str, Any]) -> None:
    """Refuse methods that need the classes of the outputs, or weights, where there are none."""
    for method in methods:
        if METHODS[method].by_output and known < 2:
            raise LabelsimError(
                f"similarity.methods: {method} needs the classes of the network's outputs, but {known} classes of "
                "the dataset have one. Set model.classes to a file with the class of each output (or to `dataset`), or "
                f"remove {method}."
            )
        if METHODS[method].store == "head" and not network["information"]["head_weights"]:
            raise LabelsimError(
                f"similarity.methods: {method} needs a classification layer with a matrix of weights, which "
                f"{network['head']} does not have. Set probe.head to another layer, or remove {method}."
            )


def _drawn(label: str, ids: Sequence[str], names: Sequence[str]) -> int:
    try:
        return find_class(label, ids, names)
    except LabelsimError as error:
        raise LabelsimError(f"report.classes: {error}") from None


def _with_output(ids: Sequence[str], outputs: Sequence[str] | None) -> int:
    """Number of classes with an output; a warning if there is none, which may be intended."""
    known = len(set(ids).intersection(outputs or ()))
    if outputs and not known:
        logger.warning(
            "No output of the network is a class of the dataset (outputs: %r, ...; classes: %r, ...), so the accuracy "
            "cannot be computed. If some of them are the same class, set model.classes.",
            outputs[0],
            ids[0],
        )
    return known

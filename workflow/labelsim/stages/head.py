"""head: the weights of the classification layer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelsim.errors import LabelsimError
from labelsim.network.model import load_described
from labelsim.network.outputs import identifying
from labelsim.storage.digests import canonical
from labelsim.storage.json_files import read_document
from labelsim.storage.zarr_store import Array, Writer

__all__ = ["head"]

logger = logging.getLogger(__name__)


def head(network: Path, model: Mapping[str, Any], probe: Mapping[str, Any], output: Path) -> None:
    """Write the weights of the network's outputs.

    Parameters
    ----------
    network : Path
        As the stage `network` wrote it: the network must still be that one.
    model, probe : mapping
        The configuration's sections of these names.
    output : Path
        The Zarr store to write: `weight` (output, unit), float32.

    Raises
    ------
    LabelsimError
        If the network is not the one described, or its classification layer has no such weights.
    """
    description = read_document(network)
    weights = load_described(model, probe, description, network).head_weights()
    if weights is None:
        raise LabelsimError(f"similarity.methods: weights: the layer {description['head']} has no matrix of weights")
    identity = canonical({"network": identifying(description)})
    writer = Writer(output, {"weight": Array(("output", "unit"), weights.shape, "float32")}, identity)
    writer.put_whole("weight", weights)
    writer.commit({})
    logger.info("Weights of %s outputs, %s units each", *(f"{size:,}" for size in weights.shape))

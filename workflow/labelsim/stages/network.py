"""network: build the network once, find its layers, and record what identifies it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelsim.network.model import load_model
from labelsim.network.repeatability import check_repeatable
from labelsim.network.specs import short_name
from labelsim.storage.json_files import write_document

__all__ = ["network"]

logger = logging.getLogger(__name__)


def network(
    model: Mapping[str, Any],
    probe: Mapping[str, Any],
    identity: str,
    output: Path,
) -> None:
    """Write `network.json`.

    Parameters
    ----------
    model, probe : mapping
        The configuration's sections of these names.
    identity : str
        The stage's identity: JSON with the digests of the files that the configuration names.
    output : Path
        The JSON file to write: what identifies the features, and other `information`.
    """
    built = load_model(model, probe)
    names = [layer.name for layer in built.layers]
    for name, reason in built.skipped:
        logger.warning("%s is left out: %s", name, reason)
    check_repeatable(built)
    for note in built.notes:
        logger.info("%s", note)
    logger.info(
        "%s: %d layers, %s channels, %s hidden units, %s outputs",
        model["name"],
        len(names),
        f"{sum(layer.channels for layer in built.layers):,}",
        f"{built.hidden_units:,}",
        f"{built.outputs:,}",
    )
    # The digest of the weights is computed from the tensors, so their file does not count.
    sources = {key: digest for key, digest in json.loads(identity).get("files", {}).items() if key != "model.weights"}
    # Two networks in a file may have the same weights, and differ in operations without weights, such as pooling.
    made_by = {"model": short_name(model["name"]), "at": built.at, "sources": sources}
    write_document(output, {**made_by, **built.describe(), "information": built.inform()})

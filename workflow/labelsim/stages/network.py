"""network: build the network once, look what runs in it, and write down what identifies it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from labelsim.dataset.classes import imagenet_names
from labelsim.documents import write_document
from labelsim.network.builder import Network
from labelsim.network.description import describe, probed
from labelsim.network.groups import layer_groups
from labelsim.network.outputs import output_labels

__all__ = ["network"]

logger = logging.getLogger(__name__)


def network(
    model: Mapping[str, Any],
    probe: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    identity: str,
    output: Path,
) -> None:
    """Write `network.json`.

    Parameters
    ----------
    model, probe : mapping
        The configuration's sections of these names. `model.classes` is checked before any image is run, as far as
        it can be without the dataset, but is no part of the network.
    groups : mapping of str to sequence of str
        The configuration's `similarity.layer_groups`: checked before any image is run, but no part of the network.
    identity : str
        The stage's identity: JSON with the digests of the files that the configuration names.
    output : Path
        The JSON file.
    """
    built, probes = probed(model, probe)
    layer_groups([layer.name for layer in probes.layers], groups)
    for note in built.notes:
        logger.info("%s", note)
    for name, reason in probes.skipped:
        logger.warning("%s is left out: %s", name, reason)
    logger.info(
        "%s: %d layers, %s channels, %s hidden units, %s outputs",
        model["name"],
        len(probes.layers),
        f"{sum(layer.channels for layer in probes.layers):,}",
        f"{probes.hidden_units:,}",
        f"{probes.outputs:,}",
    )
    description = {**describe(built, probes), **_published(built)}
    if model["classes"] != "dataset":
        output_labels(model["classes"], description, dataset=[])
    # The weights' digest is taken over the tensors: the file they came from does not count.
    sources = {key: digest for key, digest in json.loads(identity).get("files", {}).items() if key != "model.weights"}
    write_document(output, {"model": model["name"], "at": probe["at"], "sources": sources, **description})


def _published(built: Network) -> dict[str, Any]:
    """What the weights' publisher says of them: class id of each output, and top-1 accuracy in per cent."""
    # All of torchvision's weights for classification end in the 1,000 classes of ImageNet-1k, wnids sorted.
    return {"labels": list(imagenet_names()) if built.outputs else None, "published_top1": built.top1}

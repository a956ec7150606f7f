"""What a user would write instead of labelsim: torchvision's feature extractor in a loop, and `np.save`.

It computes what the extract stage does, for torchvision's networks: the mean of ReLU of every convolution, the input of
the last layer, and its output. It keeps everything in memory, cannot be resumed, and stops at the first damaged image.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.models import get_model, get_model_weights, list_models
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

__all__ = ["known", "prepare", "run"]


def known(name: str) -> bool:
    """Whether torchvision has a network of this name."""
    return name in list_models()


def prepare(name: str, weights: str | None, device: torch.device) -> tuple[nn.Module, Callable[[Any], torch.Tensor]]:
    """Build the network, as one that returns all that is wanted, and the transform of its weights."""
    network = get_model(name, weights=weights).eval().to(device)
    convolutions = [layer for layer, module in network.named_modules() if isinstance(module, nn.Conv2d)]
    *_, hidden, logits = get_graph_node_names(network)[1]
    wanted = {**{layer: layer for layer in convolutions}, hidden: "hidden", logits: "logits"}
    entries = get_model_weights(name)
    return create_feature_extractor(network, wanted), entries[weights or "DEFAULT"].transforms()


def run(
    network: nn.Module,
    transform: Callable[[Any], torch.Tensor],
    images: Path,
    batch_size: int,
    workers: int,
    device: torch.device,
    folder: Path,
) -> None:
    """Extract the features of class folders of images, and save them as `gap.npy`, `hidden.npy` and `logits.npy`."""
    found: dict[str, list[torch.Tensor]] = {"gap": [], "hidden": [], "logits": []}
    loader = DataLoader(ImageFolder(images, transform), batch_size, num_workers=workers)
    with torch.inference_mode():
        for pixels, _ in loader:
            outputs = network(pixels.to(device))
            for name in ("hidden", "logits"):
                found[name].append(outputs.pop(name).cpu())
            means = [maps.relu().mean((2, 3)) for maps in outputs.values()]
            found["gap"].append(torch.cat(means, dim=1).cpu())
    for name, parts in found.items():
        np.save(folder / f"{name}.npy", torch.cat(parts).numpy())

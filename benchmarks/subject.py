"""What a benchmark runs on: a network of random weights and generated photographs, or your own."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import photos
import torch
from torchvision.transforms import v2

from labelsim.config import load

__all__ = ["config", "options", "short", "small"]

SIDE = 112  # pixels; a quarter of ImageNet's usual work


def small() -> v2.Compose:
    """A transform to images of a quarter of the usual size, so that random weights cost little time."""
    steps = [v2.Resize(SIDE + 16), v2.CenterCrop(SIDE), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
    return v2.Compose([*steps, v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])


def options(description: str | None, network: str, images_per_class: int) -> argparse.ArgumentParser:
    """A parser with what the benchmarks have in common; their defaults need no download."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="class folders of photographs; generated ones without it")
    parser.add_argument("--images-per-class", type=int, default=images_per_class)
    parser.add_argument("--network", default=network, help="as model.name in the configuration")
    parser.add_argument("--weights", help="as model.weights; as the network's builder draws them without it")
    parser.add_argument("--transform", default="subject:small", help=f"as model.transform; to {SIDE} pixels without it")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser


def config(given: argparse.Namespace, folder: Path, classes: int) -> dict[str, Any]:
    """Configuration of a run in one shard; photographs are generated below the folder if none are given.

    Parameters
    ----------
    given : argparse.Namespace
        What `options` parsed.
    folder : Path
        Where to write photographs.
    classes : int
        How many classes to generate.
    """
    images = given.images or photos.class_folders(folder, classes * given.images_per_class, classes, distinct=True)
    model: Mapping[str, Any] = {"name": given.network, "weights": given.weights, "transform": given.transform}
    return load(
        {
            "run": "benchmark",
            "dataset": {"source": str(images), "images_per_class": given.images_per_class},
            "model": model,
            "extract": {"images_per_shard": 1_000_000, "device": given.device},
        }
    )


def short(network: str) -> str:
    """A network's name as it stands in tables and file names: without the folder of a file."""
    return re.sub(r"[^\w.-]+", "-", network.rpartition("/")[2])

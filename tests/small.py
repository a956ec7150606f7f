"""A dataset and a network as small as they can be: two shards, one method, one figure. For workflows run many times."""

from collections.abc import Iterable
from pathlib import Path

import analyses
import numpy as np
import torch
import yaml
from PIL import Image

from labelsim.network.builder import build

CLASSES = ["ant", "bee", "cat", "dog", "eel"]
IMAGES = 8  # of a class; the last has one more

# Jobs that follow those of the shards, in the order in which one needs another. A figure needs no heat map.
AFTER_SHARDS = ["merge", "welch", "similarity", "heatmap welch", "neighbors", "class_figure bee"]

# Without torchvision, whose import takes as long as all else that an extraction does here.
NETWORK = """
from collections import OrderedDict

import numpy as np
import torch
from torch import nn


def network(pool=nn.AdaptiveAvgPool2d):
    layers = OrderedDict()
    for i, (before, channels) in enumerate([(3, 4), (4, 6)], start=1):
        layers[f"conv{i}"] = nn.Conv2d(before, channels, 3, stride=2)
        layers[f"norm{i}"] = nn.BatchNorm2d(channels)
        layers[f"relu{i}"] = nn.ReLU()
    return nn.Sequential(layers | {"pool": pool(1), "flatten": nn.Flatten(), "head": nn.Linear(6, 5)})


def other_network():
    return network(nn.AdaptiveMaxPool2d)


def pixels(image):
    return torch.from_numpy(np.array(image.resize((24, 24)))).permute(2, 0, 1) / 255


def inverted(image):
    return 1 - pixels(image)


def transform():
    return pixels


def other_transform():
    return inverted
"""


def write(folder: Path) -> Path:
    """Write images, names, network, weights and config.yaml of a run into a new folder."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for class_id in CLASSES:
        for number in range(IMAGES + (class_id == CLASSES[-1])):
            write_image(folder / "images" / class_id / f"{number}.bmp", random)
    (folder / "network.py").write_text(NETWORK, encoding="utf-8")
    (folder / "names.csv").write_text("class_id,name\nbee,honey bee\n", encoding="utf-8")
    torch.save(state(folder), folder / "weights.pth")
    write_config(folder, config())
    return folder


def write_image(path: Path, random: np.random.Generator) -> None:
    """Write a noisy image; all have the same number of bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random.integers(0, 256, (24, 24, 3), np.uint8)).save(path, "BMP")


def state(folder: Path) -> dict[str, torch.Tensor]:
    """Tensors of the network, the same ones every time."""
    return build("network.py:network", None, "network.py:transform", folder).module.state_dict()


def config() -> dict:
    """Configuration of a run in the folder that holds what `write` writes."""
    return {
        "run": "small",
        "dataset": {"source": "images", "class_names": "names.csv", "content_digest": True},
        "model": {"name": "network.py:network", "weights": "weights.pth", "transform": "network.py:transform"},
        "extract": {"images_per_shard": 24, "workers": 0},
        "similarity": {"methods": ["welch"]},
        "analysis": analyses.OFF,
        "neighbors": {"k": 3},
        "report": {"classes": ["bee"], "explorer": {"enabled": False}},
    }


def write_config(folder: Path, values: dict) -> None:
    """Write config.yaml."""
    (folder / "config.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")


def since(job: str) -> list[str]:
    """A job and those that come after it."""
    return AFTER_SHARDS[AFTER_SHARDS.index(job) :]


def each(shards: Iterable[str], *rules: str) -> list[str]:
    """The jobs of some rules for each of some shards."""
    return [f"{rule} {shard}" for shard in shards for rule in rules]

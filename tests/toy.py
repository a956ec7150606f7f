"""A dataset and a network that are small enough for the whole pipeline to run in seconds."""

from pathlib import Path

import analyses
import numpy as np
import yaml
from PIL import Image

# Ids with spaces, of another script, and wnids, which have names of their own: tench and goldfish.
CLASSES = ["Große Katze", "airplane", "boat", "n01440764", "n01443537", "owl", "plum", "red fox", "rose", "snail", "犬"]
ALONE = "alone"  # a class of one image
EMPTY = "empty"  # a class of none
REJECTS = {
    "boat/empty.png": "empty file",
    "plum/text.jpg": "not an image that Pillow reads",
    "rose/truncated.png": "truncated or damaged",
}

LAYERS = {"conv1": 6, "conv2": 8, "conv3": 10}
DEAD = 9  # position of the channel that never fires
# Without torchvision, whose import takes as long as all else that an extraction does here.
NETWORK = """
import time
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import nn


def network():
    layers = OrderedDict()
    for i, (before, channels) in enumerate([(3, 6), (6, 8), (8, 10)], start=1):
        layers[f"conv{i}"] = nn.Conv2d(before, channels, 3, stride=i)
        layers[f"norm{i}"] = nn.BatchNorm2d(channels)
        layers[f"relu{i}"] = nn.ReLU(inplace=True)
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "head": nn.Linear(10, 13)}
    network = nn.Sequential(layers)
    generator = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if not name.startswith("norm"):
                parameter.normal_(std=0.2, generator=generator)
        for i in (1, 2, 3):
            network.get_submodule(f"norm{i}").running_mean.normal_(std=0.2, generator=generator)
        network.conv2.bias[3] = -1000.0  # a channel that never fires
    return network


seen = 0


def pixels(image):
    # A test stops the extraction inside a shard by a file of this name.
    global seen
    seen += 1
    while seen > 20 and Path("hold").exists():
        time.sleep(0.01)
    return torch.from_numpy(np.array(image.resize((24, 24)))).permute(2, 0, 1) / 63.75 - 2


def transform():
    return pixels
"""


def write_network(path: Path, seed: int = 1) -> None:
    """Write a file with the callables `network` and `transform`."""
    path.write_text(NETWORK.replace("SEED", str(seed)), encoding="utf-8")


def write_images(folder: Path, rejects: bool = True) -> None:
    """Write class folders of images that are coloured by class, and files that are no images."""
    random = np.random.default_rng(0)
    for class_id in [*CLASSES, ALONE]:
        count = 1 if class_id == ALONE else int(random.integers(10, 22))
        color = random.integers(30, 226, 3)
        for number in range(count):
            # Formats and sizes alternate; one ending lies.
            name = f"bild {number:02}.{('png', 'JPEG', 'PNG')[number % 3]}"
            write_image(folder / class_id / name, color, random, "JPEG" if number % 3 == 1 else "PNG")
    (folder / EMPTY).mkdir()
    if rejects:
        write_rejects(folder)


def write_image(path: Path, color: np.ndarray, random: np.random.Generator, format: str = "PNG") -> None:
    """Write one noisy image of about a color."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = random.normal(color, 25, (*random.integers(24, 41, 2), 3)).clip(0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(path, format)


def write_rejects(folder: Path) -> None:
    """Write the files of `REJECTS`."""
    whole = next(folder.glob("rose/*.png")).read_bytes()
    for name, data in zip(REJECTS, (b"", b"no image", whole[: len(whole) // 2]), strict=True):
        (folder / name).write_bytes(data)


def config() -> dict:
    """Configuration of a run in the folder that holds `images` and `network.py`."""
    return {
        "run": "toy",
        "dataset": {"source": "images"},
        "model": {
            "name": "network.py:network",
            "weights": None,
            "classes": "dataset",
            "transform": "network.py:transform",
        },
        # The GPUs that tests/slurm.py grants are none.
        "extract": {
            "images_per_shard": 60,
            "batch_size": 8,
            "device": "cpu",
            "workers": 0,
            "max_reject_fraction": 0.05,
        },
        "store": {"rows_per_chunk": 8},
        "similarity": {"layer_groups": {"early": ["conv1"], "late": ["conv[23]"]}},
        "analysis": analyses.OFF,
        "neighbors": {"k": 5},
        "report": {"classes": ["tench"], "explorer": {"enabled": False}},
    }


def write(folder: Path) -> Path:
    """Write images, network and config.yaml of a run into a new folder."""
    folder.mkdir()
    write_images(folder / "images")
    write_network(folder / "network.py")
    write_config(folder, config())
    return folder


def write_config(folder: Path, values: dict, name: str = "config.yaml") -> None:
    """Write a config file."""
    (folder / name).write_text(yaml.safe_dump(values), encoding="utf-8")

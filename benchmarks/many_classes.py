"""Datasets of as many classes as asked for, in every form, and networks for them that cost next to nothing."""

from __future__ import annotations

import io
import json
import runpy
import tarfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import simplejpeg
import torch
from PIL import Image
from pyarrow import parquet
from sklearn.datasets import load_sample_images
from torch import Tensor, nn

__all__ = ["FORMS", "GROUPS", "NARROW", "WIDE", "Photo", "class_labels", "parquet_tables", "photos", "plant_network"]

# ResNet34's names and channels (36 convolutions, 8,512 channels, 512 hidden units) on maps of 2 x 2 and 1 x 1.
WIDE = """
import numpy as np
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, resnet34


def network():
    network = resnet34(num_classes=OUTPUTS)
    network.conv1 = nn.Conv2d(3, 64, SIDE // 4, stride=SIDE // 4, bias=False)
    for block in network.modules():
        if isinstance(block, BasicBlock):
            for name in ("conv1", "conv2"):
                old = getattr(block, name)
                setattr(block, name, nn.Conv2d(old.in_channels, old.out_channels, 1, old.stride, bias=False))
    return network


def transform():
    return lambda image: torch.from_numpy(np.array(image.resize((SIDE, SIDE)))).permute(2, 0, 1) / 255
"""
# Three convolutions, 64 channels; without torchvision, whose import takes longer than all else here.
NARROW = """
from collections import OrderedDict

import numpy as np
import torch
from torch import nn


def network():
    layers = OrderedDict()
    for i, (before, channels) in enumerate([(3, 16), (16, 16), (16, 32)], start=1):
        layers[f"conv{i}"] = nn.Conv2d(before, channels, 3, stride=2, padding=1)
        layers[f"norm{i}"] = nn.BatchNorm2d(channels)
        layers[f"relu{i}"] = nn.ReLU()
    layers |= {"pool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(32, OUTPUTS)}
    return nn.Sequential(layers)


def transform():
    return lambda image: torch.from_numpy(np.array(image.resize((SIDE, SIDE)))).permute(2, 0, 1) / 255
"""
GROUPS = {
    WIDE: {"stem": ["conv1"], **{f"layer{i}": [f"layer{i}.*"] for i in (1, 2, 3, 4)}},
    NARROW: {"late": ["conv[23]"]},
}


class Photo(NamedTuple):
    """A JPEG file and the number of its class."""

    label: int
    name: str
    data: bytes


def photos(per_class: Sequence[int], side: int, seed: int = 0) -> list[Photo]:
    """Make photos in random order.

    Parameters
    ----------
    per_class : sequence of int
        How many each class has.
    side : int
        Their width and height in pixels.
    seed : int
        Of what is random.

    Returns
    -------
    list of Photo
        Windows of scikit-learn's two sample photos. A class has a place and a tint of its own.
    """
    rng = np.random.default_rng(seed)
    scenes = load_sample_images().images
    places = rng.uniform(0, 1, (len(per_class), 3))
    tints = rng.uniform(0.3, 1.0, (len(per_class), 3))
    found = []
    for number, label in enumerate(rng.permutation(np.repeat(np.arange(len(per_class)), per_class)).tolist()):
        scene = scenes[int(places[label, 0] * len(scenes))]
        # of every second pixel, so that a window shows more than a detail
        room = np.array(scene.shape[:2]) - 2 * side
        top, left = (room * np.clip(places[label, 1:] + rng.normal(0, 0.03, 2), 0, 1)).astype(int)
        window = scene[top : top + 2 * side : 2, left : left + 2 * side : 2]
        pixels = (window * (tints[label] * rng.uniform(0.8, 1.0))).astype(np.uint8)
        found.append(Photo(label, f"photo_{number:06d}.jpg", simplejpeg.encode_jpeg(pixels, 90)))
    return found


def plant_network(folder: Path, source: str, outputs: int, side: int, examples: Sequence[Photo]) -> dict[str, Any]:
    """Write a network that tells the classes of some photos apart, better than by guessing.

    Parameters
    ----------
    folder : Path
        Where to write `network.py` and `weights.pth`.
    source : str
        WIDE or NARROW.
    outputs, side : int
        Its outputs, and the size of the photos.
    examples : sequence of Photo
        What its batch norms and its head are set by. The head is a nearest-mean classifier; if there are more
        classes than outputs it stays random.

    Returns
    -------
    dict
        The configuration's `model`.
    """
    path = folder / "network.py"
    path.write_text(f"OUTPUTS, SIDE = {outputs}, {side}\n{source}", encoding="utf-8")
    code = runpy.run_path(str(path))
    torch.manual_seed(0)
    network, transform = code["network"](), code["transform"]()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean over all batches
    hidden: list[Tensor] = []
    network.fc.register_forward_pre_hook(lambda _, args: hidden.append(args[0]))
    labels = torch.tensor([photo.label for photo in examples])
    with torch.no_grad():
        for training in (True, False):
            network.train(training)
            hidden.clear()
            for start in range(0, len(examples), 500):
                part = examples[start : start + 500]
                network(torch.stack([transform(Image.open(io.BytesIO(photo.data))) for photo in part]))
        if int(labels.max()) < outputs:
            every = torch.cat(hidden)
            counts = torch.bincount(labels, minlength=outputs).clamp(min=1)
            means = torch.zeros(outputs, every.shape[1]).index_add_(0, labels, every - every.mean(0)) / counts[:, None]
            network.fc.weight.copy_(means)
            network.fc.bias.copy_(-means.square().sum(1) / 2 - means @ every.mean(0))
    torch.save(network.state_dict(), folder / "weights.pth")
    return {"name": "network.py:network", "weights": "weights.pth", "transform": "network.py:transform"}


def class_folders(folder: Path, images: Sequence[Photo], names: Sequence[str]) -> dict[str, Any]:
    """Write `folder/<class>/<photo>`."""
    for name in names:
        (folder / name).mkdir(parents=True)
    for image in images:
        (folder / names[image.label] / image.name).write_bytes(image.data)
    return {"source": str(folder)}


def tars_of_classes(folder: Path, images: Sequence[Photo], names: Sequence[str]) -> dict[str, Any]:
    """Write one archive of an archive for each class, as ImageNet's training images come."""
    folder.mkdir(parents=True)
    of_class: list[list[tuple[str, bytes]]] = [[] for _ in names]
    for image in images:
        of_class[image.label].append((image.name, image.data))
    path = folder / "ILSVRC2012_img_train.tar"
    write_tar(path, ((f"{name}.tar", tar_bytes(files)) for name, files in zip(names, of_class, strict=True)))
    return {"source": str(path), "format": "ilsvrc-tar"}


def webdataset(folder: Path, images: Sequence[Photo], names: Sequence[str], per_tar: int = 1000) -> dict[str, Any]:
    """Write shards of so many photos, each with its number in a `.cls`."""
    folder.mkdir(parents=True)
    for shard, start in enumerate(range(0, len(images), per_tar)):
        files = []
        for image in images[start : start + per_tar]:
            key = Path(image.name).stem
            files += [(f"{key}.jpg", image.data), (f"{key}.cls", str(image.label).encode())]
        write_tar(folder / f"train-{shard:04d}.tar", files)
    return {"source": str(folder), "labels": "as-is"}


def parquet_tables(
    folder: Path, images: Sequence[Photo], names: Sequence[str] | None, in_order: bool = False
) -> dict[str, Any]:
    """Write two tables in row groups of 100, as the Hugging Face hub has them; without names labels are numbers."""
    images = sorted(images) if in_order else images
    type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", type), ("label", pa.int64())])
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
        schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    folder.mkdir(parents=True)
    for number in range(2):
        rows = images[number * len(images) // 2 : (number + 1) * len(images) // 2]
        columns = {
            "image": pa.array([{"bytes": image.data, "path": image.name} for image in rows], type),
            "label": pa.array([image.label for image in rows], pa.int64()),
        }
        path = folder / f"train-{number:05d}-of-00002.parquet"
        parquet.write_table(pa.table(columns, schema=schema), path, row_group_size=100)
    return {"source": str(folder), "labels": "auto" if names is not None else "as-is"}


class Form(NamedTuple):
    """A form of a dataset whose classes are numbers.

    Attributes
    ----------
    write : callable
        Takes a folder to make, the photos and the classes' numbers as text; gives the configuration's `dataset`.
    by_string : bool
        Whether the classes come in the order of their ids' text, 0, 1, 10, 11, 2, or in that of the numbers.
    """

    write: Callable[[Path, Sequence[Photo], Sequence[str]], dict[str, Any]]
    by_string: bool


def _numbered_tables(folder: Path, images: Sequence[Photo], names: Sequence[str], in_order: bool) -> dict[str, Any]:
    return parquet_tables(folder, images, None, in_order)


FORMS = {
    "class folders": Form(class_folders, by_string=True),
    "tars of classes": Form(tars_of_classes, by_string=True),
    "webdataset": Form(webdataset, by_string=False),
    "parquet, sorted": Form(partial(_numbered_tables, in_order=True), by_string=False),
    "parquet, shuffled": Form(partial(_numbered_tables, in_order=False), by_string=False),
}


def class_labels(classes: int, seed: int = 0) -> list[str]:
    """Names of classes, none of them where the alphabet would have it."""
    return [f"label {number}" for number in np.random.default_rng(seed).permutation(classes)]


def tar_bytes(files: Iterable[tuple[str, bytes]]) -> bytes:
    """An archive of some files."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:") as archive:
        _fill(archive, files)
    return data.getvalue()


def write_tar(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write an archive of some files."""
    with tarfile.open(path, "w:") as archive:
        _fill(archive, files)


def _fill(archive: tarfile.TarFile, files: Iterable[tuple[str, bytes]]) -> None:
    for name, content in files:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))

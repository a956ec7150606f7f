"""ImageNet's configurations, with ImageNet in every form that they mention."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import forms
import pytest
import torchvision
import yaml
from torch import nn
from workflows import REPOSITORY, snakemake

from labelsim.config import load
from labelsim.dataset.classes import class_names, find_class
from labelsim.dataset.imagenet import imagenet_names
from labelsim.dataset.sources import open_source
from labelsim.network.layer_groups import layer_groups

ROOT = "/data/imagenet"
VAL, TRAIN = "imagenet1k-val", "imagenet1k-train"


def shards(split: str, last: str) -> tuple[str, Callable]:
    name = f"wds/imagenet1k-{split}-{{0000..{last}}}.tar"
    return name, partial(forms.webdataset, name=name)


def without(folder: str, form: Callable) -> Callable:
    """The form, written into a folder of the root."""
    return lambda root, images: form(root / folder, images)


def unlabelled(root: Path, images: list) -> dict:
    """ImageNet's files as they come, which are known by their names."""
    for image in images:
        forms.write(root / "val" / image.name, image.data)
    return {}


LAYOUTS = [
    (VAL, "val", without("val", forms.class_folders)),
    (VAL, "val", unlabelled),
    (VAL, "ILSVRC2012_img_val.tar", forms.val_archive),
    (VAL, "ILSVRC/Data/CLS-LOC/val", forms.kaggle_val),
    (VAL, *shards("val", "0063")),
    (VAL, "data/validation-*.parquet", forms.parquet_tables),
    (TRAIN, "train", without("train", forms.class_folders)),
    (TRAIN, "ILSVRC2012_img_train.tar", forms.train_archive),
    (TRAIN, "ILSVRC/Data/CLS-LOC/train", forms.kaggle_train),
    (TRAIN, *shards("train", "1023")),
    (TRAIN, "data/train-*.parquet", partial(forms.parquet_tables, split="train")),
]


def text(name: str) -> str:
    return (REPOSITORY / "config" / f"{name}.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [VAL, TRAIN])
def test_every_form_that_is_mentioned_is_tried(name):
    mentioned = re.findall(rf"^  #   {ROOT}/(\S+)", text(name), re.MULTILINE)
    assert set(mentioned) == {path for config, path, _ in LAYOUTS if config == name}
    assert yaml.safe_load(text(name))["dataset"]["source"] == f"{ROOT}/{mentioned[0]}"


@pytest.mark.parametrize(("name", "path", "write"), LAYOUTS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_dry_run(tmp_path, name, path, write):
    given = write(tmp_path / "imagenet", forms.pictures())
    config = yaml.safe_load(text(name))
    config["dataset"]["source"] = str(tmp_path / "imagenet" / path)
    # As the comment says; and these tables have a part of ImageNet's names, which are not taken for wnids unasked.
    if "labels" in given and ("wds" in path or "parquet" in path):
        config["dataset"]["labels"] = given["labels"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    outcome = snakemake(tmp_path, "--dry-run")
    assert outcome.code == 0, outcome.output
    assert "network" in outcome.jobs  # what comes after the first checkpoint is known once it has run
    dataset = load(config)["dataset"]
    listing = open_source(dataset["source"], dataset["format"], dataset["labels"]).list()
    assert listing.classes == forms.WNIDS
    assert listing.samples["class_id"].to_pylist() == [wnid for wnid in forms.WNIDS for _ in range(forms.IMAGES)]


@pytest.mark.parametrize("name", [VAL, TRAIN])
def test_the_classes_to_draw_and_the_layers_are_there(name):
    config = load(yaml.safe_load(text(name)))
    ids = list(imagenet_names())
    for label in config["report"]["classes"]:
        find_class(label, ids, class_names(ids))
    modules = torchvision.models.get_model(config["model"]["name"]).named_modules()
    layers = [name for name, module in modules if isinstance(module, nn.Conv2d)]
    groups = layer_groups(layers, config["similarity"]["layer_groups"])
    assert [len(members) for members in groups.values()] == [36, 6, 9, 13, 7]

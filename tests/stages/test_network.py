"""What the stage `network` says of networks, and which it refuses before any image is read."""

import json

import pytest
import timm
import torch

from labelsim.config import load
from labelsim.stages.network import network

FACTORY = """
import torch
from torch import nn
from torchvision.transforms import v2


def build():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )


def transform():
    return v2.Compose([v2.Resize((8, 8)), v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)])
"""


@pytest.fixture
def described(tmp_path, monkeypatch):
    """Run the stage on a configuration; the description that it wrote."""
    monkeypatch.chdir(tmp_path)

    def describe(model, **sections):
        config = load({"run": "x", "dataset": {"source": "images"}, "model": model, **sections})
        network(config["model"], config["probe"], "{}", tmp_path / "network.json")
        return json.loads((tmp_path / "network.json").read_text(encoding="utf-8"))

    return describe


def test_a_network_without_relu_is_probed_as_equation_2_has_it(described, caplog):
    with caplog.at_level("INFO", logger="labelsim"):
        found = described({"name": "timm:test_efficientnet", "weights": None})
    assert len(found["layers"]) == 17
    (note,) = [record.message for record in caplog.records if "ReLU" in record.message]
    assert "SiLU, Sigmoid" in note
    assert {record.levelname for record in caplog.records} == {"INFO"}


def test_a_vision_transformer_has_a_hidden_state(described, caplog):
    found = described({"name": "timm:test_vit", "weights": None})
    assert (found["layers"], found["head"], found["hidden_units"], found["outputs"]) == ([], "head", 64, 1000)
    assert "patch_embed.proj is left out" in caplog.text


@pytest.mark.parametrize(
    ("name", "at"), [("test_vit", "activation"), ("test_convnext", "convolution"), ("resnet10t", "convolution")]
)
def test_auto_is_recorded_as_what_it_is(described, caplog, name, at):
    with caplog.at_level("INFO", logger="labelsim"):
        found = described({"name": f"timm:{name}", "weights": None}, probe={"at": "auto"})
    assert found["at"] == at
    assert any(record.message.startswith(f"probe.at: auto is {at}") for record in caplog.records)
    # What the same network gives without auto: extract need not run again.
    assert found == described({"name": f"timm:{name}", "weights": None}, probe={"at": at})
    assert found["information"]["head_weights"] is True


def test_patches_that_are_named_can_be_compared(described):
    found = described({"name": "timm:test_vit", "weights": None}, probe={"layers": ["patch_embed.*"]})
    assert found["layers"] == [["patch_embed.proj", 64]]


def test_labels_of_published_weights_are_wnids(described, tmp_path):
    torch.manual_seed(0)
    timm.models.save_for_hf(timm.create_model("test_convnext"), tmp_path / "saved")
    found = described({"name": "timm:local-dir:saved"})["information"]
    assert found["labels"][:2] == ["n01440764", "n01443537"]
    assert (len(found["labels"]), found["published_top1"]) == (1000, None)


def test_a_factory_in_a_file_has_no_labels_of_its_own(described, tmp_path):
    (tmp_path / "lite.py").write_text(FACTORY, encoding="utf-8")
    model = {"name": "lite.py:build", "weights": None, "transform": "lite.py:transform"}
    found = described(model)
    assert (found["layers"], found["outputs"], found["information"]["labels"]) == ([["0", 4]], 3, None)

from importlib.metadata import version

import pytest
import torch

from labelsim.network.model import load_model, versions

FILE = """
import torch
from torch import nn
from torchvision import transforms

def network():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

def volume():
    module = network()
    module.volume = nn.Parameter(torch.zeros(1, 2, 3, 4, 5))
    return module

def transform():
    return transforms.Compose([transforms.Resize((16, 16)), transforms.ToTensor()])
"""
PROBE = {"layers": ["*"], "at": "convolution", "head": "auto"}


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(FILE)
    return lambda name: load_model({"name": f"net.py:{name}", "weights": None, "transform": "net.py:transform"}, PROBE)


def test_equal_networks_have_equal_descriptions(model, tmp_path):
    first = model("network")
    (tmp_path / "net.py").write_text(f"# A comment.\n{FILE}")
    assert model("network").describe() == first.describe()
    assert model("volume").describe() != first.describe()
    # What only informs is apart.
    assert first.describe().keys().isdisjoint(first.inform())


def test_a_network_with_a_parameter_of_five_dimensions_can_be_placed(model):
    batch = torch.rand(2, 3, 16, 16)
    placed = model("volume")
    before = placed.features(batch)
    placed.to(torch.device("cpu"))
    torch.testing.assert_close(placed.features(batch.contiguous(memory_format=torch.channels_last)), before)


def test_versions_are_those_installed():
    found = versions(torch.device("cpu"))
    assert (found["torch"], found["pillow"], found["device"]) == (version("torch"), version("pillow"), "cpu")

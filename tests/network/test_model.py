import json
from importlib.metadata import version

import numpy as np
import pytest
import torch

from labelsim.errors import LabelsimError
from labelsim.network.model import load_described, load_model, versions

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

class Head(nn.Module):  # with a matrix that is no weight, and whatever as weight
    def __init__(self, **weights):
        super().__init__()
        self.matrix = nn.Parameter(torch.rand(2, 4))
        for name, weight in weights.items():
            setattr(self, name, weight)

    def forward(self, x):
        return nn.functional.linear(x, self.matrix)

def with_head(head):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)

def normed():
    return with_head(nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)))

def pointwise():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def grouped():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 1, groups=2), nn.AdaptiveAvgPool2d(1), nn.Flatten())

def without_weight():
    return with_head(Head())

def transposed():
    return with_head(Head(weight=nn.Parameter(torch.rand(4, 2))))

def number():
    return with_head(Head(weight=16.0))

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


def test_an_error_shows_in_which_lines_a_transform_differs(model, tmp_path):
    first = model("network")
    described = json.loads(json.dumps(first.describe()))
    other = "transforms.ToTensor(), transforms.Resize((16, 16))"
    (tmp_path / "net.py").write_text(FILE.replace("transforms.Resize((16, 16)), transforms.ToTensor()", other))
    settings = {"name": "net.py:network", "weights": None, "transform": "net.py:transform"}
    with pytest.raises(LabelsimError, match=r"transform differs") as caught:
        load_described(settings, PROBE, described, tmp_path / "network.json")
    changed = [line.split("(")[0] for line in str(caught.value).splitlines() if line[:2] in ("- ", "+ ")]
    assert sorted(line[0] for line in changed) == ["+", "-"]
    assert len({line[1:].strip() for line in changed}) == 1  # it moved


def test_a_network_with_a_parameter_of_five_dimensions_can_be_placed(model):
    batch = torch.rand(2, 3, 16, 16)
    placed = model("volume")
    before = placed.features(batch)
    placed.to(torch.device("cpu"))
    torch.testing.assert_close(placed.features(batch.contiguous(memory_format=torch.channels_last)), before)


@pytest.mark.parametrize(("name", "head"), [("network", "3"), ("normed", "3"), ("pointwise", "1"), ("volume", "3")])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_weights_of_the_head_are_those_that_give_the_logits(model, name, head, precision):
    built = model(name)
    assert built.head == head
    assert built.inform()["head_weights"] is True
    features = built.features(torch.rand(3, 3, 16, 16))
    changes = (features.logits - features.logits[0]).numpy()  # whatever the bias
    built.to(torch.device("cpu"), precision)
    weights = built.head_weights()
    assert (weights.shape, weights.dtype) == ((2, 4), np.float32)
    # Of numbers around 1; bfloat16 has 8 bits.
    tolerance = 1e-6 if precision == "float32" else 1e-2
    np.testing.assert_allclose((features.hidden - features.hidden[0]).numpy() @ weights.T, changes, atol=tolerance)
    weights[:] = 0
    assert built.head_weights().any()  # a copy


@pytest.mark.parametrize("name", ["without_weight", "transposed", "number", "grouped"])
def test_a_head_without_a_matrix_of_weights(model, name):
    built = model(name)
    assert built.head_weights() is None
    assert built.inform()["head_weights"] is False


def test_versions_are_those_installed():
    found = versions(torch.device("cpu"))
    assert (found["torch"], found["pillow"], found["device"]) == (version("torch"), version("pillow"), "cpu")

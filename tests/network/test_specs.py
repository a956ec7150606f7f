import os

import pytest
import torchvision
from torchvision import models

from labelsim.network.specs import is_callable_spec, spec_file, weights_file


@pytest.mark.parametrize(
    ("spec", "callable_", "file"),
    [
        ("resnet34", False, None),
        ("timm:resnet10t", False, None),
        ("package.module:small", True, None),
        ("networks.py:small", True, "networks.py"),
        ("/a b/networks.py:small", True, "/a b/networks.py"),
        ("auto", False, None),
    ],
)
def test_specs_of_callables(spec, callable_, file):
    assert is_callable_spec(spec) is callable_
    found = spec_file(spec)
    assert (None if found is None else os.fspath(found)) == file


@pytest.mark.parametrize(
    ("weights", "file"),
    [
        (None, None),
        ("IMAGENET1K_V1", None),
        ("a1_in1k", None),
        ("a.pth", "a.pth"),
        ("folder/weights", "folder/weights"),
        ("./weights", "weights"),
        ("own", "own"),
        # They sound like entries, which end in upper case.
        ("ResNet34_Weights.pth", "ResNet34_Weights.pth"),
        ("my_Weights.pt", "my_Weights.pt"),
        ("my_Weights.V1.safetensors", "my_Weights.V1.safetensors"),
        ("runs/ResNet34_Weights.V1", "runs/ResNet34_Weights.V1"),
        ("Own_Weights.V2", "Own_Weights.V2"),
        ("Own_Weights.V3", None),
    ],
)
def test_weights_that_are_a_file(tmp_path, monkeypatch, weights, file):
    monkeypatch.chdir(tmp_path)
    for name in ("own", "Own_Weights.V2"):
        (tmp_path / name).touch()  # what could be an entry is a file if it is there
    found = weights_file(weights)
    assert (None if found is None else os.fspath(found)) == file


def test_the_file_that_is_there_is_found_below_the_base(tmp_path):
    (tmp_path / "DEFAULT").touch()
    assert weights_file("DEFAULT") is None
    assert weights_file("DEFAULT", tmp_path) == tmp_path / "DEFAULT"


def test_no_entry_of_torchvision_is_a_file():
    networks = models.list_models(module=torchvision.models)
    entries = [entry for name in networks for entry in models.get_model_weights(name).__members__.values()]
    assert len(entries) > 100
    assert [str(entry) for entry in entries if weights_file(str(entry)) or weights_file(entry.name)] == []

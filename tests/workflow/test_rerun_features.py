"""What runs again after a change of the network, or of how features are computed and stored."""

import pytest
import small
import torch
from small import each, since

from labelsim.run import open_run


def everything(rerun):
    return sorted([*each(rerun.shards(), "extract", "moments"), *since("merge")])


def expect_another_network(rerun):
    """See that a run extracts all shards again."""
    assert rerun.begun() == sorted(["network", "preflight", *everything(rerun)])


@pytest.mark.parametrize(
    ("key", "value"), [("extract.precision", "bfloat16"), ("store.dtype", "float16"), ("store.rows_per_chunk", 8)]
)
def test_how_features_are_computed_and_stored(rerun, key, value):
    rerun.configure(key, value)
    assert rerun.planned() == everything(rerun)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.name", "network.py:other_network"),
        ("model.transform", "network.py:other_transform"),
        ("probe.at", "batch_norm"),
        ("probe.layers", ["conv1"]),
    ],
)
def test_another_network(rerun, key, value):
    rerun.configure(key, value)
    expect_another_network(rerun)


def test_other_words_for_the_same_layers(rerun):
    rerun.configure("probe.layers", ["conv*"])
    assert rerun.begun() == sorted(["network", *since("neighbors")])  # the tables say what was probed


def test_a_comment_where_the_network_is_defined(rerun):
    (rerun.folder / "network.py").write_text(f"# Two layers.\n{small.NETWORK}", encoding="utf-8")
    assert rerun.planned() == []


def test_weights_replaced_at_the_same_path(rerun):
    weights = rerun.folder / "weights.pth"
    before = weights.read_bytes()
    torch.save({"state_dict": small.state(rerun.folder)}, weights)
    assert weights.read_bytes() != before
    # The same tensors in another file are the same network.
    assert rerun.jobs() == ["network"]
    torch.save({name: 2 * tensor for name, tensor in small.state(rerun.folder).items()}, weights)
    expect_another_network(rerun)


def test_weights_in_a_file_that_sounds_like_an_entry_of_torchvision(rerun):
    (rerun.folder / "weights.pth").rename(rerun.folder / "ResNet34_Weights.pth")
    rerun.configure("model.weights", "ResNet34_Weights.pth")
    assert rerun.begun() == sorted(["network", *since("neighbors")])
    other = {name: 2 * tensor for name, tensor in small.state(rerun.folder).items()}
    torch.save(other, rerun.folder / "ResNet34_Weights.pth")
    expect_another_network(rerun)


def test_a_network_and_its_weights_that_were_moved(rerun):
    (rerun.folder / "models").mkdir()
    (rerun.folder / "network.py").rename(rerun.folder / "models/network.py")
    (rerun.folder / "weights.pth").rename(rerun.folder / "models/best.pth")
    rerun.configure("model.name", "models/network.py:network")
    rerun.configure("model.transform", "models/network.py:transform")
    rerun.configure("model.weights", "models/best.pth")
    # Nothing is computed anew, but the tables and the summary name the files that are there now.
    assert rerun.jobs() == sorted(["network", *since("neighbors")])
    results = open_run(rerun.folder / "results/small")
    assert results.summary()["weights"] == "models/best.pth"
    assert results.provenance()["model"]["name"] == "models/network.py:network"

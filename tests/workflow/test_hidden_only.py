"""A vision transformer from images to pictures: without layers to probe, its hidden state alone is compared."""

import json
import re

import analyses
import numpy as np
import pytest
import small
from PIL import Image

from labelsim import open_run
from labelsim.check import check
from labelsim.network.builder import build
from labelsim.statistics.neighbors import top_k

NETWORK = """
import numpy as np
import torch
from torch import nn


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 6, stride=6)
        self.attention = nn.TransformerEncoderLayer(8, 2, 16, activation=nn.GELU(), batch_first=True)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.attention(self.patches(x).flatten(2).mT).mean(1))


def pixels(image):
    return torch.from_numpy(np.array(image.resize((24, 24)))).permute(2, 0, 1) / 255


def transform():
    return pixels
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory, run):
    folder = small.write(tmp_path_factory.mktemp("hidden") / "run")
    (folder / "network.py").write_text(NETWORK, encoding="utf-8")
    config = small.config() | {"similarity": {"methods": ["hidden"]}}
    config["model"] = {"name": "network.py:Transformer", "weights": None, "transform": "network.py:transform"}
    config["model"]["classes"] = "dataset"
    # Images to show, and no channels; significance would need t.
    config["analysis"] = analyses.DEFAULTS | {"significance": {"enabled": False}}
    config["report"] = {"classes": ["bee"]}
    small.write_config(folder, config)
    outcome = run(folder)
    assert outcome.code == 0, outcome.output
    return folder


def test_every_file_is_made_and_whole(finished):
    results = finished / "results/small"
    assert check(results).ok
    assert (results / "report/heatmaps/hidden.png").exists()
    assert (results / "report/neighbors/bee.png").exists()
    assert (results / "report/explorer.html").exists()
    log = (results / "logs/network.log").read_text(encoding="utf-8")
    assert "patches is left out" in log
    assert "0 layers, 0 channels, 8 hidden units, 5 outputs" in log


def test_the_hidden_states_are_compared(finished):
    results = open_run(finished / "results/small")
    built = build("network.py:Transformer", None, "network.py:transform", finished)
    means, right = [], []
    for number, name in enumerate(small.CLASSES):
        states, answers = [], []
        for path in sorted((finished / "images" / name).iterdir()):
            x = built.transform(Image.open(path)).unsqueeze(0)
            states.append(built.module.attention(built.module.patches(x).flatten(2).mT).mean(1)[0].numpy())
            answers.append(int(built.module(x).argmax()) == number)
        means.append(np.mean(np.array(states, dtype=np.float64), axis=0))
        right.append(np.mean(answers))
    unit = np.array(means) / np.linalg.norm(means, axis=1, keepdims=True)
    similarity = results.similarity()
    assert set(similarity.data_vars) == {"hidden"}
    # Forward passes in batches of another size differ by 1e-6; both are stored as float32.
    np.testing.assert_allclose(similarity["hidden"], unit @ unit.T, atol=1e-5)
    expected = top_k(similarity["hidden"].values, 3)
    table = results.neighbors()
    assert set(table["method"].to_pylist()) == {"hidden"}
    assert table["neighbor_index"].to_pylist() == expected.neighbor_index.tolist()
    np.testing.assert_allclose(results.classes()["top1"].to_numpy(), right)
    for shard in results.shards():
        features = results.features(shard)
        assert features["gap"].shape == (features.sizes["sample"], 0)
        assert np.isfinite(features["hidden"]).all()


def test_t_is_not_computed_for_methods_that_do_not_need_it(finished):
    assert not (finished / "results/small/welch.zarr").exists()
    assert not (finished / "results/small/logs/welch.log").exists()


def test_methods_that_need_layers_are_refused_later_too(finished, run):
    config = json.loads(json.dumps(small.config()))
    before = (finished / "config.yaml").read_text(encoding="utf-8")
    config["model"] = {"name": "network.py:Transformer", "weights": None, "transform": "network.py:transform"}
    config["model"]["classes"] = "dataset"
    small.write_config(finished, config | {"similarity": {"methods": ["hidden", "gap"]}})
    try:
        outcome = run(finished)
    finally:
        (finished / "config.yaml").write_text(before, encoding="utf-8")
    assert outcome.code == 1
    assert outcome.jobs == ["preflight"]
    assert "similarity.methods: gap " in outcome.output
    assert "Traceback" not in outcome.output


def test_methods_that_need_layers_are_refused_before_any_image_is_read(finished, tmp_path, run):
    for name in ("images", "names.csv", "network.py"):
        (tmp_path / name).symlink_to(finished / name)
    config = small.config()
    config["model"] = {"name": "network.py:Transformer", "weights": None, "transform": "network.py:transform"}
    small.write_config(tmp_path, config)
    outcome = run(tmp_path)
    assert outcome.code == 1
    assert re.search(r"similarity\.methods: welch .*\(patches: .*6 x 6 pixels", outcome.output)
    assert "similarity.methods to [hidden]" in outcome.output
    assert "probe.at: activation (or auto)" in outcome.output
    assert "Traceback" not in outcome.output
    assert not (tmp_path / "results/small/features").exists()

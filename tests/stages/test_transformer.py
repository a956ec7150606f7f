"""S, H and P of a vision transformer that is trained here, from images to neighbors."""

import json

import numpy as np
import pytest
import scipy.stats
import torch
from PIL import Image
from stagewise import run_stages
from torch.nn import functional

from labelsim.config import load
from labelsim.network.builder import build
from labelsim.run import open_run

# By class, the angle of its stripes, which repeat after 180 degrees; the order of the classes tells nothing of it.
ANGLES = {"ash": 60, "birch": 128, "cedar": 0, "elm": 68, "fir": 120, "oak": 8}
PARTNERS = {"ash": "elm", "birch": "fir", "cedar": "oak", "elm": "ash", "fir": "birch", "oak": "cedar"}
IMAGES, SIDE, STEPS = 12, 24, 100
NETWORK = """
import numpy as np
import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, units):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(units), nn.LayerNorm(units)
        self.attention = nn.MultiheadAttention(units, 4, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(units, 2 * units), nn.GELU(), nn.Linear(2 * units, units))

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 6, 6)
        self.token = nn.Parameter(torch.zeros(1, 1, 32))
        self.places = nn.Parameter(torch.randn(1, 17, 32) * 0.1)
        self.blocks = nn.Sequential(Block(32), Block(32))
        self.norm = nn.LayerNorm(32)
        self.head = nn.Linear(32, 6)

    def forward(self, x):
        x = self.patches(x).flatten(2).mT
        x = torch.cat([self.token.expand(len(x), -1, -1), x], dim=1) + self.places
        return self.head(self.norm(self.blocks(x))[:, 0])


def transform():
    return lambda image: torch.from_numpy(np.array(image.resize((24, 24)))).permute(2, 0, 1) / 127.5 - 1
"""


def stripes(angles, random):
    """Stripes at random places, with noise: (N, SIDE, SIDE, 3), 8 bits."""
    y, x = np.mgrid[:SIDE, :SIDE]
    turn = np.deg2rad(angles + random.normal(0, 3, len(angles)))[:, None, None]
    phase = random.uniform(0, 2 * np.pi, len(angles))[:, None, None]
    waves = np.sin(x * np.cos(turn) + y * np.sin(turn) + phase)
    noise = random.normal(0, 20, (len(angles), SIDE, SIDE, 3))
    return np.clip(127.5 + 80 * waves[..., None] + noise, 0, 255).astype(np.uint8)


def network_input(images):
    return torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1


def train(module, random):
    angles = np.array(list(ANGLES.values()))
    optimizer = torch.optim.AdamW(module.requires_grad_().parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)
    for _ in range(STEPS):
        labels = random.integers(0, len(angles), 64)
        logits = module(network_input(stripes(angles[labels], random)))
        optimizer.zero_grad()
        functional.cross_entropy(logits, torch.from_numpy(labels)).backward()
        optimizer.step()
        schedule.step()
    return module.eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of the run's configuration, and the trained network."""
    folder = tmp_path_factory.mktemp("transformer")
    (folder / "network.py").write_text(NETWORK, encoding="utf-8")
    random = np.random.default_rng(1)
    for name, angle in ANGLES.items():
        (folder / "images" / name).mkdir(parents=True)
        for number, image in enumerate(stripes(np.full(IMAGES, angle), random)):
            Image.fromarray(image).save(folder / "images" / name / f"{number}.png")
    torch.manual_seed(0)
    module = train(build("network.py:Transformer", None, "network.py:transform", folder).module, random)
    torch.save(module.state_dict(), folder / "weights.pth")
    model = {"name": "network.py:Transformer", "weights": "weights.pth", "transform": "network.py:transform"}
    config = {
        "run": "stripes",
        "dataset": {"source": "images"},
        "model": model | {"classes": "dataset"},
        "probe": {"at": "auto"},
        "extract": {"images_per_shard": 24, "batch_size": 5, "workers": 0},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_stages(load(config))
    return folder, module


def test_its_activations_are_read(finished):
    described = json.loads((finished[0] / "results/stripes/network.json").read_text(encoding="utf-8"))
    assert described["at"] == "activation"
    assert described["layers"] == [["blocks.0.mlp.1", 64], ["blocks.1.mlp.1", 64]]


def test_equal_to_plain_hooks_and_scipy(finished):
    folder, module = finished
    seen, hidden = [], []
    for block in module.blocks:
        block.mlp[1].register_forward_hook(lambda _, args, out: seen.append(out.double().mean(1).numpy()))
    module.head.register_forward_pre_hook(lambda _, args: hidden.append(args[0].double().numpy()))
    for name in ANGLES:
        images = [np.array(Image.open(path)) for path in sorted((folder / "images" / name).iterdir())]
        module(network_input(np.array(images)))
    gap = [np.concatenate(pair, axis=1) for pair in zip(seen[::2], seen[1::2], strict=True)]  # (12, 128), by class
    others = [np.concatenate(gap[:c] + gap[c + 1 :]) for c in range(len(gap))]
    vectors = {
        "welch": [scipy.stats.ttest_ind(a, b, equal_var=False)[0] for a, b in zip(gap, others, strict=True)],
        "gap": [rows.mean(axis=0) for rows in gap],
        "hidden": [rows.mean(axis=0) for rows in hidden],
    }
    similarity = open_run(folder / "results/stripes").similarity()
    for method, rows in vectors.items():
        unit = np.array(rows) / np.linalg.norm(rows, axis=1, keepdims=True)
        found = similarity[method].sel(group="all") if "group" in similarity[method].dims else similarity[method]
        # Features are float32, of batches of another size: off by 1e-6, where the spread is some 0.01 and more.
        np.testing.assert_allclose(found.values, unit @ unit.T, atol=1e-4, err_msg=method)


def test_stripes_of_the_nearest_angle_are_the_nearest_class(finished):
    results = open_run(finished[0] / "results/stripes")
    assert np.mean(results.classes()["top1"].to_numpy()) > 0.8
    first = [row for row in results.neighbors().to_pylist() if row["rank"] == 1]
    for method in ("welch", "hidden", "gap"):
        assert {row["class_id"]: row["neighbor_id"] for row in first if row["method"] == method} == PARTNERS, method

import io
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from fuzz import RESULTS, State, fresh, saved

from labelsim.network.outputs import feature_parts
from labelsim.report.underflow import underflow_warning
from labelsim.run import open_run
from labelsim.statistics.underflow import count, total
from labelsim.storage.json_files import read_document

NETWORK = {"layers": [["a", 3], ["b.c", 2]], "hidden_units": 4, "outputs": 2}
PARTS = feature_parts(NETWORK)
SMALLEST = float(np.finfo(np.float16).smallest_subnormal)


def features(dtype):
    """Four images with values that float16 holds, and some of a third of the smallest that it holds: these become 0."""
    random = np.random.default_rng(0)
    widths = {"gap": 5, "hidden": 4, "logits": 2}
    values = {
        name: random.choice([0, 1, -SMALLEST, SMALLEST / 3], (4, n)).astype(np.float32) for name, n in widths.items()
    }
    return values, {name: block.astype(dtype) for name, block in values.items()}


def test_what_becomes_zero_is_counted_by_layer():
    values, stored = features(np.float16)
    lost = {name: (block == np.float32(SMALLEST / 3)).sum(axis=0) for name, block in values.items()}
    assert count(values, stored, PARTS) == {
        "gap of a": lost["gap"][:3].sum(),
        "gap of b.c": lost["gap"][3:].sum(),
        "hidden": lost["hidden"].sum(),
    }
    assert lost["logits"].sum() == 0


def test_rows_of_rejected_images_and_whole_values_are_not_counted():
    values, stored = features(np.float16)
    for block in stored.values():
        block[:] = np.nan
    assert count(values, stored, PARTS) == {}
    assert count(*features(np.float32), PARTS) == {}


def test_without_layers():
    values = {"gap": np.empty((4, 0)), "hidden": np.full((4, 4), 1e-9), "logits": np.ones((4, 2))}
    stored = {name: block.astype(np.float16) for name, block in values.items()}
    assert count(values, stored, feature_parts(NETWORK | {"layers": []})) == {"hidden": 16}


def test_counts_add_up_in_one_order():
    parts = [{"hidden": 2, "gap of b": 1}, {}, {"gap of b": 3, "gap of a": 1}]
    assert total(parts) == sum(map(Counter, parts), Counter())
    assert list(total(parts)) == list(total(parts[::-1])) == ["gap of a", "gap of b", "hidden"]


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({}, None),
        ({"hidden": 4}, None),  # one in a thousand
        ({"hidden": 5}, ["0.1 % of the values of hidden", "store.dtype: float32"]),
        ({"gap of a": 1530, "hidden": 1}, ["51.0 % of the values of gap of a", "float16"]),
        (
            {"gap of a": 300, "gap of b.c": 400, "hidden": 1200, "logits": 200},
            ["30.0 % of the values of hidden, 20.0 % of the values of gap of b.c, ", "1 more"],
        ),
    ],
)
def test_the_warning_names_the_shares(counts, words):
    found = underflow_warning(counts, PARTS, 1000, "float16")
    assert (found is None) == (words is None)
    assert all(part in found for part in words or [])


def test_a_run_tells_of_all_shards(tmp_path, monkeypatch):
    # 70 classes in another order than that of their names, one of them empty, in three shards.
    state = State.first(Random(0))
    tensors = torch.load(io.BytesIO(state.files["weights.pth"]), weights_only=True)
    state.files["weights.pth"] = saved(
        {**tensors, "conv1.weight": 1e-7 * tensors["conv1.weight"], "conv1.bias": 0 * tensors["conv1.bias"]}
    )
    runs = {}
    for dtype in ("float32", "float16"):
        state.config["store"]["dtype"] = dtype
        fresh(state, tmp_path / dtype)
        runs[dtype] = open_run(tmp_path / dtype / RESULTS)
    exact = [runs["float32"].features(shard) for shard in runs["float32"].shards()]
    assert len(exact) >= 3
    gap = np.concatenate([features["gap"].values[:, features["layer"] == "conv1"] for features in exact])
    lost = int(((gap != 0) & (gap.astype(np.float16) == 0)).sum())
    found = runs["float16"].summary()
    assert found["underflow"]["gap of conv1"] == lost > 0
    assert f"{100 * lost / gap.size:.1f} % of the values of gap of conv1" in found["warning"]
    assert (runs["float32"].summary()["underflow"], runs["float32"].summary()["warning"]) == ({}, None)
    stats = [read_document(Path(runs["float16"].paths.stats(shard))) for shard in runs["float16"].shards()]
    assert total(one["underflow"] for one in stats) == found["underflow"]

"""The images of highest activation, compared with a full sort."""

import shutil
from pathlib import Path

import numpy as np
import planted
import pyarrow as pa
import pytest
from planted import ALONE, EMPTY, LAYERS, MANY, TWINS

from labelsim import open_run
from labelsim.analysis.activations import highest_activations
from labelsim.errors import LabelsimError
from labelsim.storage.zarr_store import Array, Writer, open_store

LAYER = np.repeat(list(LAYERS), list(LAYERS.values()))
LAYER_CHANNEL = np.concatenate([np.arange(n) for n in LAYERS.values()])
CHANNELS = [*TWINS, 0, planted.DEAD]  # all are equal in the last


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return planted.plant(tmp_path_factory.mktemp("planted"), methods=("gap",))


def highest(root, classes, images):
    results = open_run(root)
    wanted = [(id_, LAYER[channel], LAYER_CHANNEL[channel]) for id_ in classes for channel in CHANNELS]
    return highest_activations(map(results.features, results.shards()), channels(wanted), images)


def channels(wanted):
    ids, layers, numbers = zip(*wanted, strict=True)
    return pa.table({"class_id": ids, "layer": layers, "layer_channel": pa.array(numbers, pa.int32())})


@pytest.mark.parametrize("images", [1, 3, 1000])
def test_they_are_those_of_a_full_sort(run, images):
    classes = [MANY, 10, ALONE, EMPTY]
    expected = []
    for c in classes:
        for channel in CHANNELS:
            values = run.features["gap"][:, channel]
            best = sorted(np.flatnonzero(run.labels == c), key=lambda i: (-values[i], i))[:images]
            key = (str(c), LAYER[channel], LAYER_CHANNEL[channel])
            expected += [(*key, rank, run.samples[i], values[i]) for rank, i in enumerate(best, start=1)]
    table = highest(run.paths.root, [str(c) for c in classes], images)
    assert table.column_names == ["class_id", "layer", "layer_channel", "rank", "sample_id", "activation"]
    assert [tuple(row.values()) for row in table.to_pylist()] == expected


def test_only_chunks_with_images_of_the_classes_are_read(run, tmp_path):
    root = Path(shutil.copytree(run.paths.root, tmp_path / "run"))
    whole = highest(root, [str(ALONE)], 2)
    assert len(whole) == len(CHANNELS)
    files = sorted(root.glob("features/*.zarr/gap/c/*/*"))
    (row,) = np.flatnonzero(run.labels == ALONE)
    # Shards of 300 images and the rest, in chunks of 100.
    needed = files[row // 100]
    for file in set(files) - {needed}:
        file.write_bytes(b"damaged")
    assert highest(root, [str(ALONE)], 2).equals(whole)
    needed.write_bytes(needed.read_bytes()[:-1] + b"x")
    with pytest.raises(LabelsimError, match="gap"):
        highest(root, [str(ALONE)], 2)


def test_rejected_images_are_not_found_and_features_may_be_halves(tmp_path):
    values = {
        "gap": np.array([[1, 5], [np.nan, np.nan], [3, 4], [2, 6]]),
        "class_id": np.array(["b", "a", "a", "a"], dtype=object),
        "sample_id": np.array(["b/0", "a/0", "a/1", "a/2"], dtype=object),
        "layer": np.array(["conv", "conv"], dtype=object),
        "layer_channel": np.arange(2),
    }
    layout = {
        "gap": Array(("sample", "channel"), (4, 2), "float16", (3, 2)),
        "class_id": Array(("sample",), (4,), "str"),
        "sample_id": Array(("sample",), (4,), "str"),
        "layer": Array(("channel",), (2,), "str"),
        "layer_channel": Array(("channel",), (2,), "int32"),
    }
    writer = Writer(tmp_path / "shard.zarr", layout, "")
    for name, array in values.items():
        writer.put_whole(name, array)
    writer.commit({})
    wanted = channels([("a", "conv", 1), ("a", "conv", 0)])
    table = highest_activations([open_store(tmp_path / "shard.zarr")], wanted, 5)
    assert table["sample_id"].to_pylist() == ["a/2", "a/1", "a/1", "a/2"]
    assert table["activation"].to_pylist() == [6, 4, 3, 2]

"""examples on features whose result plain NumPy knows: shuffled shards, with rejected and with equal images."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import planted
import pytest
from planted import ALONE, CLASSES, EMPTY, LAYERS, MANY, PAIR
from pyarrow import parquet

from labelsim.run import Paths
from labelsim.stages.evidence import evidence
from labelsim.stages.examples import examples

SHARDS = {"a" * 16: slice(0, 300), "b" * 16: slice(300, None)}
POSITION = {layer: sum(list(LAYERS.values())[:i]) for i, layer in enumerate(LAYERS)}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return planted.plant(tmp_path_factory.mktemp("planted"), methods=("welch", "hidden", "gap"))


@pytest.fixture(scope="module")
def means(whole):
    """Mean of the hidden state of each class, as in the moments; NaN without images."""
    hidden = whole.features["hidden"].astype(np.float64)
    return [hidden[whole.labels == c].mean(axis=0) if c != EMPTY else np.nan for c in range(CLASSES)]


@pytest.fixture(scope="module")
def run(whole):
    """The run, of which some images are rejected after all, and some are equal, in one shard and in two."""
    found = whole
    tables = [Path(found.paths.analysis(name)) for name in ("evidence", "evidence_layers")]
    evidence(found.path("neighbors"), {name: found.path(name) for name in ("moments", "welch")}, 10, *tables)
    own = np.flatnonzero(found.labels == MANY)
    first, second = own[own < 300], own[own >= 300]
    assert min(len(first), len(second)) > 5
    features = {name: values.copy() for name, values in found.features.items()}
    for values in features.values():
        values[[first[3], second[0], second[1]]] = values[first[1]]
        values[[first[0], second[2], *np.flatnonzero(found.labels == 12)]] = np.nan
    found = replace(found, features=features)
    for name, part in SHARDS.items():
        planted._write_shard(Path(found.paths.features(name)), found, part)
    return found


def made(run, folder, images=8, images_per_channel=3, with_evidence=True):
    """Both tables."""
    outputs = [folder / "examples.parquet", folder / "evidence_images.parquet"]
    examples(
        [Path(run.paths.features(name)) for name in SHARDS],
        run.path("moments"),
        run.path("neighbors"),
        Path(run.paths.analysis("evidence")) if with_evidence else None,
        {"images": images, "images_per_channel": images_per_channel},
        *outputs,
    )
    return [parquet.read_table(output) for output in outputs]


def ranked(run, key, own, n):
    """Usable images of a class by a key, the smallest first; of equal ones the earlier one first."""
    usable = [i for i in np.flatnonzero(run.labels == own) if not np.isnan(key[i])]
    return enumerate(sorted(usable, key=lambda i: (key[i], i))[:n], start=1)


@pytest.mark.parametrize("n", [1, 8, 200])
def test_typical_images_are_those_nearest_to_the_mean(run, means, tmp_path, n):
    table, _ = made(run, tmp_path, images=n)
    expected, distances = [], []
    for c in range(CLASSES):
        distance = np.linalg.norm(run.features["hidden"].astype(np.float64) - means[c], axis=1)
        for rank, i in ranked(run, distance, c, n):
            expected.append((c, str(c), f"class {c}", rank, run.samples[i]))
            distances.append(distance[i])
    assert table.column_names == ["class_index", "class_id", "class_name", "rank", "sample_id", "distance"]
    assert list(zip(*table.drop(["distance"]).to_pydict().values(), strict=True)) == expected
    assert str(table.schema.field("distance").type) == "double"
    # The mean is merged from folds: float64 on both sides, in another order.
    np.testing.assert_allclose(table["distance"], distances, rtol=1e-12, atol=1e-14)
    sizes = dict(zip(*np.unique(table["class_index"], return_counts=True), strict=True))
    assert [sizes.get(c, 0) for c in (EMPTY, 12, ALONE, PAIR)] == [0, 0, 1, min(n, 2)]


@pytest.mark.parametrize("n", [1, 3, 200])
def test_images_of_channels_are_those_of_the_highest_activations(run, tmp_path, n):
    _, table = made(run, tmp_path, images_per_channel=n)
    rows = [row for row in parquet.read_table(run.paths.analysis("evidence")).to_pylist() if row["group"] == "all"]
    assert {row["method"] for row in rows} == {"welch", "gap"}
    wanted = {
        (row[f"{side}_index"], POSITION[row["layer"]] + row["layer_channel"], row["layer"], row["layer_channel"])
        for row in rows
        for side in ("class", "neighbor")
    }
    expected = [
        (c, str(c), layer, number, rank, run.samples[i], run.features["gap"][i, channel])
        for c, channel, layer, number in sorted(wanted)
        for rank, i in ranked(run, -run.features["gap"][:, channel], c, n)
    ]
    names = ["class_index", "class_id", "layer", "layer_channel", "rank", "sample_id", "activation"]
    assert table.column_names == names
    assert list(zip(*table.to_pydict().values(), strict=True)) == expected
    assert str(table.schema.field("activation").type) == "float"


def test_without_evidence_no_channels_are_read(run, tmp_path):
    root = Path(shutil.copytree(run.paths.root, tmp_path / "run"))
    complete = made(run, tmp_path)
    for file in root.glob("features/*.zarr/gap/c/*/*"):
        file.write_bytes(b"damaged")
    typical, of_channels = made(replace(run, paths=Paths(str(root))), tmp_path, with_evidence=False)
    assert typical.equals(complete[0])
    assert not len(of_channels)
    assert of_channels.schema == complete[1].schema


def test_tables_have_the_provenance_of_the_neighbors(run, tmp_path):
    expected = json.loads(parquet.read_table(run.path("neighbors")).schema.metadata[b"labelsim"])
    for table in made(run, tmp_path):
        assert expected.items() < json.loads(table.schema.metadata[b"labelsim"]).items()

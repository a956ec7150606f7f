"""The results of a whole run against a second, naive implementation: all in memory, no folds, no shards."""

import json
import re
import runpy
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
import torch
import toy
import xarray
from PIL import Image
from pyarrow import parquet

import labelsim
from labelsim.dataset.sampling import folds
from labelsim.run import open_run
from labelsim.storage.json_files import read_document, write_document

IDS = sorted([*toy.CLASSES, toy.ALONE, toy.EMPTY])
NAMES = [{"n01440764": "tench", "n01443537": "goldfish"}.get(id_, id_) for id_ in IDS]
CHANNELS = {
    "all": slice(0, 24),
    "early": slice(0, 6),
    "late": slice(6, 24),
}
# The network's sums run in another order for another batch size, in float32 (a relative 1e-7 each).
FEATURES = {"rtol": 1e-4, "atol": 1e-6}
SIMILARITY = {"rtol": 0, "atol": 1e-5}


class Naive(NamedTuple):
    """Features of all usable images in the order of their ids, and what follows from them."""

    sample_ids: list[str]
    labels: np.ndarray
    gap: np.ndarray
    hidden: np.ndarray
    logits: np.ndarray
    rejects: list[str]
    t: np.ndarray
    df: np.ndarray

    def means(self, features: np.ndarray) -> np.ndarray:
        absent = np.full(features.shape[1], np.nan)
        parts = [features[self.labels == c] for c in range(len(IDS))]
        return np.array([part.mean(axis=0) if len(part) else absent for part in parts])


@pytest.fixture(scope="module")
def naive(base):
    pixels, sample_ids, labels, rejects = [], [], [], []
    code = runpy.run_path(str(base / "network.py"))
    transform = code["transform"]()
    for path in sorted((base / "images").glob("*/*"), key=lambda path: path.relative_to(base).as_posix()):
        sample_id = path.relative_to(base / "images").as_posix()
        try:
            with Image.open(path) as image:
                pixels.append(transform(image.convert("RGB")))
        except OSError:
            rejects.append(sample_id)
            continue
        sample_ids.append(sample_id)
        labels.append(IDS.index(path.parent.name))
    gap, hidden, logits = forward(code["network"]().eval(), torch.stack(pixels))
    t, df = welch(gap, np.array(labels))
    return Naive(sample_ids, np.array(labels), gap, hidden, logits, rejects, t, df)


@torch.no_grad()
def forward(network, batch):
    outputs, inputs = {}, {}
    for name in toy.LAYERS:
        module = network.get_submodule(name)
        module.register_forward_hook(lambda _, args, out, name=name: outputs.update({name: out.clone()}))
    network.head.register_forward_hook(lambda _, args, out: inputs.update(head=args[0]))
    logits = network(batch)
    gap = torch.cat([outputs[name].relu().mean(dim=(2, 3)) for name in toy.LAYERS], dim=1)
    return tuple(tensor.double().numpy() for tensor in (gap, inputs["head"], logits))


def welch(gap, labels):
    t = np.full((len(IDS), gap.shape[1]), np.nan)
    df = t.copy()
    for c in range(len(IDS)):
        if (labels == c).sum() < 2:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the channel that never fires
            result = scipy.stats.ttest_ind(gap[labels == c], gap[labels != c], equal_var=False)
        t[c], df[c] = result.statistic, result.df
    constant = gap.min(axis=0) == gap.max(axis=0)
    t[np.ix_(~np.isnan(t).all(axis=1), constant)] = 0
    df[:, constant] = np.nan
    return t, df


def cosine(vectors):
    return 1 - scipy.spatial.distance.cdist(vectors, vectors, "cosine")


def opened(base: Path, name: str) -> xarray.Dataset:
    return xarray.open_zarr(base / "results/toy" / name, consolidated=False, chunks=None)


def shards(base: Path) -> list[str]:
    index = json.loads((base / "results/toy/shards/index.json").read_text(encoding="utf-8"))
    return [shard["name"] for shard in index["shards"]]


def test_manifest(base, naive):
    manifest = parquet.read_table(base / "results/toy/manifest.parquet")
    assert {"sample_id", "class_index", "class_id", "bytes"} <= set(manifest.column_names)
    assert manifest["sample_id"].to_pylist() == sorted(
        [*naive.sample_ids, *naive.rejects], key=lambda id_: (id_.split("/")[0], id_)
    )
    for row in manifest.to_pylist():
        assert row["bytes"] == (base / "images" / row["sample_id"]).stat().st_size
        assert IDS[row["class_index"]] == row["class_id"] == row["sample_id"].split("/")[0]


def test_features(base, naive):
    stores = [opened(base, f"features/{shard}.zarr") for shard in shards(base)]
    assert len(stores) >= 3
    for store in stores:
        assert store["gap"].dims == ("sample", "channel")
        assert store["hidden"].dims == ("sample", "unit")
        assert store["logits"].dims == ("sample", "output")
        assert set(store.coords) == {"sample_id", "class_id", "class_index", "layer", "layer_channel"}
        assert store["layer"].values.tolist() == [name for name, n in toy.LAYERS.items() for _ in range(n)]
        assert store["layer_channel"].values.tolist() == [i for n in toy.LAYERS.values() for i in range(n)]
    ids = np.concatenate([store["sample_id"].values for store in stores])
    usable = ~np.isin(ids, naive.rejects)
    assert ids[usable].tolist() == naive.sample_ids
    for name in ("gap", "hidden", "logits"):
        found = np.concatenate([store[name].values for store in stores])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found[usable], getattr(naive, name), **FEATURES)
        assert np.isnan(found[~usable]).all()


def test_rejects(base):
    tables = [parquet.read_table(base / f"results/toy/features/{shard}.rejects.parquet") for shard in shards(base)]
    rows = [row for table in tables for row in table.to_pylist()]
    assert [row["sample_id"] for row in rows] == sorted(toy.REJECTS)
    for row in rows:
        assert row["class_id"] == row["sample_id"].split("/")[0]
        assert row["reason"].startswith(toy.REJECTS[row["sample_id"]])


def test_moments(base, naive):
    moments = opened(base, "moments.zarr")
    assert moments["count"].dims == ("fold", "class")
    assert moments["class_id"].values.tolist() == IDS
    assert moments["class_name"].values.tolist() == NAMES
    fold = folds(naive.sample_ids)
    for f in range(moments.sizes["fold"]):
        for c in range(len(IDS)):
            chosen = (fold == f) & (naive.labels == c)
            assert moments["count"].values[f, c] == chosen.sum()
            for name in ("gap", "hidden"):
                mean, m2 = (moments[f"{name}_{moment}"] for moment in ("mean", "m2"))
                assert mean.dtype == m2.dtype == np.float64
                if not chosen.any():
                    assert np.isnan(mean[f, c]).all()
                    assert np.isnan(m2[f, c]).all()
                    continue
                features = getattr(naive, name)[chosen]
                np.testing.assert_allclose(mean[f, c], features.mean(axis=0), **FEATURES)
                # Squares of deviations: twice the features' relative error, and more where they are small.
                np.testing.assert_allclose(m2[f, c], features.var(axis=0) * len(features), rtol=1e-3, atol=1e-6)


def test_welch(base, naive):
    store = opened(base, "welch.zarr")
    for name in ("t", "df"):
        assert store[name].dims == ("class", "channel")
        assert store[name].dtype == np.float64
    tested = np.isin(IDS, toy.CLASSES)
    np.testing.assert_array_equal(store["t"][:, toy.DEAD], np.where(tested, 0, np.nan))
    # A difference of means over its error: the error of the features grows by what the two means share.
    np.testing.assert_allclose(store["t"], naive.t, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(store["df"], naive.df, rtol=1e-4)


def test_similarity(base, naive):
    store = opened(base, "similarity.zarr")
    assert store["group_name"].values.tolist() == list(CHANNELS)
    for name in ("class_id", "neighbor_id"):
        assert store[name].values.tolist() == IDS
    for name in ("class_name", "neighbor_name"):
        assert store[name].values.tolist() == NAMES
    assert store["hidden"].dims == ("class", "neighbor")
    np.testing.assert_allclose(store["hidden"], cosine(naive.means(naive.hidden)), **SIMILARITY)
    usable = np.isfinite(naive.t[~np.isnan(naive.t).all(axis=1)]).all(axis=0)
    assert usable.all()
    for method, vectors in (("welch", naive.t), ("gap", naive.means(naive.gap))):
        assert store[method].dims == ("group", "class", "neighbor")
        assert store[method].dtype == store["hidden"].dtype == np.float32
        for g, channels in enumerate(CHANNELS.values()):
            np.testing.assert_allclose(store[method][g], cosine(vectors[:, channels]), **SIMILARITY)


def test_neighbors(base):
    table = parquet.read_table(base / "results/toy/neighbors.parquet")
    text, index, similarity = "string", "int32", "float"
    assert [(column.name, str(column.type)) for column in table.schema] == [
        ("method", text),
        ("group", text),
        ("class_index", index),
        ("class_id", text),
        ("class_name", text),
        ("rank", index),
        ("neighbor_index", index),
        ("neighbor_id", text),
        ("neighbor_name", text),
        ("similarity", similarity),
    ]
    store = opened(base, "similarity.zarr")
    expected = []
    for method, group in [*(("gap", g) for g in CHANNELS), ("hidden", "all"), *(("welch", g) for g in CHANNELS)]:
        matrix = store[method].values
        matrix = matrix if matrix.ndim == 2 else matrix[list(CHANNELS).index(group)]
        for c in range(len(IDS)):
            others = [i for i in range(len(IDS)) if i != c and not np.isnan(matrix[c, i])]
            best = sorted(others, key=lambda i: (-matrix[c, i], i))[:5]
            expected += [
                (method, group, c, IDS[c], NAMES[c], rank, i, IDS[i], NAMES[i], matrix[c, i])
                for rank, i in enumerate(best, start=1)
            ]
    assert list(zip(*table.to_pydict().values(), strict=True)) == expected
    # All that have a variance have neighbours in S; all that have an image in H and P.
    having = {method: {row[3] for row in expected if row[0] == method} for method in ("welch", "hidden", "gap")}
    assert having["welch"] == set(toy.CLASSES)
    assert having["hidden"] == having["gap"] == {*toy.CLASSES, toy.ALONE}


def test_classes(base, naive):
    table = parquet.read_table(base / "results/toy/classes.parquet")
    columns = ["class_index", "class_id", "class_name", "used", "rejected", "top1", "top5", "notes"]
    assert table.column_names == columns
    rows = table.to_pylist()
    for c, row in enumerate(rows):
        mine = naive.labels == c
        assert (row["class_index"], row["class_id"], row["class_name"]) == (c, IDS[c], NAMES[c])
        assert row["used"] == mine.sum()
        assert row["rejected"] == sum(id_.split("/")[0] == IDS[c] for id_ in naive.rejects)
        if not mine.any():
            assert row["top1"] is row["top5"] is None
            continue
        assert row["top1"] == (naive.logits[mine].argmax(axis=1) == c).mean()
        assert row["top5"] == (np.argsort(-naive.logits[mine], axis=1)[:, :5] == c).any(axis=1).mean()
    notes = {row["class_id"]: row["notes"] for row in rows if row["notes"]}
    assert notes == {
        toy.ALONE: "one usable image, hence no variance: not in welch",
        toy.EMPTY: "no usable image: in no matrix",
    }


def test_summary(base, naive):
    summary = open_run(base / "results/toy").summary()
    assert summary["images"] == {"used": len(naive.labels), "rejected": len(naive.rejects)}
    assert summary["classes"] == len(IDS)
    assert (summary["layers"], summary["channels"]) == (3, 24)
    assert (summary["methods"], summary["groups"]) == (["welch", "hidden", "gap"], list(CHANNELS))
    assert summary["excluded_channels"] == dict.fromkeys(CHANNELS, 0)
    assert summary["weights_digest"] == open_run(base / "results/toy").network()["weights_digest"]
    ranks = np.argsort(-naive.logits, axis=1)
    assert summary["accuracy"] == {
        "top1": (ranks[:, 0] == naive.labels).mean(),
        "top5": (ranks[:, :5] == naive.labels[:, np.newaxis]).any(axis=1).mean(),
        "images": len(naive.labels),
        "classes": len(set(naive.labels)),
        "published_top1": None,
        "note": "not compared: no accuracy is published with these weights",
    }
    assert summary["warning"] is None
    log = (base / "results/toy/logs/neighbors.log").read_text(encoding="utf-8")
    assert re.search(rf"top-1 \d+\.\d %, top-5 \d+\.\d % of {len(naive.labels)} images; not compared", log)


@pytest.mark.parametrize("name", ["neighbors", "classes"])
def test_tables_tell_where_they_come_from(base, name):
    schema = parquet.read_schema(base / f"results/toy/{name}.parquet")
    told = json.loads(schema.metadata[b"labelsim"])
    index, network = (
        json.loads((base / "results/toy" / file).read_text(encoding="utf-8"))
        for file in ("shards/index.json", "network.json")
    )
    assert told["model"] == toy.config()["model"]
    assert told["weights_digest"] == network["weights_digest"]
    assert told["dataset_digest"] == index["digest"]
    assert told["labelsim"] == labelsim.__version__


def test_a_run_ends_with_what_its_summary_warns_of(copy, run):
    path = copy / "results/toy/summary.json"
    summary = read_document(path)
    warning = "Top-1 accuracy is 0.1 %"
    write_document(path, {**summary, "warning": warning})
    (copy / "results/toy/report/heatmaps/gap.png").unlink()
    outcome = run(copy)
    assert outcome.code == 0, outcome.output
    assert outcome.jobs == ["heatmap gap"]
    assert f"WARNING: {warning}" in outcome.output

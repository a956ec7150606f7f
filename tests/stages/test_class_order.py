"""moments and merge where neither rows nor classes come in the order of their names."""

import numpy as np
import pytest
from pyarrow import Table

from labelsim.dataset.classes import write_classes
from labelsim.dataset.sampling import folds
from labelsim.stages.merge import merge_shards
from labelsim.stages.moments import FOLDS, moments
from labelsim.storage.json_files import write_document
from labelsim.storage.moment_store import CLASSES_PER_CHUNK
from labelsim.storage.parquet import write_table
from labelsim.storage.zarr_store import Array, Writer, open_store

CLASSES = [str(number) for number in range(130)]
WIDTHS = {"gap": ("channel", 5), "hidden": ("unit", 3), "logits": ("output", 130)}
EMPTY, ALONE = 77, 3  # a class without images, and one with a single one

SHUFFLED = "images of all classes in every shard, in any order"
BY_NUMBER = "rows sorted by number"
BY_NAME = "rows sorted as text: 0, 1, 10, 100, 101, …"
OTHER_INDEX = "rows sorted as text, and so were the classes when the shards were extracted"


def write_shard(folder, name, labels, ids, values, index):
    """Write the features of a shard, and its table of rejects."""
    n = len(labels)
    arrays = {key: Array(("sample", dim), (n, width), "float32", (16, width)) for key, (dim, width) in WIDTHS.items()}
    arrays |= {key: Array(("sample",), (n,), "str", coordinate=True) for key in ("sample_id", "class_id")}
    arrays |= {"class_index": Array(("sample",), (n,), "int32", coordinate=True)}
    arrays |= {"layer": Array(("channel",), (5,), "str"), "layer_channel": Array(("channel",), (5,), "int32")}
    writer = Writer(folder / f"{name}.zarr", arrays, "")
    for key, block in values.items():
        writer.put_whole(key, block)
    writer.put_whole("sample_id", np.array(ids, dtype=object))
    writer.put_whole("class_id", np.array([CLASSES[label] for label in labels], dtype=object))
    writer.put_whole("class_index", index[labels])
    writer.put_whole("layer", np.array(["conv"] * 5, dtype=object))
    writer.put_whole("layer_channel", np.arange(5))
    writer.commit({"rejected": int(np.isnan(values["gap"]).any(axis=1).sum()), "underflow": {}, "computed_by": []})
    write_table(Table.from_pydict({"sample_id": [], "class_id": [], "reason": []}), folder / f"{name}.parquet")


@pytest.mark.parametrize("held", [None, CLASSES_PER_CHUNK], ids=["held together", "a block at a time"])
@pytest.mark.parametrize("order", [SHUFFLED, BY_NUMBER, BY_NAME, OTHER_INDEX])
def test_moments_are_numpys_whatever_the_order(tmp_path, monkeypatch, order, held):
    if held is not None:
        monkeypatch.setattr("labelsim.stages.moments._HELD", held * FOLDS * 2 * (5 + 3))
    random = np.random.default_rng(1)
    counts = random.integers(4, 9, len(CLASSES))
    counts[[EMPTY, ALONE]] = 0, 1
    labels = np.repeat(np.arange(len(CLASSES)), counts)
    ids = np.array([f"{CLASSES[label]}/{i}" for i, label in enumerate(labels)], dtype=object)
    by_name = np.argsort(np.argsort(CLASSES))  # the position of each class among the names as text
    rows = {
        SHUFFLED: random.permutation(len(labels)),
        BY_NUMBER: np.arange(len(labels)),
        BY_NAME: np.argsort(by_name[labels], kind="stable"),
    }
    rows[OTHER_INDEX] = rows[BY_NAME]
    labels, ids = labels[rows[order]], ids[rows[order]]
    values = {key: random.normal(1, 2, (len(labels), width)).astype(np.float32) for key, (_, width) in WIDTHS.items()}
    rejected = random.random(len(labels)) < 0.02
    for block in values.values():
        block[rejected] = np.nan
    index = by_name if order == OTHER_INDEX else np.arange(len(CLASSES))

    names = ["b", "a", "c"]
    for name, part in zip(names, np.array_split(np.arange(len(labels)), 3), strict=True):
        write_shard(tmp_path, name, labels[part], ids[part], {k: v[part] for k, v in values.items()}, index)
    write_classes(tmp_path, CLASSES, CLASSES)
    write_document(tmp_path / "index.json", {"digest": "", "images": len(labels)})
    write_document(tmp_path / "network.json", {"outputs": 130, "information": {"labels": None}})
    for name in names:
        store, network = tmp_path / f"{name}.zarr", tmp_path / "network.json"
        moments(store, network, tmp_path / "class_ids.json", "dataset", tmp_path / f"{name}-moments.zarr")
    parts = [tmp_path / f"{name}-moments.zarr" for name in names]
    rejects = [tmp_path / f"{name}.parquet" for name in names]
    merge_shards(parts, rejects, tmp_path / "index.json", 1.0, tmp_path / "moments.zarr")

    found = open_store(tmp_path / "moments.zarr")
    assert found["class_id"].values.tolist() == CLASSES
    fold = folds(ids.tolist(), FOLDS)
    for c in range(len(CLASSES)):
        mine = (labels == c) & ~rejected
        if c != EMPTY:
            best = np.argsort(-values["logits"][mine], axis=1, kind="stable")
            assert found["top1"].values[c] == (best[:, 0] == c).sum()
            assert found["top5"].values[c] == (best[:, :5] == c).sum()
        for f in range(FOLDS):
            members = mine & (fold == f)
            assert found["count"].values[f, c] == members.sum()
            for key in ("gap", "hidden"):
                sample = values[key][members].astype(np.float64)
                mean, m2 = (found[f"{key}_{moment}"].values[f, c] for moment in ("mean", "m2"))
                if not len(sample):
                    assert np.isnan(mean).all()
                    continue
                # A few float64 numbers of magnitude 1 to 10, summed in another order.
                np.testing.assert_allclose(mean, sample.mean(axis=0), rtol=0, atol=1e-13)
                np.testing.assert_allclose(m2, sample.var(axis=0) * len(sample), rtol=0, atol=1e-12)

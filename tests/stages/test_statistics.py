"""moments, merge, welch and similarity on features whose result is known."""

import json

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
from pyarrow import Table

from labelsim.dataset.classes import write_classes
from labelsim.errors import LabelsimError
from labelsim.stages.merge import merge_shards
from labelsim.stages.moments import moments
from labelsim.stages.similarity import similarities
from labelsim.stages.welch import welch_statistics
from labelsim.storage.json_files import text_of, with_digest, write_document
from labelsim.storage.parquet import write_table
from labelsim.storage.zarr_store import Array, Writer, open_store

CLASSES = ["a", "b", "c"]
CHANNELS = 1030  # more than a chunk of a store of moments holds
INFINITE = 1025


@pytest.fixture
def folder(tmp_path):
    """Two shards of 20 images in three classes, a description of their network and an index of the shards."""
    random = np.random.default_rng(3)
    labels = np.repeat([0, 1, 2], [7, 6, 7])
    gap = (random.normal(2, 1, (20, CHANNELS)) + labels[:, np.newaxis]).astype(np.float32)
    gap[:, INFINITE] = labels > 0  # constant in `a` and constant, but another, in the rest
    hidden = random.normal(1, 1, (20, 4)).astype(np.float32)
    logits = np.eye(3, dtype=np.float32)[[0, 0, 0, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 2]]
    np.savez(tmp_path / "whole.npz", gap=gap, hidden=hidden, labels=labels)
    for name, part in (("first", slice(0, 9)), ("second", slice(9, 20))):
        ids = np.array([CLASSES[label] for label in labels[part]], dtype=object)
        values = {"gap": gap[part], "hidden": hidden[part], "logits": logits[part]}
        dims = {"gap": "channel", "hidden": "unit", "logits": "output"}
        arrays = {
            key: Array(("sample", dims[key]), value.shape, "float32", (4, value.shape[1]))
            for key, value in values.items()
        }
        coordinates = {
            "sample_id": ("sample", np.array([f"{id_}/{part.start + i}" for i, id_ in enumerate(ids)], dtype=object)),
            "class_id": ("sample", ids),
            "layer": ("channel", np.array(["conv1"] * 1000 + ["conv2"] * 30, dtype=object)),
        }
        for key, (dim, labelling) in coordinates.items():
            arrays[key] = Array((dim,), labelling.shape, "str", coordinate=True)
        arrays["layer_channel"] = Array(("channel",), (CHANNELS,), "int32", coordinate=True)
        arrays["class_index"] = Array(("sample",), (len(ids),), "int32", coordinate=True)
        writer = Writer(tmp_path / f"{name}.zarr", arrays, identity="")
        for key, value in values.items():
            writer.put_whole(key, value)
        for key, (_, labelling) in coordinates.items():
            writer.put_whole(key, labelling)
        writer.put_whole("class_index", labels[part])
        writer.put_whole("layer_channel", np.concatenate([np.arange(1000), np.arange(30)]))
        writer.commit({"rejected": 0, "underflow": {}, "computed_by": []})
        write_table(Table.from_pydict({"sample_id": [], "class_id": [], "reason": []}), tmp_path / f"{name}.parquet")
    write_document(tmp_path / "network.json", {"outputs": 3, "information": {"labels": None}})
    write_classes(tmp_path, CLASSES, [id_.upper() for id_ in CLASSES])
    write_document(tmp_path / "index.json", {"digest": "digest", "images": 20})
    return tmp_path


def merged(folder, classes="dataset", limit=0.0):
    for name in ("first", "second"):
        ids = folder / "class_ids.json" if classes == "dataset" else None
        moments(folder / f"{name}.zarr", folder / "network.json", ids, classes, folder / f"{name}-moments.zarr")
    parts = [folder / f"{name}-moments.zarr" for name in ("first", "second")]
    rejects = [folder / f"{name}.parquet" for name in ("first", "second")]
    merge_shards(parts, rejects, folder / "index.json", limit, folder / "moments.zarr")
    return open_store(folder / "moments.zarr")


def test_rows_that_are_empty_for_no_reason_are_never_averaged(folder):
    store = folder / "first.zarr"
    root = json.loads((store / "zarr.json").read_text(encoding="utf-8"))
    root["attributes"] = with_digest({**root["attributes"], "rejected": 1}, "digest")
    (store / "zarr.json").write_text(text_of(root), encoding="utf-8")
    with pytest.raises(LabelsimError, match=r"first\.zarr is damaged: 0 .* 1 "):
        merged(folder)


@pytest.mark.parametrize("name", ["gap/c/1/0", "hidden/c/1/0", "logits/c/0/0", "class_id/c/0", "sample_id/c/0"])
def test_a_chunk_that_is_lost_while_it_is_read_is_never_averaged(folder, name, monkeypatch):
    store = folder / "first.zarr"

    def lost(path):
        dataset = open_store(path)
        (path / name).unlink(missing_ok=True)
        return dataset

    monkeypatch.setattr("labelsim.stages.moments.open_store", lost)
    with pytest.raises(LabelsimError, match=f"{store} is damaged: {name} is missing"):
        moments(store, folder / "network.json", None, "auto", folder / "first-moments.zarr")
    assert not (folder / "first-moments.zarr" / "zarr.json").exists()  # it was never committed


def test_right_answers(folder):
    dataset = merged(folder)
    assert dataset["top1"].values.tolist() == [5, 6, 1]
    assert dataset["top5"].values.tolist() == [7, 6, 7]  # there are three outputs
    assert dataset["count"].values.sum(axis=0).tolist() == [7, 6, 7]


def test_right_answers_are_unknown_where_outputs_have_no_labels(folder):
    dataset = merged(folder, classes="auto")
    assert dataset["top1"].values.tolist() == dataset["top5"].values.tolist() == [-1, -1, -1]


def test_outputs_labelled_by_a_table(folder):
    table = folder / "outputs.csv"
    table.write_text("class_id,name\nb,B\nx,X\na,A\n", encoding="utf-8")
    # Output 0 stands for b, output 2 for a, none for c.
    dataset = merged(folder, classes=str(table))
    assert dataset["top1"].values.tolist() == [1, 0, -1]
    assert dataset["top5"].values.tolist() == [7, 6, -1]


def test_labels_must_be_as_many_as_outputs(folder):
    write_classes(folder, [*CLASSES, "d"], [*CLASSES, "d"])
    with pytest.raises(LabelsimError, match=r"^model\.classes: dataset .*\b4 .*\b3 "):
        merged(folder)


def test_a_channel_of_which_some_t_is_infinite_is_left_out_of_every_class(folder):
    merged(folder)
    welch_statistics(folder / "moments.zarr", folder / "welch.zarr")
    groups = {"early": ["conv1"], "late": ["conv2"]}
    output = folder / "similarity.zarr"
    similarities({name: folder / f"{name}.zarr" for name in ("moments", "welch")}, ["welch", "gap"], groups, output)
    whole = np.load(folder / "whole.npz")
    finite = np.arange(CHANNELS) != INFINITE
    gap, labels = whole["gap"].astype(np.float64), whole["labels"]
    t = np.array(
        [
            scipy.stats.ttest_ind(gap[labels == c][:, finite], gap[labels != c][:, finite], equal_var=False).statistic
            for c in range(3)
        ]
    )
    welch = open_store(folder / "welch.zarr")
    assert welch["t"].values[:, INFINITE].tolist()[0] == -np.inf
    assert np.isfinite(welch["t"].values[1:]).all()
    # Both are float64; what differs is the order in which sums are taken.
    np.testing.assert_allclose(welch["t"].values[:, finite], t, rtol=1e-9)
    np.testing.assert_array_equal(welch["usable"], finite)
    found = open_store(output)
    assert found.attrs["excluded_channels"] == {"all": 1, "early": 0, "late": 1}
    assert "hidden" not in found
    means = np.array([gap[labels == c].mean(axis=0) for c in range(3)])
    late = np.arange(CHANNELS)[finite] >= 1000
    for g, (t_part, mean_part) in enumerate(
        [(t, means), (t[:, ~late], means[:, :1000]), (t[:, late], means[:, 1000:])]
    ):
        for method, vectors in (("welch", t_part), ("gap", mean_part)):
            cosine = 1 - scipy.spatial.distance.cdist(vectors, vectors, "cosine")
            np.testing.assert_allclose(found[method][g], cosine, atol=1e-6)  # stored in float32


def test_layer_group_that_matches_nothing(folder):
    merged(folder)
    welch_statistics(folder / "moments.zarr", folder / "welch.zarr")
    with pytest.raises(LabelsimError, match=r"^similarity\.layer_groups\.late: 'conv\[3\]'.*conv2"):
        similarities({"moments": folder / "moments.zarr"}, ["gap"], {"late": ["conv[3]"]}, folder / "out.zarr")


def reject(folder, number: int) -> list[str]:
    """Record so many unusable images of the class b in the second shard; their ids."""
    ids = [f"b/{i}" for i in range(number)]
    rows = {"sample_id": ids, "class_id": ["b"] * number, "reason": ["empty file", "too large"] * 10}
    write_table(Table.from_pydict({key: column[:number] for key, column in rows.items()}), folder / "second.parquet")
    return ids


def test_rejects_up_to_the_limit_are_allowed(folder):
    reject(folder, 12)
    assert merged(folder, limit=0.6)["rejected"].values.tolist() == [0, 12, 0]
    with pytest.raises(
        LabelsimError, match=r"12 of 20 images \(60\.0%\).*extract\.max_reject_fraction.*59\.0%"
    ) as caught:
        merged(folder, limit=0.59)
    assert "6: empty file" in str(caught.value)
    reject(folder, 11)
    with pytest.raises(LabelsimError, match="11 of 20 images"):
        merged(folder, limit=0.01)


def test_a_few_rejects_end_no_run_and_are_named(folder, caplog):
    ids = reject(folder, 10)
    with caplog.at_level("WARNING"):
        merged(folder, limit=0.01)
    (warning,) = [record.getMessage() for record in caplog.records]
    assert all(f"{id_}: " in warning for id_ in ids)
    with pytest.raises(LabelsimError, match=r"10 of 20 images") as caught:
        merged(folder, limit=0)
    assert all(f"{id_}: " in str(caught.value) for id_ in ids)
    write_document(folder / "index.json", {"digest": "digest", "images": 10})
    with pytest.raises(LabelsimError, match=r"10 of 10 images"):  # none is left
        merged(folder, limit=0.01)


def test_a_damaged_store_is_named(folder):
    chunk = folder / "second.zarr" / "gap" / "c" / "1" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(LabelsimError, match=r"second\.zarr is damaged"):
        merged(folder)


def test_similarities_in_blocks_of_rows_are_those_of_the_whole(folder, monkeypatch):
    merged(folder)
    welch_statistics(folder / "moments.zarr", folder / "welch.zarr")
    monkeypatch.setattr("labelsim.stages.similarity._ROWS", 1)
    for name, values in (("whole", 2**26), ("rows", 1)):
        monkeypatch.setattr("labelsim.stages.similarity._VALUES", values)
        output = folder / f"{name}.zarr"
        similarities(
            {name: folder / f"{name}.zarr" for name in ("moments", "welch")}, ["welch", "hidden", "gap"], {}, output
        )
    whole, rows = open_store(folder / "whole.zarr"), open_store(folder / "rows.zarr")
    for method in ("welch", "hidden", "gap"):
        # Sums in another order; both are stored as float32.
        np.testing.assert_allclose(rows[method], whole[method], atol=1e-7)

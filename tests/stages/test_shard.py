import json
import re

import numpy as np
import pyarrow as pa
import pytest
import toy
from pyarrow import parquet

from labelsim.config import load
from labelsim.dataset.class_index import read_classes
from labelsim.errors import LabelsimError
from labelsim.stages.scan import scan
from labelsim.stages.shard import shard
from labelsim.storage.json_files import read_document, write_document
from labelsim.storage.parquet import write_table


@pytest.fixture
def sharded(tmp_path):
    """Scan and cut the images that there are; return the index."""
    toy.write_images(tmp_path / "images")
    dataset = load(toy.config())["dataset"] | {"source": str(tmp_path / "images")}

    def sharded(names="auto", images_per_shard=60, **checked):
        scan(dataset, tmp_path / "manifest.parquet")
        index = tmp_path / "shards" / "index.json"
        shard(tmp_path / "manifest.parquet", images_per_shard, names, index, **checked)
        return json.loads(index.read_text(encoding="utf-8"))

    return sharded


def test_shards_hold_the_manifest_in_its_order(sharded, tmp_path):
    index = sharded()
    tables = [parquet.read_table(tmp_path / "shards" / f"{entry['name']}.parquet") for entry in index["shards"]]
    manifest = parquet.read_table(tmp_path / "manifest.parquet")
    assert pa.concat_tables(tables).equals(manifest.replace_schema_metadata(None))
    assert [entry["images"] for entry in index["shards"]] == [len(table) for table in tables]
    assert index["images"] == len(manifest)
    ids, names = read_classes(tmp_path / "shards")
    assert ids == sorted([*toy.CLASSES, toy.ALONE, toy.EMPTY])
    assert len(ids) == index["classes"] == len(names)


def test_a_small_dataset_is_one_shard_if_shards_are_automatic(sharded, caplog):
    caplog.set_level("INFO")
    index = sharded(images_per_shard="auto")
    assert [entry["images"] for entry in index["shards"]] == [index["images"]]
    assert "16,384 images" in caplog.text


def test_shards_that_are_there_are_not_written_again(sharded, tmp_path):
    def times():
        return {path.name: path.stat().st_mtime_ns for path in (tmp_path / "shards").glob("*.parquet")}

    before = sharded()
    then = times()
    assert len(then) == len(before["shards"])
    assert sharded() == before
    toy.write_image(tmp_path / "images" / "owl" / "new.png", np.array([9, 9, 9]), np.random.default_rng(2))
    after = sharded()
    assert after["digest"] != before["digest"]
    assert times().items() >= then.items()
    assert 1 <= len(times()) - len(then) <= 2


def test_what_snakemake_compares_stays_small_with_many_classes(tmp_path):
    ids = [f"a class with a rather long name, as folders may have them, {i:05d}" for i in range(21_841)][::-1]
    rows = pa.table(
        {
            "sample_id": pa.array([f"{id_}/x" for id_ in sorted(ids)], pa.string()),
            "class_index": pa.array(range(21_840, -1, -1), pa.int32()),
            "class_id": pa.array(sorted(ids), pa.string()),
            "path": pa.array([f"{id_}/x" for id_ in sorted(ids)], pa.string()),
            "offset": pa.nulls(21_841, pa.int64()),
            "bytes": pa.array([1] * 21_841, pa.int64()),
        }
    )
    write_table(rows, tmp_path / "manifest.parquet", {"classes": ids, "format": "folder"})
    index = tmp_path / "shards" / "index.json"
    shard(tmp_path / "manifest.parquet", 100, "auto", index)
    assert read_classes(index.parent) == (ids, ids)
    assert len(read_document(index)["shards"]) > 100
    assert index.stat().st_size < 100_000  # Snakemake compares 1 MB
    assert index.with_name("class_ids.json").stat().st_size < 1000


def test_names_of_a_table(sharded, tmp_path):
    (tmp_path / "names.csv").write_text("class_id,name\nowl,Eule\n", encoding="utf-8")
    before, index = sharded(), sharded(str(tmp_path / "names.csv"))
    names = dict(zip(*read_classes(tmp_path / "shards"), strict=True))
    assert index["names"] != before["names"]
    assert (names["owl"], names["n01440764"], names["plum"]) == ("Eule", "tench", "plum")
    assert index["shards"] == before["shards"]


def test_a_damaged_shard_is_written_again(sharded, tmp_path):
    first, second, *_ = (tmp_path / "shards" / f"{entry['name']}.parquet" for entry in sharded()["shards"])
    whole = first.read_bytes()
    for data in (whole[: len(whole) // 2], second.read_bytes()):
        first.write_bytes(data)
        sharded()
        assert first.read_bytes() == whole


def test_classes_that_can_be_drawn_change_nothing(sharded):
    before = sharded()
    assert sharded(drawn=["tench", "n01443537", "Fox", "PLUM"]) == before


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("plumm", "report.classes: no class is called 'plumm'; did you mean: plum?"),
        ("pl", "report.classes: 'pl' may mean 2 classes; give the id of one: airplane [airplane], plum [plum]"),
    ],
)
def test_a_class_that_cannot_be_drawn_stops_before_any_shard(sharded, tmp_path, label, message):
    with pytest.raises(LabelsimError, match=f"^{re.escape(message)}$"):
        sharded(drawn=["tench", label])
    assert not (tmp_path / "shards").exists()


@pytest.fixture
def network(tmp_path):
    """Write what the stage `network` may have found."""

    def network(outputs, labels=None):
        write_document(tmp_path / "network.json", {"outputs": outputs, "information": {"labels": labels}})
        return tmp_path / "network.json"

    return network


def test_more_outputs_than_classes_stop_before_any_shard(sharded, network, tmp_path):
    message = "model.classes: dataset gives 13 classes, but the network has 12 outputs; expected one for each"
    with pytest.raises(LabelsimError, match=message):
        sharded(network=network(12), outputs="dataset")
    assert not (tmp_path / "shards").exists()
    assert sharded(network=network(13), outputs="dataset") == sharded()


@pytest.mark.parametrize(
    ("labels", "told"), [(None, False), (["n01440764", "x"], False), (["n01440763", "x"], True), (["tench", "x"], True)]
)
def test_classes_of_which_none_has_an_output_are_told(sharded, network, caplog, labels, told):
    sharded(network=network(2, labels))
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    expected = (
        "No output of the network stands for a class of the dataset: the outputs are "
        f"{(labels or [''])[0]!r} and so on, the classes 'Große Katze' and so on.\n"
        "Accuracies will not be known. If some mean the same, let model.classes say so."
    )
    assert warnings == [expected] * told

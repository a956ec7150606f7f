import json

import numpy as np
import pyarrow as pa
import pytest
import toy
from pyarrow import parquet

from labelsim.config import load
from labelsim.dataset.classes import read_classes
from labelsim.stages.scan import scan
from labelsim.stages.shard import shard
from labelsim.storage.json_files import read_document
from labelsim.storage.parquet import write_table


@pytest.fixture
def sharded(tmp_path):
    """Scan and cut the images that there are; return the index."""
    toy.write_images(tmp_path / "images")
    dataset = load(toy.config())["dataset"] | {"source": str(tmp_path / "images")}

    def sharded(names="auto", images_per_shard=60):
        scan(dataset, tmp_path / "manifest.parquet")
        index = tmp_path / "shards" / "index.json"
        shard(tmp_path / "manifest.parquet", images_per_shard, names, index)
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

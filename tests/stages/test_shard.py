import json

import numpy as np
import pyarrow as pa
import pytest
import toy
from pyarrow import parquet

from labelsim.config import load
from labelsim.documents import read_document
from labelsim.stages.scan import scan
from labelsim.stages.shard import shard


@pytest.fixture
def sharded(tmp_path):
    """Scan and cut the images that there are; return the index."""
    toy.write_images(tmp_path / "images")
    dataset = load(toy.config())["dataset"] | {"source": str(tmp_path / "images")}

    def sharded(names="auto"):
        scan(dataset, tmp_path / "manifest.parquet")
        index = tmp_path / "shards" / "index.json"
        shard(tmp_path / "manifest.parquet", 60, names, index, index.with_name("classes.json"))
        return json.loads(index.read_text(encoding="utf-8"))

    return sharded


def test_shards_hold_the_manifest_in_its_order(sharded, tmp_path):
    index = sharded()
    tables = [parquet.read_table(tmp_path / "shards" / f"{entry['name']}.parquet") for entry in index["shards"]]
    manifest = parquet.read_table(tmp_path / "manifest.parquet")
    assert pa.concat_tables(tables).equals(manifest.replace_schema_metadata(None))
    assert [entry["images"] for entry in index["shards"]] == [len(table) for table in tables]
    assert index["images"] == len(manifest)
    for entry, table in zip(index["shards"], tables, strict=True):
        indices = table["class_index"].to_pylist()
        assert (entry["first"], entry["last"]) == (indices[0], indices[-1])
    ids = read_document(tmp_path / "shards" / "classes.json")["classes"]
    assert ids == [entry["id"] for entry in index["classes"]] == sorted([*toy.CLASSES, toy.ALONE, toy.EMPTY])


def test_shards_that_are_there_are_not_written_again(sharded, tmp_path):
    before = sharded()
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "shards").glob("*.parquet")}
    assert sharded() == before
    toy.write_image(tmp_path / "images" / "owl" / "new.png", np.array([9, 9, 9]), np.random.default_rng(2))
    after = sharded()
    assert after["digest"] != before["digest"]
    now = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "shards").glob("*.parquet")}
    assert now.items() >= times.items()
    assert 1 <= len(now) - len(times) <= 2


def test_names_of_a_table(sharded, tmp_path):
    (tmp_path / "names.csv").write_text("class_id,name\nowl,Eule\n", encoding="utf-8")
    before, index = sharded(), sharded(str(tmp_path / "names.csv"))
    names = {entry["id"]: entry["name"] for entry in index["classes"]}
    assert (names["owl"], names["n01440764"], names["plum"]) == ("Eule", "tench", "plum")
    assert index["shards"] == before["shards"]


def test_a_damaged_shard_is_written_again(sharded, tmp_path):
    first, second, *_ = (tmp_path / "shards" / f"{entry['name']}.parquet" for entry in sharded()["shards"])
    whole = first.read_bytes()
    for data in (whole[: len(whole) // 2], second.read_bytes()):
        first.write_bytes(data)
        sharded()
        assert first.read_bytes() == whole

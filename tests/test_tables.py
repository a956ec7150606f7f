import os

import pyarrow as pa
import pytest
from pyarrow import parquet

from labelsim.errors import LabelsimError
from labelsim.tables import read_metadata, read_table, write_table

TABLE = pa.table({"name": ["é", "日本", None], "rank": pa.array([1, 2, 3], pa.int32())})


def test_a_table_comes_back_with_its_metadata(tmp_path):
    path = tmp_path / "new folder" / "a.parquet"
    write_table(TABLE, path, {"model": "é", "k": [1, None]})
    table = read_table(path)
    assert table.equals(TABLE)
    assert read_metadata(table) == {"k": [1, None], "model": "é"}
    assert [file.name for file in path.parent.iterdir()] == ["a.parquet"]


def test_metadata_stand_under_one_key_of_the_file(tmp_path):
    write_table(TABLE, tmp_path / "a.parquet", {"b": "é", "a": 1})
    assert parquet.read_schema(tmp_path / "a.parquet").metadata == {b"labelsim": '{"a": 1, "b": "é"}'.encode()}


def test_without_new_metadata_a_table_keeps_its_own(tmp_path):
    write_table(TABLE, tmp_path / "a.parquet", {"a": 1})
    write_table(read_table(tmp_path / "a.parquet").slice(1), tmp_path / "b.parquet")
    assert read_metadata(read_table(tmp_path / "b.parquet")) == {"a": 1}


def test_equal_tables_give_equal_files(tmp_path):
    for name, metadata in (("a", {"a": 1, "b": 2}), ("b", {"b": 2, "a": 1})):
        write_table(TABLE, tmp_path / name, metadata)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_table_replaces_the_file_and_is_not_written_into_it(tmp_path):
    path, link = tmp_path / "a.parquet", tmp_path / "link.parquet"
    write_table(TABLE, path, {})
    os.link(path, link)  # whoever has the old file open keeps reading the old file
    write_table(TABLE.slice(2), path, {})
    assert len(read_table(link)) == 3
    assert len(read_table(path)) == 1


def test_a_table_that_cannot_be_written_leaves_the_old_file(tmp_path):
    write_table(TABLE, tmp_path / "a.parquet", {"a": 1})
    for table, metadata in ((TABLE, {"a": object()}), ("no table", None)):
        with pytest.raises((TypeError, AttributeError)):
            write_table(table, tmp_path / "a.parquet", metadata)
    assert read_metadata(read_table(tmp_path / "a.parquet")) == {"a": 1}


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(LabelsimError, match=r"does not exist.\nRun the workflow") as caught:
        read_table(tmp_path / "a.parquet")
    assert str(tmp_path / "a.parquet") in str(caught.value)


@pytest.mark.parametrize("size", [0, 3, 100, -1])
def test_a_damaged_table_is_named(tmp_path, size):
    path = tmp_path / "a.parquet"
    write_table(TABLE, path, {})
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(LabelsimError, match=r"is damaged .*\nDelete it, and make it anew: snakemake ") as caught:
        read_table(path)
    assert str(path) in str(caught.value)

import os
from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import parquet

from labelsim.errors import LabelsimError
from labelsim.storage.parquet import read_metadata, read_table, write_table

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
    with pytest.raises(LabelsimError, match="does not exist") as caught:
        read_table(tmp_path / "a.parquet")
    assert str(tmp_path / "a.parquet") in str(caught.value)


def changed(path: Path, data: bytes) -> str:
    """What is said of a table whose file holds something else."""
    path.write_bytes(data)
    with pytest.raises(LabelsimError) as caught:
        read_table(path)
    return str(caught.value)


def test_a_table_in_which_anything_changed_is_named(tmp_path):
    path = tmp_path / "results" / "toy" / "a.parquet"
    write_table(TABLE, path, {"a": 1})
    whole = path.read_bytes()
    broken = [whole[:size] for size in range(len(whole))] + [whole + b"\0", b"\0" + whole, bytes(len(whole)), whole * 2]
    for position in range(len(whole)):
        broken += [whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1 :] for bit in range(8)]
    for data in broken:
        message = changed(path, data)
        assert message.startswith(f"{path} is damaged: ")
        assert message.endswith("snakemake [your options] --force results/toy/a.parquet")


def test_a_table_that_was_written_by_another_hand_is_named(tmp_path):
    write_table(TABLE, tmp_path / "a.parquet", {"a": 1})
    parquet.write_table(read_table(tmp_path / "a.parquet"), tmp_path / "b.parquet")
    message = changed(tmp_path / "c.parquet", (tmp_path / "b.parquet").read_bytes())
    assert "another version of labelsim" in message


def test_a_table_read_by_another_hand_can_be_written(tmp_path):
    write_table(TABLE, tmp_path / "a.parquet", {"a": 1})
    write_table(parquet.read_table(tmp_path / "a.parquet"), tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize(
    "table",
    [
        pa.table({}),
        pa.table({"name": pa.array([], pa.string())}),
        pa.table({"t": [1.0, float("nan"), None], "name": ["PAR1"] * 3}),
        pa.concat_tables([TABLE, TABLE]),
    ],
    ids=["nothing", "no rows", "the format's mark in the data", "several chunks"],
)
@pytest.mark.parametrize("metadata", [None, {}, {"note": "PAR1"}])
def test_any_table_comes_back(tmp_path, table, metadata):
    write_table(table, tmp_path / "a.parquet", metadata)
    found = read_table(tmp_path / "a.parquet")
    assert found.schema.equals(table.schema)
    assert str(found.to_pydict()) == str(table.to_pydict())  # as text, NaN equals NaN
    if metadata is not None:
        assert read_metadata(found) == metadata


def test_other_libraries_read_the_same_table(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"name": [f"é{i % 7}" for i in range(5000)], "t": [i / 3 for i in range(5000)]})
    write_table(table, path, {"a": 1})
    assert parquet.read_table(path, page_checksum_verification=True).equals(table)
    assert pl.read_parquet(path).to_dict(as_series=False) == table.to_pydict()
    assert pd.read_parquet(path).to_dict("list") == table.to_pydict()
    # Filters use the statistics and the pages' places, which the footer holds.
    assert pl.scan_parquet(path).filter(pl.col("t") > 1600).collect().height == 199
    assert duckdb.sql(f"SELECT count(*) FROM '{path}' WHERE t > 1600").fetchall() == [(199,)]


def test_other_readers_can_verify_the_pages(tmp_path):
    write_table(TABLE, tmp_path / "a.parquet", {})
    whole = bytearray((tmp_path / "a.parquet").read_bytes())
    whole[whole.index("日本".encode())] ^= 1
    with pytest.raises(OSError, match="CRC"):
        parquet.read_table(pa.BufferReader(bytes(whole)), page_checksum_verification=True)

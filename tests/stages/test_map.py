import matrices
import numpy as np
import pyarrow as pa

from labelsim.stages.map import maps
from labelsim.storage.digests import file_digest
from labelsim.storage.parquet import read_metadata, read_table, write_table


def test_both_tables_say_what_they_are_made_from(tmp_path):
    similarity, neighbors, output, tree = (
        tmp_path / name for name in ("s.zarr", "n.parquet", "map.parquet", "t.parquet")
    )
    matrices.write(similarity, ["c", "a", "b"], {"hidden": matrices.symmetric(np.random.default_rng(0), 3)})
    rows = pa.table({"method": ["hidden"] * 3, "group": ["all"] * 3, "class_index": pa.array([0, 1, 2], pa.int32())})
    write_table(rows, neighbors, {"model": {"name": "some"}})
    maps(similarity, neighbors, output, tree)
    expected = {"model": {"name": "some"}, "neighbors_digest": file_digest(neighbors)}
    for path, length in ((output, 3), (tree, 2)):
        table = read_table(path)
        assert read_metadata(table) == expected
        assert len(table) == length
    contents = output.read_bytes()
    maps(similarity, neighbors, output, tree)
    assert output.read_bytes() == contents

"""How the work is cut changes no result."""

from pathlib import Path

import numpy as np
import pytest
import toy
from pyarrow import parquet
from stagewise import run_stages

from labelsim.config import load
from labelsim.run import Paths


# Workers are forked, which Python 3.12 warns of where there are threads.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    ("shards", "images_per_shard", "batch_size", "workers", "rows_per_chunk"), [(1, 300, 7, 2, 50), (None, 8, 64, 0, 1)]
)
def test_results_do_not_depend_on_how_the_work_is_cut(
    base, tmp_path, monkeypatch, shards, images_per_shard, batch_size, workers, rows_per_chunk
):
    for name in ("images", "network.py"):
        (tmp_path / name).symlink_to(base / name)
    monkeypatch.chdir(tmp_path)
    config = load(toy.config())
    config["extract"] |= {"images_per_shard": images_per_shard, "batch_size": batch_size, "workers": workers}
    config["store"]["rows_per_chunk"] = rows_per_chunk
    found = run_stages(config)
    expected = Paths(str(base / "results/toy"))
    count = len(list(Path(found.root).glob("features/*.zarr")))
    assert count == shards if shards else count > 15
    table, other = (parquet.read_table(run.neighbors) for run in (expected, found))
    assert table.drop_columns("similarity").equals(other.drop_columns("similarity"))
    # Asked for; a batch of another size is summed in another order, in float32.
    np.testing.assert_allclose(table["similarity"], other["similarity"], rtol=0, atol=1e-5)
    assert parquet.read_table(expected.classes).equals(parquet.read_table(found.classes))

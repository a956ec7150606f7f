"""What is asked for by a plain name."""

import small
from small import each, since


def test_features_and_then_tables_of_a_new_run(tmp_path, run):
    folder = small.write(tmp_path / "new")
    results = folder / "results/small"
    outcome = run(folder, "features")
    assert outcome.code == 0, outcome.output
    shards = {path.stem for path in results.glob("shards/*.parquet")}
    assert len(shards) >= 2
    assert outcome.jobs == sorted(["scan", "network", "shard", "preflight", *each(shards, "extract")])
    assert {path.parent.stem for path in results.glob("features/*.zarr/zarr.json")} == shards
    assert not (results / "moments").exists()

    outcome = run(folder, "tables")
    assert outcome.code == 0, outcome.output
    tables = [job for job in since("merge") if not job.startswith(("heatmap", "class_figure"))]
    assert outcome.jobs == sorted([*each(shards, "moments"), *tables])
    assert all((results / name).exists() for name in ("neighbors.parquet", "classes.parquet", "summary.json"))

    outcome = run(folder)
    assert outcome.code == 0, outcome.output
    assert outcome.jobs == ["class_figure bee", "heatmap welch"]

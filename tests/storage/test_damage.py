from pathlib import Path

import pytest

from labelsim.storage.damage import absent, command, damaged


@pytest.mark.parametrize(
    ("file", "target"),
    [
        ("manifest.parquet", "manifest.parquet"),
        ("network.json", "network.json"),
        ("shards/classes.json", "shards/index.json"),
        ("shards/1a.parquet", "shards/index.json"),
        ("features/1a.zarr", "features/1a.zarr/zarr.json"),
        ("features/1a.zarr/gap/c/0/0", "features/1a.zarr/zarr.json"),
        ("features/1a.zarr/gap/zarr.json", "features/1a.zarr/zarr.json"),
        ("features/1a.rejects.parquet", "features/1a.rejects.parquet"),
        ("report/heatmaps/gap.png", "report/heatmaps/gap.png"),
    ],
)
def test_the_command_asks_for_what_the_workflow_knows(file, target, tmp_path, monkeypatch):
    expected = f"snakemake [your options] --force results/toy/{target}"
    assert command([Path("results/toy", file)]) == expected
    assert command([tmp_path / "results/old/results/toy" / file]) == expected
    folder = tmp_path / "results" / "toy" / "shards"
    folder.mkdir(parents=True)
    for here, there in (("..", "toy"), (".", "."), ("shards", "..")):
        monkeypatch.chdir(folder.parent / here)
        assert command([Path(there, file)]) == expected


def test_a_run_that_lies_elsewhere_is_named_as_it_is():
    assert command([Path("/data/toy/network.json")]) == "snakemake [your options] --force /data/toy/network.json"


def test_a_command_names_a_target_once():
    paths = [Path("results/toy", name) for name in ("shards/a.parquet", "shards/index.json", "network.json")]
    targets = "results/toy/shards/index.json results/toy/network.json"
    assert command(paths) == f"snakemake [your options] --force {targets}"


def test_messages():
    path = Path("results/toy/welch.zarr")
    remedy = "snakemake [your options] --force results/toy/welch.zarr/zarr.json"
    assert str(damaged(path, "why")) == f"{path} is damaged: why.\nMake it anew: {remedy}"
    assert str(absent(path)) == (
        f"{path} does not exist.\nRun the workflow to its end first; if it has ended, make this anew: {remedy}"
    )

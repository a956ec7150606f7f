import re
from pathlib import Path

import pytest

from labelsim.errors import LabelsimError
from labelsim.storage.damage import command, damaged, missing, read_bytes
from labelsim.storage.digests import file_digest


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


@pytest.mark.parametrize(
    "error", [damaged(Path("results/toy/welch.zarr"), "why"), missing(Path("results/toy/welch.zarr"))]
)
def test_an_error_names_the_file_and_the_command(error):
    assert str(error).startswith("results/toy/welch.zarr ")
    assert str(error).endswith(" snakemake [your options] --force results/toy/welch.zarr/zarr.json")


@pytest.mark.parametrize("read", [read_bytes, file_digest])
def test_a_file_that_cannot_be_read_is_named(tmp_path, read):
    # Root may read any file, but nobody reads a folder, or a link to itself.
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("link")
    for name in ("folder", "link"):
        with pytest.raises(LabelsimError, match=re.escape(str(tmp_path / name))):
            read(tmp_path / name)


def test_a_missing_file_has_a_digest_of_its_own(tmp_path):
    (tmp_path / "file").touch()
    assert file_digest(tmp_path / "nowhere") == file_digest(tmp_path / "file" / "below") == "missing"

"""What the stages before `extract` left, made by the stages themselves."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest
import toy

from labelsim.config import load
from labelsim.stages.extract import extract
from labelsim.stages.network import network
from labelsim.stages.scan import scan
from labelsim.stages.shard import shard


class Job(NamedTuple):
    """The files of one job of `extract`."""

    shard: Path
    network: Path
    store: Path
    rejects: Path
    stats: Path

    def run(self, config, code="code") -> dict:
        """Extract in this process, in the current folder; return the statistics."""
        extract(*self, config, code, threads=1)
        return json.loads(self.stats.read_text(encoding="utf-8"))


@pytest.fixture
def config():
    config = load(toy.config())
    config["extract"] |= {"images_per_shard": 300, "batch_size": 4}
    config["store"]["rows_per_chunk"] = 4
    return config


@pytest.fixture
def job(tmp_path, monkeypatch, config):
    """A job of `extract` with all images in one shard, in the current folder."""
    toy.write_images(tmp_path / "images")
    toy.write_network(tmp_path / "network.py")
    monkeypatch.chdir(tmp_path)
    return prepare("job", config)


@pytest.fixture
def prepared():
    return prepare


def prepare(name: str, config: dict) -> Job:
    """Run the stages before `extract` in the current folder, into a folder of this name."""
    folder = Path(name)
    scan(config["dataset"], folder / "manifest.parquet")
    shard(folder / "manifest.parquet", 300, "auto", folder / "index.json")
    network(config["model"], config["probe"], "{}", folder / "network.json")
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    (entry,) = index["shards"]
    store = folder / f"{entry['name']}.zarr"
    return Job(
        folder / f"{entry['name']}.parquet",
        folder / "network.json",
        store,
        store.with_suffix(".rejects.parquet"),
        store.with_suffix(".stats.json"),
    )

"""Runs of the workflow that tests share."""

import json
import os
import shutil
from pathlib import Path
from types import ModuleType

import pytest
import small
import toy
import yaml
from workflows import REPOSITORY, snakemake, started

from labelsim.storage.locks import lock


@pytest.fixture(scope="session")
def run():
    return snakemake


@pytest.fixture(scope="session")
def start():
    return started


def finished(dataset: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the workflow ran once; not to be changed. The workers of pytest-xdist share it."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder = root / dataset.__name__
    with lock(root / f"{dataset.__name__}.lock", "the finished run"):
        if not (folder / "output.log").exists():
            shutil.rmtree(folder, ignore_errors=True)
            outcome = snakemake(dataset.write(folder))
            assert outcome.code == 0, outcome.output
            (folder / "output.log").write_text(outcome.output, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    return finished(toy, tmp_path_factory)


@pytest.fixture
def copy(base, tmp_path):
    """A copy of `base`, file times included, to change and run again."""
    return shutil.copytree(base, tmp_path / "copy")


@pytest.fixture(scope="session")
def small_base(tmp_path_factory):
    return finished(small, tmp_path_factory)


class Rerun:
    """A copy of a finished run of the small dataset: change something, and see what runs again.

    Attributes
    ----------
    folder : Path
        Where Snakemake runs.
    repository : Path
        Whose Snakefile and package it runs.
    """

    def __init__(self, base: Path, folder: Path) -> None:
        self.folder = shutil.copytree(base, folder)
        self.repository = REPOSITORY

    def configure(self, key: str, value: object) -> None:
        """Set a key of the configuration."""
        section, name = key.split(".")
        config = yaml.safe_load((self.folder / "config.yaml").read_text(encoding="utf-8"))
        config.setdefault(section, {})[name] = value
        small.write_config(self.folder, config)

    def shards(self) -> set[str]:
        """Names of the shards."""
        index = json.loads((self.folder / "results/small/shards/index.json").read_text(encoding="utf-8"))
        return {shard["name"] for shard in index["shards"]}

    def jobs(self, *options: str) -> list[str]:
        """Run to the end and see that one more run would find nothing to do: the jobs that ran."""
        outcome = snakemake(self.folder, *options, repository=self.repository)
        assert outcome.code == 0, outcome.output
        again = snakemake(self.folder, "--dry-run", repository=self.repository)
        assert "Nothing to be done" in again.output, again.output
        assert again.jobs == []
        return outcome.jobs

    def planned(self) -> list[str]:
        """The jobs that a run would start now; those after a checkpoint that runs are not known yet."""
        outcome = snakemake(self.folder, "--dry-run", repository=self.repository)
        assert outcome.code == 0, outcome.output
        return outcome.jobs

    def begun(self, *options: str) -> list[str]:
        """Run the checkpoints: the jobs of a run, those that ran and those that would follow."""
        outcome = snakemake(self.folder, "--until", "preflight", *options, repository=self.repository)
        assert outcome.code == 0, outcome.output
        return sorted([*outcome.jobs, *self.planned()])


@pytest.fixture
def rerun(small_base, tmp_path):
    return Rerun(small_base, tmp_path / "copy")

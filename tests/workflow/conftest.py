"""Runs of the workflow itself, by Snakemake in processes of its own."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import ModuleType

import forked
import pytest
import small
import toy
import yaml

from labelsim.store import writer_lock

REPOSITORY = Path(__file__).parents[2]
# Jobs import torch: without its compiled modules that takes three times as long.
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}


@dataclass(frozen=True)
class Outcome:
    """How a run of Snakemake ended, and what it said."""

    code: int
    output: str

    @property
    def jobs(self) -> list[str]:
        """The jobs that were started (or would be, in a dry run), such as "scan" or "heatmap gap", sorted."""
        started = re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):\n((?:    .*\n)*)", self.output, re.MULTILINE)
        jobs = [(rule, re.search(r"wildcards: \w+=(.*)", body)) for rule, body in started if rule != "all"]
        return sorted(f"{rule} {wildcard[1]}" if wildcard else rule for rule, wildcard in jobs)


def arguments(folder: Path, *options: str, repository: Path = REPOSITORY) -> list[str]:
    """What Snakemake is called with to run the workflow in a folder, with its config.yaml if it has one."""
    config = folder / "config.yaml"
    chosen = ["--configfile", str(config)] if config.exists() else []
    snakefile = str(repository / "Snakefile")
    # Other tests keep the cores busy: threads of one job would wait for each other.
    threads = ["--set-threads", "extract=1", "demo_network=1"]
    return ["--snakefile", snakefile, "--directory", str(folder), *chosen, "--cores", "2", *threads, *options]


def snakemake(folder: Path, *options: str, repository: Path = REPOSITORY) -> Outcome:
    """Run the workflow to its end, with the package that lies beside its Snakefile."""
    paths = [str(repository / "workflow"), *filter(None, [ENVIRONMENT.get("PYTHONPATH")])]
    environment = {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths)}
    with NamedTemporaryFile("r", encoding="utf-8") as output:
        code = forked.snakemake(arguments(folder, *options, repository=repository), environment, Path(output.name))
        return Outcome(code, output.read())


@contextmanager
def started(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start the workflow in a session, and so a process group, of its own."""
    with (
        (folder / "output.log").open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "snakemake", *arguments(folder)],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        yield process


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
    with writer_lock(root / f"{dataset.__name__}.lock"):
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


@pytest.fixture
def rerun(small_base, tmp_path):
    return Rerun(small_base, tmp_path / "copy")

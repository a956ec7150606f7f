"""Runs of the workflow that tests share."""

import os
import shutil

import pytest
import toy
from workflows import snakemake, started

from labelsim.locks import held


@pytest.fixture(scope="session")
def run():
    return snakemake


@pytest.fixture(scope="session")
def start():
    return started


@pytest.fixture(scope="session")
def base(tmp_path_factory, run):
    """A folder in which the workflow ran once; not to be changed. The workers of pytest-xdist share it."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder = root / "base"
    with held(root / "base.lock", "the finished run"):
        if not (folder / "output.log").exists():
            shutil.rmtree(folder, ignore_errors=True)
            outcome = run(toy.write(folder))
            assert outcome.code == 0, outcome.output
            (folder / "output.log").write_text(outcome.output, encoding="utf-8")
    return folder


@pytest.fixture
def copy(base, tmp_path):
    """A copy of `base`, file times included, to change and run again."""
    return shutil.copytree(base, tmp_path / "copy")

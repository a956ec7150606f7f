"""One planted run and its page, for all tests of the explorer."""

import explored
import pytest


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    return explored.explore(tmp_path_factory.mktemp("explored"))


@pytest.fixture(scope="session")
def page(run, tmp_path_factory):
    return run.write(tmp_path_factory.mktemp("page") / "explorer.html")


@pytest.fixture(scope="session")
def contents(page):
    return explored.pieces(page)

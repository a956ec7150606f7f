"""`benchmarks/fuzz.py` in small: its edits are what they say, and it sees what differs."""

import shutil
from pathlib import Path
from random import Random

import numpy as np
import pytest
from fuzz import EDITS, RESULTS, State, differences, fresh, fuzz
from PIL import Image
from pyarrow import compute

from labelsim.config import load
from labelsim.run import open_run
from labelsim.storage.parquet import read_metadata, read_table, write_table


def edited(seed: int) -> State:
    """The first run after every edit, in some order."""
    random = Random(seed)
    state = State.first(random)
    for name in random.sample(sorted(EDITS), len(EDITS)):
        EDITS[name](state, random)
    return state


def test_edits_are_made_by_the_seed_and_leave_a_configuration_that_holds():
    assert edited(1) == edited(1) != edited(2)
    for seed in range(20):
        state = edited(seed)
        assert load(state.config) == state.config
        assert len({len(data) for data in state.images.values()}) == len(state.images)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    for name in ("first", "second"):
        fresh(State.first(Random(0)), folder / name)
    return folder


def test_the_first_run_has_shards_and_classes_that_tell_orders_apart(base):
    run = open_run(base / "first" / RESULTS)
    ids = run.classes()["class_id"].to_pylist()
    assert len(run.shards()) >= 3
    assert len(ids) > 64
    assert ids != sorted(ids)
    assert compute.any(compute.equal(run.classes()["used"], 0)).as_py()


def test_two_fresh_runs_are_equal(base):
    assert differences(*(open_run(base / name / RESULTS) for name in ("first", "second"))) == []


def value(results: Path) -> None:
    path = results / "neighbors.parquet"
    table = read_table(path)
    similarity = table["similarity"].to_numpy().copy()
    similarity[5] = np.nextafter(similarity[5], np.float32(2))
    column = table.schema.get_field_index("similarity")
    write_table(table.set_column(column, "similarity", [similarity]), path, read_metadata(table))


def metadata(results: Path) -> None:
    path = results / "classes.parquet"
    table = read_table(path)
    write_table(table, path, read_metadata(table) | {"weights_digest": "another"})


def analysis(results: Path) -> None:
    path = results / "analysis/judgement.parquet"
    table = read_table(path)
    assert len(table) > 1
    write_table(table.slice(1), path, read_metadata(table))


def picture(results: Path) -> None:
    Image.new("RGB", (3, 3)).save(results / "report/heatmaps/welch.png")


def features(results: Path) -> None:
    state = State.first(Random(0))
    EDITS["change of the transform's file"](state, Random(0))
    fresh(state, results.parents[1] / "other")
    shutil.rmtree(results)
    shutil.copytree(results.parents[1] / "other" / RESULTS, results)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (value, ["neighbors.parquet"]),
        (metadata, ["classes.parquet"]),
        (analysis, ["judgement.parquet"]),
        (picture, ["welch.png"]),
        (features, ["features/", "moments/", "moments.zarr", "welch.zarr", "similarity.zarr", "neighbors.parquet"]),
    ],
)
def test_what_differs_is_named(base, tmp_path, change, names):
    results = Path(shutil.copytree(base / "second", tmp_path / "changed")) / RESULTS
    change(results)
    found = differences(open_run(results), open_run(base / "first" / RESULTS))
    assert [name for name in names if not any(name in line for line in found)] == []


def test_two_edits(tmp_path):
    *_, different = fuzz(2, 1, tmp_path)
    assert (different.figure, different.met) == (0, "yes")

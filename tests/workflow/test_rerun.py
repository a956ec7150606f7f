"""What runs again after a change, and what does not."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import toy
from pyarrow import parquet

FIGURES = ["class_figure tench"]
HEATMAPS = ["heatmap gap", "heatmap hidden", "heatmap welch"]
AFTER_MERGE = [*FIGURES, *HEATMAPS, "neighbors", "similarity", "welch"]


def change(folder: Path, section: str, **values: object) -> None:
    config = toy.config()
    config.setdefault(section, {}).update(values)
    toy.write_config(folder, config)


def shards(folder: Path) -> list[str]:
    index = json.loads((folder / "results/toy/shards/index.json").read_text(encoding="utf-8"))
    return [shard["name"] for shard in index["shards"]]


def used(folder: Path) -> dict[str, int]:
    table = parquet.read_table(folder / "results/toy/classes.parquet").to_pydict()
    return dict(zip(table["class_id"], table["used"], strict=True))


def test_second_run_has_nothing_to_do(copy, run):
    outcome = run(copy)
    assert outcome.code == 0
    assert outcome.jobs == []
    assert "Nothing to be done" in outcome.output


@pytest.mark.parametrize(
    ("section", "values", "jobs"),
    [
        ("neighbors", {"k": 3}, [*FIGURES, "neighbors"]),
        ("report", {"classes": ["tench", "red fox"]}, ["class_figure red-fox"]),
        ("similarity", {"layer_groups": {"first": ["conv1"]}}, [*FIGURES, *HEATMAPS, "neighbors", "similarity"]),
        ("extract", {"max_reject_fraction": 0.5}, [*AFTER_MERGE, "merge"]),
        # These change no number.
        ("extract", {"batch_size": 4, "workers": 1, "device": "cpu"}, []),
    ],
)
def test_changed_config(copy, run, section, values, jobs):
    change(copy, section, **values)
    outcome = run(copy, "--dry-run")
    assert outcome.code == 0
    assert outcome.jobs == sorted(jobs)


def test_changed_methods(copy, run):
    change(copy, "similarity", methods=["welch", "hidden"])
    assert run(copy, "--dry-run").jobs == [*FIGURES, "heatmap hidden", "heatmap welch", "neighbors", "similarity"]


def test_changed_dtype_extracts_all_shards(copy, run):
    change(copy, "store", dtype="float16")
    each = [f"{rule} {shard}" for shard in shards(copy) for rule in ("extract", "moments")]
    assert run(copy, "--dry-run").jobs == sorted([*each, *AFTER_MERGE, "merge"])


def test_changed_probe_extracts_all_shards(copy, run):
    change(copy, "probe", at="batch_norm")
    assert run(copy, "--until", "network").jobs == ["network"]
    each = [f"{rule} {shard}" for shard in shards(copy) for rule in ("extract", "moments")]
    assert run(copy, "--dry-run").jobs == sorted([*each, *AFTER_MERGE, "merge"])


def test_other_weights_extract_and_a_reworded_comment_does_not(copy, run):
    network = copy / "network.py"
    network.write_text("# Three layers.\n" + network.read_text(encoding="utf-8"), encoding="utf-8")
    assert run(copy, "--dry-run").jobs == []
    toy.write_network(network, seed=2)
    assert "network" in run(copy, "--dry-run").jobs


def test_an_added_image_costs_the_shard_it_falls_into(copy, run):
    before, images = shards(copy), used(copy)
    image = copy / "images" / "owl" / "new bild.png"
    toy.write_image(image, np.array([200, 90, 40]), np.random.default_rng(1))
    outcome = run(copy)
    assert outcome.code == 0
    touched = set(shards(copy)) - set(before)
    assert 1 <= len(touched) <= 2
    each = [f"{rule} {shard}" for shard in touched for rule in ("extract", "moments")]
    assert outcome.jobs == sorted(["scan", "shard", *each, "merge", *AFTER_MERGE])
    assert used(copy) == images | {"owl": images["owl"] + 1}


def test_a_scan_of_the_same_images_and_a_network_that_is_the_same_make_nothing_run(copy, run):
    for path in (copy / "images").rglob("*.png"):
        os.utime(path)
    assert run(copy, "--dry-run").jobs == []
    outcome = run(copy, "--forcerun", "scan", "network")
    assert outcome.code == 0
    assert {"network", "scan"} <= set(outcome.jobs) <= {"network", "scan", "shard"}
    assert run(copy).jobs == []


def test_too_many_rejects_fail_after_everything_is_written(copy, run):
    results = copy / "results/toy"
    tables = sorted(results.glob("features/*.rejects.parquet"))
    change(copy, "extract", max_reject_fraction=0.001)
    outcome = run(copy)
    assert outcome.code == 1
    assert outcome.jobs == ["merge"]
    assert "3 of " in outcome.output
    assert "extract.max_reject_fraction allows 0.1%" in outcome.output
    assert "1: empty file" in outcome.output
    assert "results/toy/features/*.rejects.parquet" in outcome.output
    assert "Traceback" not in outcome.output
    rejected = [row["sample_id"] for table in tables for row in parquet.read_table(table).to_pylist()]
    assert sorted(rejected) == sorted(toy.REJECTS)
    assert len(list(results.glob("features/*.zarr/zarr.json"))) == len(shards(copy))
    change(copy, "extract", max_reject_fraction=0.06)
    outcome = run(copy, "--until", "merge")
    assert outcome.code == 0
    assert outcome.jobs == ["merge"]
    assert set(run(copy, "--dry-run").jobs) <= set(AFTER_MERGE)

"""What runs again after a change of the configuration that changes no features, or of nothing that counts."""

import re
from pathlib import Path

import pytest
import toy
from pyarrow import parquet
from small import each, since
from workflows import snakemake


def test_a_run_that_was_moved_has_nothing_to_do(rerun):
    # It was copied from where it ran.
    assert rerun.jobs() == []
    rerun.folder = rerun.folder.rename(rerun.folder.with_name("moved"))
    assert rerun.jobs() == []


@pytest.mark.parametrize(
    ("key", "value", "jobs"),
    [
        ("neighbors.k", 2, since("neighbors")),
        ("report.classes", ["bee", "eel"], ["preflight", "class_figure eel"]),
        ("similarity.layer_groups", {"first": ["conv1"]}, ["preflight", *since("similarity")]),
    ],
)
def test_a_key_reruns_what_it_changes(rerun, key, value, jobs):
    rerun.configure(key, value)
    assert rerun.jobs() == sorted(jobs)


def test_another_limit_of_rejects_merges_again(rerun):
    rerun.configure("extract.max_reject_fraction", 0.5)
    assert rerun.planned() == sorted(since("merge"))


def test_methods(rerun):
    rerun.configure("similarity.methods", ["gap"])
    assert rerun.jobs() == sorted(["preflight", "similarity", "heatmap gap", *since("neighbors")])
    rerun.configure("similarity.methods", ["gap", "welch"])
    assert rerun.begun() == sorted(["preflight", *since("similarity"), "heatmap gap"])


def test_analyses(rerun):
    on = {"enabled": True}
    rerun.configure("analysis.evidence", on)
    rerun.configure("analysis.significance", on)
    assert rerun.jobs() == ["evidence", "significance"]
    for name in ("evidence", "significance"):
        rerun.configure(f"analysis.{name}", on | {"channels": 5})
        assert rerun.planned() == [name]
        rerun.configure(f"analysis.{name}", {"enabled": False})
        assert rerun.planned() == []
        rerun.configure(f"analysis.{name}", on)
    rerun.configure("report.classes", ["bee", "eel"])
    assert rerun.jobs() == ["class_figure eel", "preflight"]
    rerun.configure("neighbors.k", 2)
    assert rerun.planned() == sorted([*since("neighbors"), "class_figure eel", "evidence"])


def test_another_reference_is_judged_by(rerun):
    (rerun.folder / "human.csv").write_text("class_id,neighbor_id,similarity\nbee,cat,1\n", encoding="utf-8")
    rerun.configure("analysis.judgement", {"enabled": True})
    rerun.configure("analysis.reference", {"file": "human.csv"})
    assert rerun.jobs() == ["judgement", "preflight"]
    (rerun.folder / "human.csv").write_text("class_id,neighbor_id,similarity\nbee,dog,1\n", encoding="utf-8")
    assert rerun.jobs() == ["judgement", "preflight"]


def test_example_images_are_drawn_again(rerun):
    rerun.configure("analysis.examples", {"enabled": True, "images": 2})
    assert rerun.jobs() == ["class_figure bee", "examples"]
    rerun.configure("analysis.evidence", {"enabled": True})
    assert rerun.planned() == ["class_figure bee", "evidence", "examples"]
    rerun.configure("analysis.evidence", {"enabled": False})
    rerun.configure("analysis.examples", {"enabled": False})
    assert rerun.planned() == ["class_figure bee"]


def test_keys_that_change_no_number_rerun_nothing(rerun):
    for key, value in (("batch_size", 4), ("workers", 1), ("device", "cpu")):
        rerun.configure(f"extract.{key}", value)
    assert rerun.planned() == []


def test_other_names_of_classes_rerun_what_shows_them(rerun):
    (rerun.folder / "names.csv").write_text("class_id,name\nbee,bumblebee\n", encoding="utf-8")
    assert rerun.begun() == sorted(["shard", "preflight", *since("merge")])


def test_what_the_outputs_stand_for_reruns_the_moments(rerun):
    rerun.configure("model.classes", "dataset")
    assert rerun.begun() == sorted(["preflight", *each(rerun.shards(), "moments"), *since("merge")])


def test_a_class_that_is_not_there_stops_before_its_figure(rerun):
    # Which classes are drawn is no part of the shards: they are not cut again to find out.
    rerun.configure("report.classes", ["bee", "eeel"])
    outcome = snakemake(rerun.folder)
    assert outcome.code == 1
    assert set(outcome.jobs) <= {"preflight", "class_figure eeel"}
    assert re.search(r"report\.classes: .*'eeel'.*\beel\b", outcome.output)
    assert "Traceback" not in outcome.output


def allow(folder: Path, rejects: float) -> None:
    config = toy.config()
    config["extract"]["max_reject_fraction"] = rejects
    toy.write_config(folder, config)


def test_too_many_rejects_fail_after_everything_is_written(copy, run):
    results = copy / "results/toy"
    tables = sorted(results.glob("features/*.rejects.parquet"))
    allow(copy, 0)
    outcome = run(copy)
    assert outcome.code == 1
    assert outcome.jobs == ["merge"]
    assert re.search(r"\b3 of .*extract\.max_reject_fraction.* 0\.0%", outcome.output)
    assert "boat/empty.png: empty file" in outcome.output
    assert "results/toy/features/*.rejects.parquet" in outcome.output
    assert "Traceback" not in outcome.output
    rejected = [row["sample_id"] for table in tables for row in parquet.read_table(table).to_pylist()]
    assert sorted(rejected) == sorted(toy.REJECTS)
    assert len(list(results.glob("features/*.zarr/zarr.json"))) == len(tables)
    allow(copy, 0.06)
    outcome = run(copy, "--until", "merge")
    assert outcome.code == 0
    assert outcome.jobs == ["merge"]

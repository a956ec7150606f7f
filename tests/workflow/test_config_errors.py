"""An invalid configuration ends with a message before any image is read."""

import re

import pytest
import toy


def wrong_keys(config):
    config["neighbours"] = {"k": 3}
    config["neighbors"]["k"] = "nine"
    config["dataset"]["format"] = "lmdb"
    config["extract"]["batchsize"] = 3


def missing_folder(config):
    config["dataset"]["source"] = "imags"


def unknown_model(config):
    config["model"] |= {"name": "resnet33", "transform": "auto"}


def unknown_class(config):
    config["report"]["classes"] = ["tensh"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (wrong_keys, ["neighbours: .*neighbors", "neighbors.k: 'nine'", "dataset.format: ", "extract.batchsize: "]),
        (missing_folder, ["dataset.source: 'imags' .*images"]),
        (unknown_model, ["model.name 'resnet33' .*resnet34"]),
        (unknown_class, ["report.classes: .*'tensh'.*tench"]),
    ],
)
def test_config_errors(base, tmp_path, run, change, named):
    for name in ("images", "network.py"):
        (tmp_path / name).symlink_to(base / name)
    config = toy.config()
    change(config)
    toy.write_config(tmp_path, config)
    outcome = run(tmp_path)
    assert outcome.code == 1
    for pattern in named:
        assert re.search(pattern, outcome.output)
    assert "Traceback" not in outcome.output
    # The error comes again at the end, with its log.
    assert not outcome.jobs or re.search(rf"(?m)^results/toy/logs/\w+\.log: .*{named[0].split()[0]}", outcome.output)
    assert set(outcome.jobs) <= {"network", "scan", "shard", "preflight"}

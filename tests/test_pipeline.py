from pathlib import Path

import pytest
import yaml

from labelsim import pipeline
from labelsim.config import load
from labelsim.errors import LabelsimError


def config(folder: Path) -> dict:
    return load(yaml.safe_load((folder / "config/config.yaml").read_text(encoding="utf-8")))


def test_a_clone_is_the_folder_of_the_workflow():
    assert pipeline.folder() == Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("name", "run"),
    [("birds", "birds"), ("2026", "2026"), ("my birds", "my-birds"), ("鳥", "my-run"), ("null", "null")],
)
def test_a_new_folder_has_a_valid_config_that_is_named_after_it(tmp_path, name, run):
    pipeline.init(tmp_path / name)
    assert config(tmp_path / name)["run"] == run


def test_profiles_are_those_of_the_workflow(tmp_path):
    pipeline.init(tmp_path)
    for profile in (pipeline.folder() / "workflow/profiles").glob("*/config.yaml"):
        copy = tmp_path / "profiles" / profile.parent.name / "config.yaml"
        assert copy.read_bytes() == profile.read_bytes()


@pytest.mark.parametrize("there", ["Snakefile", "config/config.yaml", "profiles/mine/config.yaml"])
def test_nothing_is_overwritten(tmp_path, there):
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).write_text("mine", encoding="utf-8")
    with pytest.raises(LabelsimError, match=there.partition("/")[0]):
        pipeline.init(tmp_path)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / there]
    assert (tmp_path / there).read_text(encoding="utf-8") == "mine"


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LabelsimError, match="file"):
        pipeline.init(tmp_path / "file" / "run")

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import labelsim
from labelsim.config import load
from labelsim.errors import LabelsimError
from labelsim.jobs import pipeline

PACKAGE = Path(labelsim.__file__).parent
# Without site-packages but for the folder of the requirements: an installed labelsim is not seen.
ALONE = """
import sys
from importlib.util import find_spec

sys.path[:] = [sys.argv[1], *sys.path, sys.argv[2]]
import labelsim
from labelsim.stages import scan

print(labelsim.__version__, labelsim.__file__, scan.__file__, find_spec("scripts"), sep="\\n")
"""


def config(folder: Path) -> dict:
    return load(yaml.safe_load((folder / "config/config.yaml").read_text(encoding="utf-8")))


def test_a_clone_is_the_folder_of_the_workflow():
    assert pipeline.folder() == Path(__file__).resolve().parents[2]


def test_jobs_find_the_package_and_nothing_beside_it():
    requirements = str(Path(pytest.__file__).parents[1])
    command = [sys.executable, "-I", "-S", "-c", ALONE, str(pipeline.PACKAGE), requirements]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    files = [str(PACKAGE / "__init__.py"), str(PACKAGE / "stages/scan.py")]
    assert done.stdout.split("\n") == [labelsim.__version__, *files, "None", ""]


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


@pytest.mark.parametrize(
    "script", sorted((pipeline.folder() / "workflow/scripts").glob("*.py")), ids=lambda path: path.stem
)
def test_every_script_takes_the_package_from_the_snakefile(script):
    before, found, _ = script.read_text(encoding="utf-8").partition(
        'sys.path.insert(0, os.environ["LABELSIM_PACKAGE"])'
    )
    assert found
    assert "labelsim." not in before

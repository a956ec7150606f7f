"""The package as `pip install .` installs it, without the repository beside it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import toy

ROOT = Path(__file__).resolve().parents[1]

# The command `labelsim`, once it is seen where it comes from: an editable install is in this environment as well.
COMMAND = """
import sys
from pathlib import Path

import labelsim
from labelsim.cli import main

assert Path(labelsim.__file__).is_relative_to(sys.argv.pop(1)), labelsim.__file__
main()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the wheel's contents; what is built is a copy, as building leaves files beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "workflow", source / "workflow", symlinks=True, ignore=ignore)
    pip("wheel", "--no-build-isolation", "--wheel-dir", str(folder), str(source))
    (wheel,) = folder.glob("*.whl")
    pip("install", "--target", str(folder / "target"), str(wheel))
    return folder / "target"


def pip(command: str, *arguments: str) -> None:
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    subprocess.run([sys.executable, "-m", "pip", command, *options, *arguments], check=True)


def test_the_command_works_from_a_wheel(installed, tmp_path):
    toy.write_network(tmp_path / "network.py")
    toy.write_config(tmp_path, toy.config())
    command = [sys.executable, "-c", COMMAND, str(installed), "layers", "--configfile", "config.yaml"]
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{len(toy.LAYERS)} layers" in done.stdout


def test_every_file_of_the_package_is_in_the_wheel(installed):
    packaged, sources = files(installed / "labelsim"), files(ROOT / "workflow/labelsim")
    assert "schemas/config.schema.yaml" in packaged
    assert packaged == sources


def files(folder: Path) -> set[str]:
    """Paths of all files but those that Python and Numba leave when they compile."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in paths if "__pycache__" not in path.parts}

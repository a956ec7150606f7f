"""The workflow from elsewhere than its folder: from a wheel, and as a module of another workflow."""

import os
import shutil
import subprocess
import sys
import tarfile
import venv
from pathlib import Path

import pytest
import small
from workflows import REPOSITORY, contents, snakemake

# What building needs of a clone; not what runs and tests leave in it.
BUILT_FROM = ["setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"]
BUILT_FROM += ["Snakefile", "rules", "config", "workflow"]
# As snakedeploy writes it, but that the repository is a folder.
MODULE = f"""
configfile: "config/config.yaml"


module labelsim:
    snakefile:
        "{REPOSITORY}/workflow/Snakefile"
    config:
        config


use rule * from labelsim
"""
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The sdist of a copy of the repository, unpacked: building leaves files beside the sources."""
    folder = tmp_path_factory.mktemp("sdist")
    source = folder / "source"
    source.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in BUILT_FROM:
        path = REPOSITORY / name
        if path.is_dir():
            shutil.copytree(path, source / name, symlinks=True, ignore=ignore)
        else:
            shutil.copy(path, source)
    with tarfile.open(build("build_sdist", source, folder)) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.glob("labelsim-*/")
    return unpacked


@pytest.fixture(scope="module")
def installed(sdist, tmp_path_factory):
    """An environment with the wheel that is built of the sdist, beside the requirements: its folder of commands."""
    folder = tmp_path_factory.mktemp("wheel")
    wheel = build("build_wheel", sdist, folder)
    environment = folder / "environment"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", "--python", str(python), "install", *options], check=True)
    # The folder alone: what its own .pth files add, such as an editable installation of the clone, is not seen.
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "requirements.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n", encoding="utf-8")
    return python.parent


def build(hook: str, source: Path, folder: Path) -> Path:
    """What a front end such as `python -m build` does, in this environment."""
    command = [sys.executable, "-c", BUILD, hook, str(folder)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=True)
    return folder / done.stdout.splitlines()[-1]


def call(installed: Path, folder: Path, *command: str) -> str:
    """Run a command of the environment in a folder: what it prints."""
    environment = {**os.environ, "PATH": f"{installed}:{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    words = [str(installed / "python"), "-m", *command] if command[0] == "snakemake" else list(command)
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(folder: Path) -> set[str]:
    """Paths of all files but those that Python and Numba leave when they compile."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {str(path) for path in paths if "__pycache__" not in path.parts}


def test_the_wheel_has_the_package_and_the_workflow(installed):
    (package,) = installed.parent.glob("lib/python*/site-packages/labelsim")
    workflow = {"Snakefile", "workflow/Snakefile"}
    for name in ("rules", "config", *(f"workflow/{part}" for part in ("envs", "profiles", "report", "scripts"))):
        workflow |= {f"{name}/{file}" for file in files(REPOSITORY / name)}
    assert files(package) == files(REPOSITORY / "workflow/labelsim") | {f"repository/{file}" for file in workflow}


def test_a_run_from_a_wheel_is_the_run_from_the_clone(installed, small_base, tmp_path):
    folder = small.write(tmp_path / "my-run")
    call(installed, tmp_path, "labelsim", "init", "my-run")
    (folder / "config.yaml").rename(folder / "config/config.yaml")
    assert "2 layers" in call(installed, folder, "labelsim", "layers")
    call(installed, folder, "snakemake", "--cores", "2", "--set-threads", "extract=1")
    assert contents(folder / "results/small") == contents(small_base / "results/small")

    assert "ant" in call(installed, folder, "labelsim", "top", "bee", "--run", "results/small")
    assert "bee" in call(installed, folder, "labelsim", "explain", "images/bee/0.bmp", "--run", "results/small")
    call(installed, folder, "labelsim", "check", "results/small")


def test_a_run_as_a_module_is_the_run_from_the_clone(small_base, tmp_path):
    folder = small.write(tmp_path / "my-run")
    (folder / "config").mkdir()
    (folder / "config.yaml").rename(folder / "config/config.yaml")
    (folder / "Snakefile").write_text(MODULE, encoding="utf-8")
    outcome = snakemake(folder, "--snakefile", str(folder / "Snakefile"))
    assert outcome.code == 0, outcome.output
    assert contents(folder / "results/small") == contents(small_base / "results/small")
    assert snakemake(folder, "--dry-run", "--snakefile", str(folder / "Snakefile")).jobs == []

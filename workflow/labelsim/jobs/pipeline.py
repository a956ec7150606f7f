"""The files of the workflow, and a folder for a run of one's own."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import yaml

from labelsim.errors import LabelsimError

__all__ = ["PACKAGE", "folder", "init"]

# First on the path of jobs: labelsim, and nothing that is installed beside it.
PACKAGE = Path(__file__).resolve().parent / "alone"

_SNAKEFILE = """\
# Runs the workflow of the installed package labelsim, as config/config.yaml describes.
from labelsim.jobs import pipeline


if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


include: pipeline.folder() / "Snakefile"


rule default:
    default_target: True
    input:
        rules.all.input,
"""


def folder() -> Path:
    """The folder with the Snakefile, rules, profiles and example configurations.

    In a wheel it belongs to the package; in a clone, and in an editable installation, it is the repository.
    """
    package = Path(__file__).resolve().parents[1]
    packaged = package / "repository"  # setup.py makes it
    return packaged if packaged.is_dir() else package.parents[1]


def init(run: Path) -> list[Path]:
    """Write a Snakefile, a config file and profiles for a run of one's own.

    Parameters
    ----------
    run : Path
        The folder to write them into. It is made if it is not there, and its name is the run's.

    Returns
    -------
    list of Path
        What was written: files, and the folder of profiles.

    Raises
    ------
    LabelsimError
        If one of them is there already (nothing is written then), or the folder cannot be written.
    """
    snakefile, config, profiles = run / "Snakefile", run / "config" / "config.yaml", run / "profiles"
    if there := [str(path) for path in (snakefile, config, profiles) if path.exists()]:
        raise LabelsimError(f"{', '.join(there)}: already there, and not overwritten; name a new folder")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", run.resolve().name).lstrip("-._") or "my-run"
    example = (folder() / "config" / "my-run.yaml").read_text(encoding="utf-8")
    quoted = name if yaml.safe_load(name) == name else f'"{name}"'  # 2026 is a number
    try:
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(example.replace("run: my-run", f"run: {quoted}", 1), encoding="utf-8")
        shutil.copytree(folder() / "workflow" / "profiles", profiles)
        snakefile.write_text(_SNAKEFILE, encoding="utf-8")
    except OSError as error:
        raise LabelsimError(f"{error.filename} cannot be written: {error.strerror}") from None
    return [snakefile, config, profiles]

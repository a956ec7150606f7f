"""Adds the workflow, which lies beside the package in a clone, to a wheel; pyproject.toml says all else."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

# MANIFEST.in has the same for the sdist.
FOLDERS = ("rules", "config", "workflow/envs", "workflow/profiles", "workflow/report", "workflow/scripts")


class BuildWithWorkflow(build_py):
    """Copies the workflow into the package, as the folder `repository`; an editable install uses the clone."""

    def run(self) -> None:
        """Build."""
        super().run()
        if self.editable_mode:
            return
        files = [file for folder in FOLDERS for file in sorted(Path(folder).rglob("*.*")) if file.is_file()]
        for file in [Path("Snakefile"), Path("workflow/Snakefile"), *files]:
            target = Path(self.build_lib, "labelsim", "repository", file)
            target.parent.mkdir(parents=True, exist_ok=True)
            self.copy_file(str(file), str(target))


setup(cmdclass={"build_py": BuildWithWorkflow})

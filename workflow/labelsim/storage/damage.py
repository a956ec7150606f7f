"""What to say of a file of a run that is damaged or missing: which one, and the command that makes it anew."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from labelsim.errors import LabelsimError

__all__ = ["SEAL_BROKEN", "absent", "command", "damaged", "unreadable"]

SEAL_BROKEN = "it does not fit its checksum; it was changed, or written by another version of labelsim"


def damaged(path: Path, what: object) -> LabelsimError:
    """The error for a file or store that was changed after it was written.

    Parameters
    ----------
    path : Path
        The file, or a store's folder.
    what : object
        What is wrong with it.
    """
    return LabelsimError(f"{path} is damaged: {what}.\nMake it anew: {command([path])}")


def absent(path: Path, state: str = "does not exist") -> LabelsimError:
    """The error for a file or store that is not there, or not yet."""
    return LabelsimError(
        f"{path} {state}.\nRun the workflow to its end first; if it has ended, make this anew: {command([path])}"
    )


def unreadable(path: Path, error: OSError) -> LabelsimError:
    """The error for a file that the system does not let us read: nothing says that it is damaged."""
    return LabelsimError(f"{path} cannot be read: {error.strerror}.\nMend that, and run the same command again.")


def command(paths: Iterable[Path]) -> str:
    """The command that makes files anew, and nothing else.

    Nothing need be deleted: `--force` makes what is there as well, and the extraction keeps the chunks that are whole.

    Parameters
    ----------
    paths : iterable of Path
        Files of a run, or folders of its stores.
    """
    targets = dict.fromkeys(_target(path) for path in paths)
    return " ".join(["snakemake [your options] --force", *targets])


def _target(path: Path) -> str:
    """What to ask Snakemake for, to have a file made anew."""
    store = next((folder for folder in (path, *path.parents) if folder.suffix == ".zarr"), None)
    if store is not None:
        path = store / "zarr.json"
    elif path.parent.name == "shards":
        path = path.with_name("index.json")  # Snakemake does not know of the tables written beside it
    # The workflow knows its files by paths that begin with results/, which may be a link, from wherever they are read.
    parts = Path(os.path.abspath(path)).parts  # noqa: PTH100
    roots = [i for i, part in enumerate(parts[:-2]) if part == "results"]
    return str(Path(*parts[roots[-1] :])) if roots else str(path)

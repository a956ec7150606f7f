"""Errors for files that are missing, damaged or unreadable, with the command that makes them again."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from labelsim.errors import LabelsimError

__all__ = ["WRONG_CHECKSUM", "command", "damaged", "missing", "read_bytes", "unreadable"]

WRONG_CHECKSUM = "its checksum is wrong; it was changed, or written by another version of labelsim"


def damaged(path: Path, what: object) -> LabelsimError:
    """The error for a file or store that was changed after it was written.

    Parameters
    ----------
    path : Path
        The file, or a store's folder.
    what : object
        What is wrong with it.
    """
    return LabelsimError(f"{path} is damaged: {what}.\nMake it again: {command([path])}")


def missing(path: Path, state: str = "does not exist") -> LabelsimError:
    """The error for a file or store that does not exist, or not yet."""
    return LabelsimError(
        f"{path} {state}.\nRun the workflow to the end first. If it has ended, make this file again: {command([path])}"
    )


def unreadable(path: Path, error: OSError) -> LabelsimError:
    """The error for a file that the operating system refuses to read; it need not be damaged."""
    return LabelsimError(f"{path} cannot be read: {error.strerror}.\nFix that, and run the same command again.")


def read_bytes(path: Path) -> bytes:
    """The contents of a run's file.

    Raises
    ------
    LabelsimError
        If it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise missing(path) from None
    except OSError as error:
        raise unreadable(path, error) from None


def command(paths: Iterable[Path]) -> str:
    """The command that makes files again.

    Nothing has to be deleted first, and the extraction keeps the chunks that are intact.

    Parameters
    ----------
    paths : iterable of Path
        Files of a run, or folders of its stores.
    """
    targets = dict.fromkeys(_target(path) for path in paths)
    return " ".join(["snakemake [your options] --force", *targets])


def _target(path: Path) -> str:
    """The output to request from Snakemake for a file to be made again."""
    store = next((folder for folder in (path, *path.parents) if folder.suffix == ".zarr"), None)
    if store is not None:
        path = store / "zarr.json"
    elif path.parent.name == "shards":
        path = path.with_name("index.json")  # Snakemake does not know the files beside it
    # Snakemake's paths begin with results/, which may be a link, and this may run in another folder.
    parts = Path(os.path.abspath(path)).parts  # noqa: PTH100
    roots = [i for i, part in enumerate(parts[:-2]) if part == "results"]
    return str(Path(*parts[roots[-1] :])) if roots else str(path)

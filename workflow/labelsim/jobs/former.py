"""Files of outdated shards: which they are, and deleting them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from pathlib import Path

from labelsim.errors import LabelsimError
from labelsim.run import Paths
from labelsim.storage.damage import unreadable
from labelsim.storage.json_files import read_document
from labelsim.storage.locks import claim_run

__all__ = ["SHARD", "delete_former", "files_in", "former", "is_former"]

SHARD = re.compile(r"\.?([0-9a-f]{16})(?=\.)")  # at the start of a file name
_FOLDERS = ("shards", "features", "moments")


def is_former(name: str, shards: Collection[str]) -> bool:
    """Whether a file, or a store, of this name belongs to a shard that is none of these."""
    found = SHARD.match(name)
    return found is not None and found[1] not in shards


def former(folder: Path) -> list[Path]:
    """Find the files and stores of shards that the index does not name.

    Parameters
    ----------
    folder : Path
        The run's folder.

    Returns
    -------
    list of Path
        Files, and folders of stores, sorted.

    Raises
    ------
    LabelsimError
        If there is no index of the shards, or it or a folder cannot be read.
    """
    if not folder.is_dir():
        raise LabelsimError(f"{folder} is not the folder of a run; expected one such as results/demo")
    shards = {shard["name"] for shard in read_document(Path(Paths(str(folder)).index))["shards"]}
    try:
        found = [entry for name in _FOLDERS if (folder / name).is_dir() for entry in (folder / name).iterdir()]
    except OSError as error:
        raise unreadable(folder, error) from None
    return sorted(entry for entry in found if is_former(entry.name, shards))


def files_in(path: Path) -> list[Path]:
    """The files of a store, or the file itself."""
    return [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]


def delete_former(folder: Path) -> list[Path]:
    """Delete what `former` finds; the run is reserved for this process until it ends.

    Returns
    -------
    list of Path
        What was deleted.

    Raises
    ------
    LabelsimError
        If a Snakemake works on the run, or something cannot be deleted, and as `former`.
    """
    former(folder)  # whether it is a run at all
    claim_run(folder)
    found = former(folder)
    for path in found:
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError as error:
            raise LabelsimError(f"{error.filename} cannot be deleted: {error.strerror}") from None
    return found

"""The classes of a run in the order of their index: a list beside the shards, and a small document that stands for it.

Snakemake compares files of up to 1 MB by content. The ids and names of 21,841 classes are larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from labelsim.storage.damage import damaged
from labelsim.storage.digests import canonical, digest
from labelsim.storage.json_files import read_document, write_document

__all__ = ["read_classes", "write_classes"]


def write_classes(folder: Path, ids: Sequence[str], names: Sequence[str]) -> None:
    """Write `classes.json`, and `class_ids.json` with the number of classes and a digest of their ids.

    Parameters
    ----------
    folder : Path
        The folder of the shards.
    ids, names : sequence of str
        Of each class; the position is the class index.
    """
    classes = [{"id": id_, "name": name} for id_, name in zip(ids, names, strict=True)]
    write_document(folder / "classes.json", {"classes": classes})
    write_document(folder / "class_ids.json", {"classes": len(ids), "digest": digest(canonical(list(ids)))})


def read_classes(folder: Path) -> tuple[list[str], list[str]]:
    """Read what `write_classes` wrote.

    Parameters
    ----------
    folder : Path
        The folder of the shards.

    Returns
    -------
    ids, names : list of str
        In the order of the class index.

    Raises
    ------
    LabelsimError
        If a file is missing or damaged, or the list is not the one that `class_ids.json` stands for.
    """
    classes = read_document(folder / "classes.json")["classes"]
    ids = [entry["id"] for entry in classes]
    if digest(canonical(ids)) != read_document(folder / "class_ids.json")["digest"]:
        raise damaged(folder / "classes.json", f"it does not hold the classes of {folder / 'class_ids.json'}")
    return ids, [entry["name"] for entry in classes]

"""The classes of a run in the order of their index: a table beside the shards, and a small document that stands for it.

Snakemake compares files of up to 1 MB by content. The ids and names of 21,841 classes are larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from labelsim.damage import damaged
from labelsim.digests import canonical, digest
from labelsim.documents import read_document, write_document
from labelsim.tables import read_table, write_table

__all__ = ["read_classes", "write_classes"]

_TABLE, _DOCUMENT = "classes.parquet", "classes.json"


def write_classes(folder: Path, ids: Sequence[str], names: Sequence[str]) -> None:
    """Write `classes.parquet`, and `classes.json` with the number of classes and a digest of their ids.

    Parameters
    ----------
    folder : Path
        The folder of the shards.
    ids, names : sequence of str
        Of each class; the position is the class index.
    """
    write_table(
        pa.table({"class_id": pa.array(ids, pa.string()), "class_name": pa.array(names, pa.string())}),
        folder / _TABLE,
        {},
    )
    write_document(folder / _DOCUMENT, {"classes": len(ids), "digest": digest(canonical(list(ids)))})


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
        If a file is missing or damaged, or the table is not the one that the document stands for.
    """
    table = read_table(folder / _TABLE)
    ids: list[str] = table["class_id"].to_pylist()
    if digest(canonical(ids)) != read_document(folder / _DOCUMENT)["digest"]:
        raise damaged(folder / _TABLE, f"it does not hold the classes of {folder / _DOCUMENT}")
    return ids, table["class_name"].to_pylist()

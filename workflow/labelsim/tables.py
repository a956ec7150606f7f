"""Parquet tables: written whole or not at all, with JSON metadata under the key `labelsim`."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from labelsim.errors import LabelsimError

__all__ = ["read_metadata", "read_table", "write_table"]

_KEY = b"labelsim"


def write_table(table: pa.Table, path: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a table by way of a temporary file and a rename.

    Parameters
    ----------
    table : pyarrow.Table
        What to write.
    path : Path
        Where; missing folders are made.
    metadata : mapping, optional
        JSON values for the file's metadata; without them the table's own metadata stay.
    """
    if metadata is not None:
        encoded = json.dumps(metadata, sort_keys=True, ensure_ascii=False).encode()
        table = table.replace_schema_metadata({_KEY: encoded})
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".partial")
    with temporary.open("wb") as file:
        parquet.write_table(table, file, compression="zstd")
        os.fsync(file.fileno())
    temporary.replace(path)


def read_table(path: Path) -> pa.Table:
    """Read a table.

    Raises
    ------
    LabelsimError
        If it is not there, or damaged.
    """
    try:
        return parquet.read_table(path)
    except FileNotFoundError:
        raise LabelsimError(f"{path} does not exist.\nRun the workflow to its end first.") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise LabelsimError(
            f"{path} is damaged ({error}).\nDelete it, and make it anew: snakemake {_target(path)}, with your "
            "other options."
        ) from None


def _target(path: Path) -> str:
    """What to ask Snakemake for, to have a table made anew."""
    return "--forcerun shard" if path.parent.name == "shards" else str(path)


def read_metadata(table: pa.Table) -> dict[str, Any]:
    """The JSON metadata of a table that `write_table` wrote."""
    metadata: dict[str, Any] = json.loads(table.schema.metadata[_KEY])
    return metadata

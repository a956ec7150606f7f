"""Parquet tables: complete or absent, with JSON metadata under the key `labelsim` and a digest of the file's bytes.

The digest stands between the data and the footer, where nothing points to: other readers do not notice it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute, parquet

from labelsim.storage.atomic import write_whole
from labelsim.storage.damage import WRONG_CHECKSUM, damaged, read_bytes
from labelsim.storage.digests import file_digest

__all__ = ["derived_metadata", "read_metadata", "read_table", "table_metadata", "write_table"]

_KEY = b"labelsim"
_SIZE = 16  # bytes of the digest


def write_table(
    table: pa.Table, path: Path, metadata: Mapping[str, Any] | None = None, arrow_types: bool = True
) -> None:
    """Write a table by way of a temporary file and a rename.

    Parameters
    ----------
    table : pyarrow.Table
        What to write.
    path : Path
        Where; missing folders are made.
    metadata : mapping, optional
        JSON values for the file's metadata. By default the table keeps its own.
    arrow_types : bool
        Whether the table is read with the same types. If not, dictionaries are read as plain columns, which save no
        memory, but join those of other tables in any library.
    """
    if metadata is not None:
        encoded = json.dumps(metadata, sort_keys=True, ensure_ascii=False).encode()
        table = table.replace_schema_metadata({_KEY: encoded})
    sink = BytesIO()
    # With checksums of pages, other readers can verify the data too.
    options = {"compression": "zstd", "write_page_checksum": True, "store_schema": arrow_types}
    with parquet.ParquetWriter(sink, table.schema, **options) as writer:
        writer.write_table(table)
        if not arrow_types:  # Arrow's schema contains the metadata
            writer.add_key_value_metadata(table.schema.metadata)
    data = sink.getvalue()
    footer = _footer(data)
    sink.seek(footer)
    sink.write(blake2b(data, digest_size=_SIZE).digest())
    sink.write(data[footer:])
    write_whole(path, sink.getbuffer())


def read_table(path: Path, filters: compute.Expression | None = None) -> pa.Table:
    """Read a table that `write_table` wrote.

    Parameters
    ----------
    path : Path
        The file.
    filters : pyarrow.compute.Expression, optional
        Which rows to read; all of them by default.

    Raises
    ------
    LabelsimError
        If the file is missing, cannot be read, or if any of its bytes has changed.
    """
    data = read_bytes(path)
    view, footer = memoryview(data), _footer(data)
    state = blake2b(view[: footer - _SIZE], digest_size=_SIZE)
    state.update(view[footer:])
    if state.digest() != view[footer - _SIZE : footer]:
        raise damaged(path, WRONG_CHECKSUM)
    return parquet.read_table(pa.BufferReader(data), filters=filters)


def read_metadata(table: pa.Table) -> dict[str, Any]:
    """The JSON metadata of a table that `write_table` wrote."""
    metadata: dict[str, Any] = json.loads(table.schema.metadata[_KEY])
    return metadata


def table_metadata(
    config: Mapping[str, Any], network: Mapping[str, Any], moments: Mapping[str, Any], version: str
) -> dict[str, Any]:
    """Metadata of every table of results: what the features were computed from, and by what.

    Parameters
    ----------
    config : mapping
        The whole configuration.
    network : mapping
        Contents of `network.json`.
    moments : mapping
        Attributes of `moments.zarr`.
    version : str
        Of labelsim.
    """
    return {
        "labelsim": version,
        "model": config["model"],
        "probe": config["probe"],
        "precision": config["extract"]["precision"],
        "compile": config["extract"]["compile"],
        "weights_digest": network["weights_digest"],
        "dataset_digest": moments["dataset_digest"],
        "computed_by": moments["computed_by"],
    }


def derived_metadata(neighbors: Path) -> dict[str, Any]:
    """Metadata of a table that is made from a table of neighbors: its own, and its digest."""
    return {**read_metadata(read_table(neighbors)), "neighbors_digest": file_digest(neighbors)}


def _footer(data: bytes) -> int:
    """Where the footer begins: a Parquet file ends with its footer, the footer's length (4 bytes) and PAR1."""
    return len(data) - 8 - int.from_bytes(data[-8:-4], "little")

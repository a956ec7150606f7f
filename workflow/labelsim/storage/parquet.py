"""Parquet tables: written whole or not at all, with JSON metadata under the key `labelsim`.

A table is sealed: under the key `labelsim_digest` its file holds a digest of all its other bytes, the footer's
statistics included, which other readers rely on.
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
from labelsim.storage.damage import SEAL_BROKEN, absent, damaged, unreadable

__all__ = ["read_metadata", "read_table", "write_table"]

_KEY = b"labelsim"
_SEAL = b"labelsim_digest"
_DIGITS = 32
# A key and the head of its value as the Parquet format lays them down (Thrift's compact protocol): a seal is found and
# checked before anything else is made of a file. The key stands in the footer, so a match in the data comes earlier.
_MARK = _SEAL + bytes([0x18, _DIGITS])


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
    sink = BytesIO()
    # Other readers can verify the pages.
    with parquet.ParquetWriter(sink, table.schema, compression="zstd", write_page_checksum=True) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_SEAL: b"0" * _DIGITS})
    place = _place(sink.getvalue())
    seal = _digest(sink.getbuffer(), place)
    sink.seek(place.start)
    sink.write(seal)
    write_whole(path, sink.getvalue())


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
        If it is not there, or is in any byte not as it was written.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise absent(path) from None
    except OSError as error:
        raise unreadable(path, error) from None
    place = _place(data)
    if data[place] != _digest(data, place):
        raise damaged(path, SEAL_BROKEN)
    return parquet.read_table(pa.BufferReader(data), filters=filters)


def read_metadata(table: pa.Table) -> dict[str, Any]:
    """The JSON metadata of a table that `write_table` wrote."""
    metadata: dict[str, Any] = json.loads(table.schema.metadata[_KEY])
    return metadata


def _place(data: bytes) -> slice:
    """Where the seal stands in a file; at its end, where it has none."""
    found = data.rfind(_MARK)
    start = len(data) if found < 0 else found + len(_MARK)
    return slice(start, start + _DIGITS)


def _digest(data: bytes | memoryview, place: slice) -> bytes:
    """Digest of all bytes of a file but those of its seal."""
    view = memoryview(data)
    state = blake2b(view[: place.start], digest_size=_DIGITS // 2)
    state.update(view[place.stop :])
    return state.hexdigest().encode()

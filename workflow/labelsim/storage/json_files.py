"""JSON files: complete or absent, with a digest of their contents under the key `checksum`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelsim.storage.atomic import write_whole
from labelsim.storage.damage import WRONG_CHECKSUM, damaged, read_bytes
from labelsim.storage.digests import digest

__all__ = ["read_document", "text_of", "with_digest", "write_document"]

_KEY = "checksum"


def write_document(path: Path, contents: Mapping[str, Any]) -> None:
    """Write a JSON object; equal contents give equal files.

    Parameters
    ----------
    path : Path
        Where to; missing folders are made.
    contents : mapping
        JSON values.
    """
    write_whole(path, text_of(with_digest(contents, _KEY)).encode())


def read_document(path: Path) -> dict[str, Any]:
    """Read what `write_document` wrote.

    Raises
    ------
    LabelsimError
        If the file is missing, cannot be read, or if any of its bytes has changed.
    """
    data = read_bytes(path)
    try:
        contents: dict[str, Any] = json.loads(data)
        intact = text_of(with_digest(contents, _KEY)).encode() == data
        contents.pop(_KEY, None)
    except (ValueError, TypeError, AttributeError) as error:
        raise damaged(path, error) from None
    if not intact:
        raise damaged(path, WRONG_CHECKSUM)
    return contents


def with_digest(contents: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The same contents, with a digest of them under a last key."""
    rest = {name: value for name, value in contents.items() if name != key}
    return {**rest, key: digest(text_of(rest))}


def text_of(value: Any) -> str:
    """JSON as it is written to files: reading it and writing it again gives the same text."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

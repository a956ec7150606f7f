"""JSON documents: written whole or not at all, with a checksum of their contents under the key `checksum`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from labelsim.storage.atomic import write_whole
from labelsim.storage.damage import SEAL_BROKEN, absent, damaged, unreadable
from labelsim.storage.digests import digest

__all__ = ["read_document", "sealed", "text_of", "write_document"]

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
    write_whole(path, text_of(sealed(contents, _KEY)).encode())


def read_document(path: Path) -> dict[str, Any]:
    """Read what `write_document` wrote.

    Raises
    ------
    LabelsimError
        If the file is not there, or is in any byte not as it was written.
    """
    try:
        data = path.read_bytes()
        contents: dict[str, Any] = json.loads(data)
        whole = text_of(sealed(contents, _KEY)).encode() == data
        contents.pop(_KEY, None)
    except FileNotFoundError:
        raise absent(path) from None
    except OSError as error:
        raise unreadable(path, error) from None
    except (ValueError, TypeError, AttributeError) as error:
        raise damaged(path, error) from None
    if not whole:
        raise damaged(path, SEAL_BROKEN)
    return contents


def sealed(contents: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The same contents with a digest of all of them under a last key."""
    rest = {name: value for name, value in contents.items() if name != key}
    return {**rest, key: digest(text_of(rest))}


def text_of(value: Any) -> str:
    """JSON as a file holds it: reading it and writing it again gives the same text."""
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

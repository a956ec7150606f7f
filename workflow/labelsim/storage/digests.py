"""Digests of texts, and of the bytes of files: XXH3, which is faster than any disk, against damage and confusion."""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

from xxhash import xxh3_128

from labelsim.storage.damage import unreadable

__all__ = ["canonical", "digest", "file_digest"]


def canonical(value: Any) -> str:
    """JSON with sorted keys and without spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest(text: str) -> str:
    """32 hexadecimal digits of a text."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """32 hexadecimal digits of a file's bytes; "missing" if there is no such file.

    Raises
    ------
    LabelsimError
        If the file cannot be read.
    """
    state = xxh3_128()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                state.update(block)
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError as error:
        raise unreadable(path, error) from None
    return state.hexdigest()

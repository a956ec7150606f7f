"""Digests of values and files."""

from __future__ import annotations

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any

__all__ = ["canonical", "digest", "file_digest"]


def canonical(value: Any) -> str:
    """JSON with sorted keys and without spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def digest(text: str) -> str:
    """32 hexadecimal digits of a text."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """32 hexadecimal digits of a file's contents; "missing" if there is no such file."""
    try:
        with path.open("rb") as file:
            state = blake2b(digest_size=16)
            while block := file.read(1 << 20):
                state.update(block)
    except FileNotFoundError:
        return "missing"
    return state.hexdigest()

"""Files that are complete or absent."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

from labelsim.storage.locks import check_claim

__all__ = ["sync", "write_whole"]


def write_whole(path: Path, data: bytes | memoryview) -> None:
    """Write a file by way of a temporary one and a rename: readers see a complete file or none.

    Parameters
    ----------
    path : Path
        Where to; missing folders are made.
    data : bytes or memoryview
        The file's contents.

    Raises
    ------
    SupersededError
        If another Snakemake has taken the run since this job was started.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A random name: after a kill, a job and its successor may write the same file at once.
    temporary = path.with_name(f"{path.name}.{token_hex(4)}.partial")
    try:
        temporary.write_bytes(data)
        sync(temporary)
        check_claim(path)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def sync(path: Path) -> None:
    """Wait until a file's contents have reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

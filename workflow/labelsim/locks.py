"""Locks that die with their holder."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from labelsim.errors import LabelsimError

__all__ = ["claim_run", "held", "one_held"]

logger = logging.getLogger(__name__)

_BUSY = (errno.EACCES, errno.EAGAIN)
_POLL = 1.0  # seconds
_CLAIMED: list[IO[str]] = []  # open until the process ends


@contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Hold a lock; wait for a process that holds it already.

    A POSIX record lock: the kernel drops it when its holder ends, however it ends, on network file
    systems too. Processes forked by the holder do not hold it.

    Parameters
    ----------
    path : Path
        The lock file. It stays behind; what it says is only who held the lock last.
    what : str
        What is locked, for the message of a process that waits.
    """
    with one_held([path], what):
        yield


@contextmanager
def one_held(paths: Sequence[Path], what: str) -> Iterator[int]:
    """Hold the first of several locks that is free; wait for one while other processes hold them all.

    Parameters
    ----------
    paths : sequence of Path
        The lock files, at least one.
    what : str
        What is locked, for the message of a process that waits.

    Yields
    ------
    int
        Which of them is held.
    """
    told = False
    while True:
        for which, path in enumerate(paths):
            file = _locked(path)
            if file is not None:
                with file:
                    yield which
                return
        if not told:
            holders = " and ".join(_holder(path) for path in paths)
            logger.warning("Waiting for %s, held by %s.", what, holders)
            told = True
        time.sleep(_POLL)  # there is no waiting for one lock of several


def claim_run(folder: Path) -> None:
    """Take a run for as long as this process lives.

    Snakemake's own locks are files: they stay behind a killed Snakemake, and all of them go when any run in the
    same folder ends, or with --unlock.

    Parameters
    ----------
    folder : Path
        The run's folder; made if it is not there.

    Raises
    ------
    LabelsimError
        If another process is at work on the run, or the folder cannot be written to.
    """
    path = folder / ".lock"
    try:
        file = _locked(path)
    except OSError as error:
        raise LabelsimError(
            f"{folder} cannot be written to ({error.strerror}).\n"
            "Mend that, or give the run another name (`run:` in the configuration)."
        ) from None
    if file is None:
        raise LabelsimError(
            f"{folder} is being worked on by {_holder(path)}.\nWait for that Snakemake to end, or stop it first."
        )
    _CLAIMED.append(file)


def _holder(path: Path) -> str:
    return path.read_text(encoding="utf-8").strip() or "another process"


def _locked(path: Path) -> IO[str] | None:
    """The lock file, locked until it is closed; None while another process has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            file.close()
            return None
        # Some network file systems are mounted without locks; work goes on there, as nearly always one job writes.
        logger.warning("%s cannot be locked (%s): two jobs at once would not notice each other.", path, error.strerror)
        return file
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file

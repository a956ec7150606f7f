"""Locks that end with the process that holds them, however it ends.

The library filelock writes no holder into its file, fails where the file system has no locks (ENOLCK), and elsewhere
(ENOSYS) falls back to a file that stays behind after a kill.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path
from secrets import token_hex
from typing import IO

from labelsim.errors import LabelsimError

__all__ = ["SupersededError", "check_claim", "claim_run", "claim_time", "lock", "lock_first_free"]

logger = logging.getLogger(__name__)

_BUSY = (errno.EACCES, errno.EAGAIN)
_POLL = 1.0  # seconds
_RUN = ".labelsim.lock"  # in the folder of a run
_CLAIM = "LABELSIM_CLAIM"
_run_locks: list[IO[str]] = []  # open until the process ends
_sockets: set[socket.socket] = set()


def _close_sockets() -> None:
    for bound in _sockets:
        bound.close()


# A forked process may outlive its parent, and must not hold the parent's locks.
os.register_at_fork(after_in_child=_close_sockets)


@contextmanager
def lock(path: Path, what: str) -> Iterator[None]:
    """Lock a file; wait while another process has locked it.

    A POSIX record lock: the kernel releases it when the process ends, on network file systems too. Forked processes do
    not hold it.

    Parameters
    ----------
    path : Path
        The lock file. It is not deleted; its contents only name the last holder.
    what : str
        What is locked, for the message of a process that waits.
    """
    warned = False
    while (file := _lock_file(path)) is None:
        if not warned:
            logger.warning("Waiting for %s, which is locked by %s.", what, _holder(path))
            warned = True
        time.sleep(_POLL)
    with file:
        yield


@contextmanager
def lock_first_free(names: Sequence[str], what: str) -> Iterator[int]:
    """Lock the first free one of several names on this machine; wait while other processes have locked them all.

    A lock is a socket in Linux's abstract namespace, not a file: jobs with a /tmp of their own share it. The kernel
    releases it when the process ends. Forked processes do not hold it.

    Parameters
    ----------
    names : sequence of str
        At least one, each of at most 80 bytes. Users do not share names.
    what : str
        What is locked, for the message of a process that waits.

    Yields
    ------
    int
        Position of the locked name.
    """
    warned = False
    while (found := _bind_first(names)) is None:
        if not warned:
            logger.warning("Waiting for %s: other jobs of yours use %s.", what, " and ".join(names))
            warned = True
        time.sleep(_POLL)
    position, bound = found
    _sockets.add(bound)
    try:
        yield position
    finally:
        _sockets.discard(bound)
        bound.close()


class SupersededError(LabelsimError):
    """A job outlived its Snakemake, and another Snakemake has taken over the run."""


def claim_run(folder: Path) -> None:
    """Reserve a run for this process until it ends.

    Snakemake's own locks are files: they remain after a kill, and all of them are deleted when any run in the same
    folder ends, or by --unlock. Jobs that this process starts inherit the claim through their environment.

    Parameters
    ----------
    folder : Path
        The run's folder; made if it is not there.

    Raises
    ------
    LabelsimError
        If another process works on the run, or the folder is not writable.
    """
    path, claim = folder / _RUN, token_hex(8)
    try:
        file = _lock_file(path, claim)
    except OSError as error:
        raise LabelsimError(
            f"{folder} cannot be written to ({error.strerror}).\n"
            "Fix that, or give the run another name (`run:` in the configuration)."
        ) from None
    if file is None:
        raise LabelsimError(
            f"{folder} is in use by {_holder(path)}.\nWait until that Snakemake ends, or stop it first."
        )
    os.environ[_CLAIM] = claim
    _run_locks.append(file)


def claim_time(folder: Path) -> float:
    """When a run was reserved, in seconds since the epoch by the clock of its file system; infinity if it was not."""
    path = folder / _RUN
    return path.stat().st_mtime if path.exists() else inf


def check_claim(path: Path) -> None:
    """Check that this job's Snakemake still has the run; called before a file is published.

    Parameters
    ----------
    path : Path
        The file, anywhere below the run's folder.

    Raises
    ------
    SupersededError
        If another Snakemake has taken over the run.
    """
    claim = os.environ.get(_CLAIM)
    file = next((folder / _RUN for folder in path.parents if (folder / _RUN).exists()), None)
    if claim is None or file is None:
        return
    holder, _, current = file.read_text(encoding="utf-8").strip().partition("\n")
    if current != claim:
        raise SupersededError(
            f"{path} is not written: this job's Snakemake has ended, and {holder} has taken over the run.\n"
            "The results are those of the newer one."
        )


def _holder(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0] or "another process"


def _bind_first(names: Sequence[str]) -> tuple[int, socket.socket] | None:
    """The first free name's position and a socket bound to it; None while other processes have them all."""
    for position, name in enumerate(names):
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            bound.bind(f"\0labelsim-{os.getuid()}-{name}")
        except OSError as error:
            bound.close()
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return position, bound
    return None


def _lock_file(path: Path, claim: str = "") -> IO[str] | None:
    """The file, locked until it is closed, with its holder in it; None while another process has locked it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            file.close()
            return None
        # Some network file systems have no locks. Work goes on, as nearly always only one job writes.
        logger.warning("%s cannot be locked (%s): two jobs at once would not notice each other.", path, error.strerror)
    file.truncate(0)
    file.write("\n".join([f"process {os.getpid()} on {socket.gethostname()}", *filter(None, [claim]), ""]))
    file.flush()
    os.fsync(file.fileno())  # other machines read it while it is open here
    return file

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
from secrets import token_hex
from typing import IO

from labelsim.errors import LabelsimError

__all__ = ["SupersededError", "check_claim", "claim_run", "held", "one_name_held"]

logger = logging.getLogger(__name__)

_BUSY = (errno.EACCES, errno.EAGAIN)
_POLL = 1.0  # seconds
_RUN = ".labelsim.lock"  # in the folder of a run
_CLAIM = "LABELSIM_CLAIM"
_CLAIMED: list[IO[str]] = []  # open until the process ends
_NAMES: set[socket.socket] = set()


def _let_go() -> None:
    """Close, in a process that was forked, what its parent holds: it may outlive the parent."""
    for taken in _NAMES:
        taken.close()


os.register_at_fork(after_in_child=_let_go)


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
    told = False
    while (file := _locked(path)) is None:
        if not told:
            logger.warning("Waiting for %s, held by %s.", what, _holder(path))
            told = True
        time.sleep(_POLL)
    with file:
        yield


@contextmanager
def one_name_held(names: Sequence[str], what: str) -> Iterator[int]:
    """Hold the first of several names that is free on this machine; wait for one while other processes hold them all.

    A name is that of a socket in Linux's abstract namespace, not a file: jobs that have a /tmp of their own share it.
    The kernel drops it when its holder ends, however it ends. Processes forked by the holder do not hold it.

    Parameters
    ----------
    names : sequence of str
        At least one, each of at most 80 bytes. Another user's are others.
    what : str
        What is named, for the message of a process that waits.

    Yields
    ------
    int
        Which of them is held.
    """
    told = False
    while True:
        for which, name in enumerate(names):
            taken = _bound(f"\0labelsim-{os.getuid()}-{name}")
            if taken is not None:
                _NAMES.add(taken)
                try:
                    yield which
                finally:
                    _NAMES.discard(taken)
                    taken.close()
                return
        if not told:
            logger.warning("Waiting for %s: other jobs of yours hold %s.", what, " and ".join(names))
            told = True
        time.sleep(_POLL)


class SupersededError(LabelsimError):
    """A job outlived its Snakemake, and another one has taken the run since."""


def claim_run(folder: Path) -> None:
    """Take a run for as long as this process lives.

    Snakemake's own locks are files: they stay behind a killed Snakemake, and all of them go when any run in the
    same folder ends, or with --unlock. The jobs that this process starts inherit the claim by their environment.

    Parameters
    ----------
    folder : Path
        The run's folder; made if it is not there.

    Raises
    ------
    LabelsimError
        If another process is at work on the run, or the folder cannot be written to.
    """
    path, claim = folder / _RUN, token_hex(8)
    try:
        file = _locked(path, claim)
    except OSError as error:
        raise LabelsimError(
            f"{folder} cannot be written to ({error.strerror}).\n"
            "Mend that, or give the run another name (`run:` in the configuration)."
        ) from None
    if file is None:
        raise LabelsimError(
            f"{folder} is being worked on by {_holder(path)}.\nWait for that Snakemake to end, or stop it first."
        )
    os.environ[_CLAIM] = claim
    _CLAIMED.append(file)


def check_claim(path: Path) -> None:
    """Check that the run is still that of the Snakemake that this job works for; called before a file is published.

    Parameters
    ----------
    path : Path
        The file, anywhere below the run's folder.

    Raises
    ------
    SupersededError
        If another Snakemake has taken the run since.
    """
    claim = os.environ.get(_CLAIM)
    lock = next((folder / _RUN for folder in path.parents if (folder / _RUN).exists()), None)
    if claim is None or lock is None:
        return
    holder, _, current = lock.read_text(encoding="utf-8").strip().partition("\n")
    if current != claim:
        raise SupersededError(
            f"{path} is not written: this job's Snakemake has ended, and {holder} has taken the run since.\n"
            "The results are those of the newer one."
        )


def _holder(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0] or "another process"


def _bound(address: str) -> socket.socket | None:
    """A socket of this address; None while another process has it."""
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise
    return bound


def _locked(path: Path, claim: str = "") -> IO[str] | None:
    """The lock file, locked until it is closed; None while another process has it. It says who has it."""
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
    file.truncate(0)
    file.write("\n".join([f"process {os.getpid()} on {socket.gethostname()}", *filter(None, [claim]), ""]))
    file.flush()
    os.fsync(file.fileno())  # other machines read it while it is open here
    return file

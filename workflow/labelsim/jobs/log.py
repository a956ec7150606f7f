"""The log of a job, and its last message when it is stopped or cannot continue."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from labelsim.errors import LabelsimError
from labelsim.storage.locks import SupersededError

__all__ = ["AGAIN", "job_log", "last_errors"]

_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"
AGAIN = "Run the same command again: it continues from here."

# Errors that people, not code, have to fix.
_CIRCUMSTANCES = {
    errno.ENOSPC: "There is no space left on the disk",
    errno.EDQUOT: "The disk quota is used up",
    errno.EROFS: "The file system is read-only",
    errno.EACCES: "There is no permission",
    errno.EPERM: "There is no permission",
    errno.EIO: "The disk or the network file system failed",
    errno.ESTALE: "The network file system lost a file",
    errno.ENOTCONN: "The network file system is not connected",
    errno.EMFILE: "Too many files are open (ulimit -n)",
    errno.ENOMEM: "There is not enough memory",
}


class _Terminated(BaseException):
    """SIGTERM: the job was cancelled or pre-empted, or is out of time."""


class _FileHandler(logging.FileHandler):
    """A log file that may be incomplete on a full disk: the terminal shows the message too."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


@contextmanager
def job_log(path: str | Path) -> Iterator[None]:
    """Log to a file and to the terminal; end a job that fails with one message.

    Parameters
    ----------
    path : path
        The job's log file.

    Raises
    ------
    SystemExit
        After one message, for a `LabelsimError`, an interrupt (Ctrl-C), SIGTERM, a lack of memory, and an error of
        the file system that people have to fix, such as a full disk. Other exceptions are logged with their traceback
        and raised again.
    """
    logger = logging.getLogger("labelsim")
    logger.setLevel(logging.INFO)
    warnings = logging.getLogger("py.warnings")
    handlers: list[logging.Handler] = []

    def add(handler: logging.Handler) -> None:
        handlers.append(handler)
        handler.setFormatter(logging.Formatter(_FORMAT, "%H:%M:%S"))
        logger.addHandler(handler)
        warnings.addHandler(handler)

    def end(code: int, *message: object) -> NoReturn:
        logger.error(*message)
        sys.exit(code)

    add(logging.StreamHandler(sys.stderr))
    logging.captureWarnings(capture=True)
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        add(_FileHandler(path, mode="w", encoding="utf-8"))
        yield
    except SupersededError as error:
        end(0, "%s", error)  # if the job failed, Snakemake would delete outputs of the newer run
    except LabelsimError as error:
        end(1, "%s", error)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Snakemake may send a second one
        end(128 + signal.SIGINT, "Interrupted. %s", AGAIN)
    except _Terminated:
        end(128 + signal.SIGTERM, "Stopped (SIGTERM): cancelled, pre-empted or out of time. %s", AGAIN)
    except OSError as error:
        if error.errno not in _CIRCUMSTANCES:
            logger.exception("This should not have happened; please report it with this log.")
            raise
        where = f": {error.filename}" if error.filename else ""
        end(1, "%s%s (%s).\nFix that. %s", _CIRCUMSTANCES[error.errno], where, os.strerror(error.errno), AGAIN)
    except MemoryError:
        end(1, "There is not enough memory.\nGive the job more (mem_mb). %s", AGAIN)
    except Exception:
        logger.exception("This should not have happened; please report it with this log.")
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        logging.captureWarnings(capture=False)
        for handler in handlers:
            logger.removeHandler(handler)
            warnings.removeHandler(handler)
            with suppress(OSError):  # of a full disk
                handler.close()


def last_errors(logs: Path, since: float) -> list[str]:
    """The last messages of jobs that failed, each after the path of its log; of a traceback its last line.

    Parameters
    ----------
    logs : Path
        The folder of the logs of a run.
    since : float
        Modification time of a file that was written when its Snakemake was started: older logs are of earlier runs.
    """
    found = []
    for path in sorted(logs.rglob("*.log")):
        if path.stat().st_mtime >= since:
            _, error, message = path.read_text(encoding="utf-8", errors="replace").rpartition(f" {'ERROR':<7} ")
            if error:
                text, traceback, rest = message.strip().partition("\nTraceback")
                found.append(f"{path}: {text}" + (f"\n{rest.splitlines()[-1]}" if traceback else ""))
    return found


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise _Terminated

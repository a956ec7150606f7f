"""The log of a job."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from labelsim.errors import LabelsimError

__all__ = ["job_log"]

_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


@contextmanager
def job_log(path: str | Path) -> Iterator[None]:
    """Send what labelsim logs to a file and to the terminal, and end a job that fails with one message.

    Parameters
    ----------
    path : path
        The job's log file.

    Raises
    ------
    SystemExit
        For a `LabelsimError`, after its message was logged, and for an interrupt (Ctrl-C); other
        exceptions are logged with their traceback and pass through.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [
        logging.FileHandler(path, mode="w", encoding="utf-8"),
        logging.StreamHandler(sys.stderr),
    ]
    logger = logging.getLogger("labelsim")
    logger.setLevel(logging.INFO)
    logging.captureWarnings(capture=True)
    warnings = logging.getLogger("py.warnings")
    for handler in handlers:
        handler.setFormatter(logging.Formatter(_FORMAT, "%H:%M:%S"))
        logger.addHandler(handler)
        warnings.addHandler(handler)
    try:
        yield
    except LabelsimError as error:
        logger.error("%s", error)
        sys.exit(1)
    except KeyboardInterrupt:
        logger.error("Interrupted. Run the same command again: it continues from here.")
        sys.exit(130)  # as a shell has it for SIGINT
    except Exception:
        logger.exception("This should not have happened; please report it with this log.")
        raise
    finally:
        logging.captureWarnings(capture=False)
        for handler in handlers:
            logger.removeHandler(handler)
            warnings.removeHandler(handler)
            handler.close()

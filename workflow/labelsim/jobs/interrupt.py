"""Interrupting Snakemake (Ctrl-C): its jobs stop as well, and it ends without error messages."""

from __future__ import annotations

import logging
import signal
import sys
from contextlib import suppress
from threading import Event
from types import FrameType

import psutil
from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from labelsim.jobs.log import AGAIN

__all__ = ["end_if_interrupted", "stop_jobs_on_interrupt"]

_INTERRUPTED = Event()


def stop_jobs_on_interrupt() -> None:
    """Make the first interrupt of this process interrupt its jobs as well.

    Ctrl-C in a terminal reaches them anyway, but `kill -INT` or an interrupt by another program does not, and Snakemake
    waits for running jobs. Further interrupts act as usual. If interrupts are ignored (in the background of a shell),
    they still are.
    """
    before = signal.getsignal(signal.SIGINT)

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        _INTERRUPTED.set()
        logger.addFilter(_is_no_job_failure)
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGINT)
        raise KeyboardInterrupt

    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)


def end_if_interrupted() -> None:
    """After an interrupt, exit with a message that says how to continue.

    Raises
    ------
    SystemExit
        If this process was interrupted.
    """
    if _INTERRUPTED.is_set():
        print(f"\nInterrupted. {AGAIN}", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def _is_no_job_failure(record: logging.LogRecord) -> bool:
    """Filter of messages: after an interrupt, jobs have not failed, and they logged that they were stopped."""
    failure = getattr(record, "event", None) == LogEvent.JOB_ERROR
    return not failure and getattr(record, "exception", None) != "RuleException"

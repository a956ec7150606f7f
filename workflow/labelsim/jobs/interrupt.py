"""What an interrupt (Ctrl-C) does to Snakemake itself: its jobs stop as well, and it ends without a word of faults."""

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
    """Have the first interrupt of this process interrupt the processes of its jobs as well.

    The terminal's Ctrl-C reaches them by itself, but `kill -INT`, or a program that started Snakemake, does not; and
    Snakemake waits for jobs that run. Further interrupts do what they did before. Where interrupts are ignored (a shell
    in the background), they still are.
    """
    before = signal.getsignal(signal.SIGINT)

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, before)
        _INTERRUPTED.set()
        logger.addFilter(_is_worth_saying)
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGINT)
        raise KeyboardInterrupt

    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)


def end_if_interrupted() -> None:
    """Say last what helps after an interrupt.

    Raises
    ------
    SystemExit
        If this process was interrupted.
    """
    if _INTERRUPTED.is_set():
        print(f"\nInterrupted. {AGAIN}", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def _is_worth_saying(record: logging.LogRecord) -> bool:
    """Whether a message is none about a job's failure: the jobs were stopped, and have said so."""
    failure = getattr(record, "event", None) == LogEvent.JOB_ERROR
    return not failure and getattr(record, "exception", None) != "RuleException"

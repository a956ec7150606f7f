"""Signals to Snakemake: an interrupt (Ctrl-C) stops its jobs as well, and SIGTERM always ends it."""

from __future__ import annotations

import logging
import signal
import sys
from contextlib import suppress
from importlib import import_module
from threading import Event, Thread
from types import FrameType

import psutil
from snakemake.logging import logger
from snakemake_interface_logger_plugins.common import LogEvent

from labelsim.jobs.log import AGAIN

__all__ = ["end_if_interrupted", "handle_termination", "stop_jobs_on_interrupt"]

_INTERRUPTED = Event()


def stop_jobs_on_interrupt() -> None:
    """Make the first interrupt of this process interrupt its jobs as well.

    Ctrl-C in a terminal reaches them anyway, but `kill -INT` or an interrupt by another program does not, and Snakemake
    waits for running jobs. Further interrupts act as usual. If interrupts are ignored (in the background of a shell),
    they still are.
    """
    with suppress(ImportError):
        import_module("polars")  # Snakemake's first job imports it, which would replace the handler
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


def handle_termination() -> None:
    """Run the handler of SIGTERM in a thread of its own.

    Snakemake's (9.27) takes a lock that its main thread holds while it selects jobs: there it would wait forever.
    """
    before = signal.getsignal(signal.SIGTERM)
    if callable(before):
        signal.signal(signal.SIGTERM, lambda *arguments: Thread(target=before, args=arguments, daemon=True).start())


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

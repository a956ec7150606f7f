import logging
import subprocess
import sys
import warnings

import pytest

from labelsim.errors import LabelsimError
from labelsim.jobs.log import AGAIN, job_log, last_errors

JOB = """
import logging, signal, sys, warnings
from labelsim.errors import LabelsimError
from labelsim.jobs.log import job_log

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background of a shell
with job_log(sys.argv[1]):
    logging.getLogger("labelsim.stages.scan").info("3 images é")
    logging.getLogger("another").info("not of labelsim")
    exec(sys.argv[2])
"""


def run(tmp_path, statement):
    """Run a job; return its exit code, its log and what it wrote to the terminal."""
    log = tmp_path / "logs" / "extract" / "a.log"
    done = subprocess.run([sys.executable, "-c", JOB, log, statement], capture_output=True, text=True)
    return done.returncode, log.read_text(encoding="utf-8"), done.stderr


def test_a_job_logs_to_its_file_and_to_the_terminal(tmp_path):
    code, log, terminal = run(tmp_path, "pass")
    assert code == 0
    assert log == terminal
    assert log.endswith(" INFO    3 images é\n")
    assert log.count("\n") == 1


def test_an_error_for_people_ends_a_job_without_a_traceback(tmp_path):
    code, log, terminal = run(tmp_path, "raise LabelsimError('There is no folder é.\\nMake it.')")
    assert code == 1
    assert log == terminal
    assert "ERROR   There is no folder é.\nMake it.\n" in log
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("name", "expected", "message"),
    [("SIGINT", 130, "Interrupted"), ("SIGTERM", 143, "SIGTERM")],
)
def test_a_job_that_is_stopped_says_so_without_a_traceback(tmp_path, name, expected, message):
    code, log, terminal = run(tmp_path, f"import os, signal; os.kill(os.getpid(), signal.{name})")
    assert code == expected
    assert log == terminal
    assert message in log
    assert AGAIN in log
    assert "Traceback" not in log


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a file system of its own can only be mounted by root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_reported_on_the_terminal(small_disk):
    fill = f"open({str(small_disk / 'data')!r}, 'wb').write(bytes(100_000))"
    code, log, terminal = run(small_disk, fill)
    assert code == 1
    assert "no space left" in terminal
    assert AGAIN in terminal
    assert "Traceback" not in terminal
    assert terminal.startswith(log)  # as much of it as there was room for


def test_a_job_that_has_too_little_memory_names_the_resource(tmp_path):
    code, log, terminal = run(tmp_path, "import numpy; numpy.empty(1 << 60, 'u1')")
    assert code == 1
    assert log == terminal
    assert "mem_mb" in log
    assert "Traceback" not in log


def test_a_read_only_folder_is_reported_even_if_it_is_that_of_the_log(small_disk):
    (small_disk / "logs/extract").mkdir(parents=True)
    (small_disk / "logs/extract/a.log").write_text("before", encoding="utf-8")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    code, log, terminal = run(small_disk, "pass")
    assert code == 1
    assert log == "before"
    assert "read-only" in terminal
    assert f"{small_disk}/logs/extract/a.log" in terminal
    assert "Traceback" not in terminal


def test_any_other_error_leaves_its_traceback_in_the_log(tmp_path):
    code, log, terminal = run(tmp_path, "{}['no such key']")
    assert code == 1
    for text in (log, terminal):
        assert "This should not have happened; please report it" in text
        assert "Traceback" in text
        assert "KeyError: 'no such key'" in text


def test_the_last_errors_of_a_run_are_those_of_its_own_jobs(tmp_path):
    run(tmp_path, 'raise LabelsimError("a.jpg is truncated.\\nMend it.")')
    log = tmp_path / "logs/extract/a.log"
    (tmp_path / "logs/scan.log").write_text("12:00:00 INFO    3 images\n", encoding="utf-8")
    started = log.stat().st_mtime
    assert last_errors(tmp_path / "logs", started) == [f"{log}: a.jpg is truncated.\nMend it."]
    assert last_errors(tmp_path / "logs", started + 1) == []
    run(tmp_path, "1 / 0")
    (line,) = last_errors(tmp_path / "logs", started)
    assert line.startswith(f"{log}: ")
    assert line.endswith("\nZeroDivisionError: division by zero")
    assert "Traceback" not in line


def test_warnings_are_logged(tmp_path):
    code, log, terminal = run(tmp_path, "warnings.warn('dead channels', RuntimeWarning)")
    assert code == 0
    assert log == terminal
    assert "WARNING" in log
    assert "RuntimeWarning: dead channels" in log


def test_the_log_of_an_earlier_job_is_replaced(tmp_path):
    run(tmp_path, "raise LabelsimError('first')")
    assert "first" not in run(tmp_path, "pass")[1]


def test_logging_is_as_before_when_the_job_has_ended(tmp_path):
    loggers = [logging.getLogger(name) for name in ("labelsim", "py.warnings")]
    before = [list(logger.handlers) for logger in loggers]
    with job_log(tmp_path / "a.log"):
        assert all(len(logger.handlers) == len(old) + 2 for logger, old in zip(loggers, before, strict=True))
    with pytest.raises(SystemExit) as caught, job_log(tmp_path / "a.log"):
        raise LabelsimError("wrong")
    assert caught.value.code == 1
    assert [logger.handlers for logger in loggers] == before
    with pytest.warns(UserWarning, match="seen"):
        warnings.warn("seen", UserWarning, stacklevel=1)

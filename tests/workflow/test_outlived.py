"""A job that outlives its Snakemake must not replace what a newer run has made."""

import os
import signal
import time

import psutil
import pytest
from workflows import ENVIRONMENT, contents, snakemake, started


def script(folder, name):
    """The process that runs a script for a job of the workflow in a folder, as soon as there is one."""
    while True:
        for process in psutil.process_iter(["cmdline", "cwd"]):
            command = process.info["cmdline"] or []
            if process.info["cwd"] == str(folder) and any(part.endswith(f".{name}.py") for part in command):
                return process
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("rule", "section", "key", "values"),
    [
        ("neighbors", "neighbors", "k", (1, 2)),
        ("scan", "dataset", "images_per_class", (4, 5)),
        ("similarity", "similarity", "methods", (["gap"], ["gap", "welch"])),
        ("class_figure", "neighbors", "k", (1, 2)),
    ],
)
def test_an_old_job_changes_nothing_of_a_new_run(rerun, rule, section, key, values):
    folder, results = rerun.folder, rerun.folder / "results/small"
    rerun.configure(f"{section}.{key}", values[0])
    with started(folder) as first:
        old = script(folder, rule)
        old.send_signal(signal.SIGSTOP)
        os.kill(first.pid, signal.SIGKILL)
    rerun.configure(f"{section}.{key}", values[1])
    assert snakemake(folder, "--unlock").code == 0
    outcome = snakemake(folder)
    assert outcome.code == 0, outcome.output
    expected = contents(results), {path: path.read_bytes() for path in results.rglob("*.png")}
    old.send_signal(signal.SIGCONT)
    psutil.wait_procs([old])
    assert (contents(results), {path: path.read_bytes() for path in results.rglob("*.png")}) == expected
    assert "is not written" in (folder / "output.log").read_text(encoding="utf-8")
    assert "Nothing to be done" in snakemake(folder, "--dry-run").output


def test_a_job_that_is_started_late_deletes_nothing_of_a_new_run(rerun, monkeypatch):
    results = rerun.folder / "results/small"
    assert snakemake(rerun.folder, "--forcerun", "neighbors").code == 0
    expected = contents(results)
    monkeypatch.setitem(ENVIRONMENT, "LABELSIM_CLAIM", "that of another")
    outcome = snakemake(rerun.folder, "--forcerun", "neighbors")
    assert outcome.code == 1
    assert "Traceback" not in outcome.output
    assert contents(results) == expected

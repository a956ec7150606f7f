import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from labelsim.storage.locks import SupersededError, check_claim, claim_run, lock, lock_first_free

# Waits for a word, takes the lock of a file, or the first free of several names, says which, and holds it until the
# next word. A process that it forked lives on until the test ends: workers that decode images outlive a killed job.
HOLDER = """
import logging, os, sys
from pathlib import Path
from labelsim.storage.locks import lock, lock_first_free
logging.basicConfig(stream=sys.stdout, format="%(message)s")
sys.stdout.reconfigure(line_buffering=True)
sys.stdin.readline()
kind, *what = sys.argv[2:]
with lock(Path(what[0]), "it") if kind == "file" else lock_first_free(what, "a free GPU") as which:
    if os.fork() == 0:
        os.closerange(0, 3)
        os.read(int(sys.argv[1]), 1)
        os._exit(0)
    print(f"has {which or 0}")
    sys.stdin.readline()
print("done")
"""


class Holder:
    """A process that takes and holds a lock on command, with a temporary folder of its own, as on clusters."""

    def __init__(self, folder: Path, end: int, kind: str, *what: str) -> None:
        folder.mkdir()
        command = [sys.executable, "-c", HOLDER, str(end), kind, *what]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self.process = subprocess.Popen(command, pass_fds=[end], env={**os.environ, "TMPDIR": str(folder)}, **pipes)

    def go_on(self) -> str:
        self.process.stdin.write("\n")
        return self.says()

    def says(self) -> str:
        return self.process.stdout.readline().rstrip("\n")


@pytest.fixture
def start(tmp_path):
    """Start so many processes that take the same file or names."""
    started = []
    end, test = os.pipe()

    def start(processes: int, kind: str, *what: str) -> list[Holder]:
        started.extend(Holder(tmp_path / f"tmp{number}", end, kind, *what) for number in range(processes))
        return started

    yield start
    for holder in started:
        holder.process.kill()
        holder.process.communicate()
    os.close(end)
    os.close(test)


@pytest.fixture
def names():
    """Four names that no other test has."""
    run = uuid4().hex
    return [f"GPU-{run}-{number}" for number in range(4)]


@pytest.mark.parametrize("kind", ["file", "name"])
def test_a_lock_passes_on_when_its_holder_ends_or_is_killed(start, kind, tmp_path, names):
    first, second, third = start(3, kind, str(tmp_path / "locks/it") if kind == "file" else names[0])
    assert first.go_on() == "has 0"
    # It says what it waits for before it waits; only then does the holder end.
    says = second.go_on()
    holder = f"process {first.process.pid} on {os.uname().nodename}" if kind == "file" else names[0]
    assert says.startswith("Waiting for ")
    assert holder in says
    assert first.go_on() == "done"
    assert second.says() == "has 0"
    assert third.go_on().startswith("Waiting for ")
    second.process.kill()
    assert third.says() == "has 0"
    assert third.go_on() == "done"


def test_each_of_four_jobs_has_a_gpu_of_its_own_and_a_fifth_takes_that_of_a_killed_one(start, names):
    *four, fifth = start(5, "name", *names)
    assert [holder.go_on() for holder in four] == ["has 0", "has 1", "has 2", "has 3"]
    waits = fifth.go_on()
    assert all(name in waits for name in names)
    four[2].process.kill()
    assert fifth.says() == "has 2"
    assert all(holder.process.poll() is None for holder in (four[0], four[1], four[3]))


def test_a_lock_that_nobody_holds_is_taken_at_once(tmp_path, names, caplog):
    for _ in range(2):
        with lock(tmp_path / "a.lock", "it"):
            assert (tmp_path / "a.lock").read_text() == f"process {os.getpid()} on {os.uname().nodename}\n"
        with lock_first_free(names, "a name") as which:
            assert which == 0
            with lock_first_free(names, "a name") as other:
                assert other == 1
    assert caplog.records == []


@pytest.mark.parametrize("locks", [True, False], ids=["with locks", "without locks"])
def test_files_of_a_run_are_published_under_its_claim_only(tmp_path, monkeypatch, locks):
    if not locks:  # as some network file systems are mounted

        def lockf(file, operation):
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "lockf", lockf)
    path = tmp_path / "run" / "features" / "a.zarr" / "zarr.json"
    monkeypatch.setenv("LABELSIM_CLAIM", "")  # so that it is taken back after the test
    claim_run(tmp_path / "run")
    first = os.environ["LABELSIM_CLAIM"]
    check_claim(path)
    claim_run(tmp_path / "run")
    check_claim(path)
    monkeypatch.setenv("LABELSIM_CLAIM", first)
    with pytest.raises(SupersededError, match=str(path)):
        check_claim(path)
    check_claim(tmp_path / "elsewhere" / "file")
    monkeypatch.delenv("LABELSIM_CLAIM")  # a stage that is called without Snakemake
    check_claim(path)

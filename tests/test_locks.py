import os
import subprocess
import sys
from pathlib import Path

import pytest

from labelsim.locks import held

# Waits for a word, takes the first free lock of those named, says which, and holds it until the next word. A process
# that it forked lives on until the test ends: workers that decode images outlive a job that is killed.
HOLDER = """
import logging, os, sys
from pathlib import Path
from labelsim.locks import one_held
logging.basicConfig(stream=sys.stdout, format="%(message)s")
sys.stdout.reconfigure(line_buffering=True)
sys.stdin.readline()
with one_held([Path(path) for path in sys.argv[2:]], "a free GPU") as which:
    if os.fork() == 0:
        os.closerange(0, 3)
        os.read(int(sys.argv[1]), 1)
        os._exit(0)
    print(f"has {which}")
    sys.stdin.readline()
print("done")
"""


class Holder:
    """A process that takes and holds a lock on command."""

    def __init__(self, paths: list[Path], end: int) -> None:
        command = [sys.executable, "-c", HOLDER, str(end), *map(str, paths)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self.process = subprocess.Popen(command, pass_fds=[end], **pipes)
        self.name = f"process {self.process.pid} on {os.uname().nodename}"

    def go_on(self) -> str:
        self.process.stdin.write("\n")
        return self.says()

    def says(self) -> str:
        return self.process.stdout.readline().rstrip("\n")


@pytest.fixture
def holders(tmp_path):
    """Start so many processes with so many locks."""
    started = []
    end, test = os.pipe()

    def start(processes: int, locks: int) -> list[Holder]:
        paths = [tmp_path / "locks" / f"GPU-{n}.lock" for n in range(locks)]
        started.extend(Holder(paths, end) for _ in range(processes))
        return started

    yield start
    for holder in started:
        holder.process.kill()
        holder.process.communicate()
    os.close(end)
    os.close(test)


def test_a_lock_passes_on_when_its_holder_ends_or_is_killed(holders):
    first, second, third = holders(3, locks=1)
    assert first.go_on() == "has 0"
    # It says whom it waits for before it waits; only then does the holder end.
    assert second.go_on() == f"Waiting for a free GPU, held by {first.name}."
    assert first.go_on() == "done"
    assert second.says() == "has 0"
    assert third.go_on() == f"Waiting for a free GPU, held by {second.name}."
    second.process.kill()
    assert third.says() == "has 0"
    assert third.go_on() == "done"


def test_each_of_four_jobs_has_a_gpu_of_its_own_and_a_fifth_takes_that_of_a_killed_one(holders):
    *four, fifth = holders(5, locks=4)
    assert [holder.go_on() for holder in four] == ["has 0", "has 1", "has 2", "has 3"]
    assert fifth.go_on() == "Waiting for a free GPU, held by " + " and ".join(holder.name for holder in four) + "."
    four[2].process.kill()
    assert fifth.says() == "has 2"
    assert all(holder.process.poll() is None for holder in (four[0], four[1], four[3]))


def test_a_lock_that_nobody_holds_is_taken_at_once(tmp_path, caplog):
    for _ in range(2):
        with held(tmp_path / "a.lock", "it"):
            assert (tmp_path / "a.lock").read_text() == f"process {os.getpid()} on {os.uname().nodename}\n"
    assert caplog.records == []

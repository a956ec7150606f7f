"""`labelsim status` while Snakemake runs, after it was killed, and after the end."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen

import toy
from typer.testing import CliRunner

from labelsim import cli
from labelsim.jobs.progress import read_progress

ROWS = toy.config()["store"]["rows_per_chunk"]


def wait_until(reached: Callable[[], bool], process: Popen[bytes]) -> None:
    while not reached():
        assert process.poll() is None, "the workflow ended before it was looked at"
        time.sleep(0.001)


def begun(journal: Path) -> bool:
    """Whether a chunk is recorded, after the first line."""
    return journal.read_bytes().count(b"\n") > 1


def recorded(results: Path) -> int:
    """Images in the chunks of the hidden state that journals list."""
    index = json.loads((results / "shards/index.json").read_text(encoding="utf-8"))
    images = {shard["name"]: shard["images"] for shard in index["shards"]}
    total = 0
    for journal in results.glob("features/*.journal"):
        entries = [json.loads(line.partition(" ")[2]) for line in journal.read_text(encoding="utf-8").splitlines()]
        names = {name for entry in entries[1:] for name in entry["digests"] if name.startswith("hidden/")}
        starts = [int(name.split("/")[2]) * ROWS for name in names]
        total += sum(min(ROWS, images[journal.stem] - start) for start in starts)
    return total


def status(results: Path, *options: str) -> str:
    result = CliRunner().invoke(cli.app, ["status", str(results), *options], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_status_of_a_run_that_is_held_and_killed(tmp_path, start):
    folder = toy.write(tmp_path / "looked-at")
    results = folder / "results/toy"
    (folder / "hold").touch()  # the extraction stops inside a shard
    with start(folder) as process:
        wait_until(lambda: (results / "logs").exists(), process)
        seen = {read_progress(results).stage}
        wait_until(lambda: any(map(begun, results.glob("features/*.journal"))), process)
        said = status(results)
        os.killpg(process.pid, signal.SIGKILL)
    assert seen <= {"scan", "network", "shard", "preflight", "extract"}
    assert "is at the stage extract" in said
    killed = read_progress(results)
    assert killed.images == 170
    assert 0 < killed.done == recorded(results) < 170
    assert sum(killed.seconds.values()) > 0
    assert killed.device == "cpu"


def test_status_of_a_finished_run(base):
    results = base / "results/toy"
    finished = read_progress(results)
    assert finished.stage == "finished"
    assert (finished.images, finished.done, finished.rejected) == (170, 170, len(toy.REJECTS))
    assert finished.made[-1] == "figures (4)"
    said = status(results, "--watch")  # ends by itself
    assert "is finished" in said
    assert "170 of 170" in said

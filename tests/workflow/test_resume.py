"""A workflow that is killed at any moment and run again gives the same tables."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from subprocess import Popen

import pytest
import toy
from workflows import contents


def wait_until(reached: Callable[[], bool], process: Popen[bytes]) -> None:
    while not reached():
        assert process.poll() is None, "the workflow ended before it was killed"
        time.sleep(0.001)


def lines(journal: Path) -> int:
    return journal.read_bytes().count(b"\n")


def features(results: Path) -> dict[str, bytes]:
    """What all other results are computed from."""
    return {name: data for name, data in contents(results).items() if name.startswith("features/")}


def half_done(results: Path) -> set[str]:
    """Shards of which some chunks are written, but not all."""
    journals = [path for path in results.glob("features/*.journal") if lines(path) > 1]
    return {path.stem for path in journals if not path.with_suffix(".zarr").joinpath("zarr.json").exists()}


@pytest.mark.parametrize(
    ("interrupt", "workers"),
    # Of Snakemake alone, and of all at once, as a terminal's Ctrl-C does it.
    [(Popen.send_signal, 1), (lambda process, number: os.killpg(process.pid, number), 0)],
    ids=["snakemake", "all"],
)
def test_an_interrupted_extraction_stops_at_once_and_says_how_to_go_on(base, tmp_path, run, start, interrupt, workers):
    folder = toy.write(tmp_path / "interrupted")
    results = folder / "results/toy"
    config = toy.config()
    config["extract"]["workers"] = workers
    toy.write_config(folder, config)
    (folder / "hold").touch()  # nobody lets the extraction go on
    # All shards at a time: a job that waits for a core, or that ends, would wake Snakemake.
    with start(folder, "--cores", "3") as process:
        wait_until(lambda: len(half_done(results)) == 3, process)
        interrupt(process, signal.SIGINT)
        try:
            process.wait(timeout=60)
        finally:
            (folder / "hold").unlink()
    said = (folder / "output.log").read_text(encoding="utf-8")
    assert said.splitlines()[-1] == "Interrupted. Run the same command again: it continues from here."
    assert process.returncode == 128 + signal.SIGINT
    for fault in ("Traceback", "Exception", "Error"):
        assert fault not in said
    resumed = half_done(results)
    assert resumed
    outcome = run(folder, "features")
    assert outcome.code == 0, outcome.output
    for shard in resumed:
        stats = json.loads((results / f"features/{shard}.stats.json").read_text(encoding="utf-8"))
        assert stats["images_resumed"] > 0
    assert features(results) == features(base / "results/toy") != {}


def test_killed_and_run_again(base, tmp_path, run, start):
    folder = toy.write(tmp_path / "killed")
    results = folder / "results/toy"
    # A shard's journal has a line of its own and then one a chunk: 170 images make 21 chunks or more.
    chunks = sorted(Random(5).sample(range(4, 24), 2))
    moments = [
        (signal.SIGKILL, lambda: (results / "manifest.parquet").exists()),
        *(
            (number, lambda n=n: sum(map(lines, results.glob("features/*.journal"))) >= n)
            for number, n in zip((signal.SIGKILL, signal.SIGINT), chunks, strict=True)
        ),
        (signal.SIGKILL, lambda: (results / "welch.zarr").exists()),
    ]
    resumed = set()
    for number, reached in moments:
        with start(folder, "tables") as process:
            wait_until(reached, process)
            os.killpg(process.pid, number)
        assert process.returncode != 0
        resumed |= half_done(results)
        if number == signal.SIGKILL:  # an interrupted Snakemake takes its lock away itself
            assert run(folder, "--unlock").code == 0
    outcome = run(folder, "tables")
    assert outcome.code == 0, outcome.output
    assert resumed
    for shard in resumed:
        stats = json.loads((results / f"features/{shard}.stats.json").read_text(encoding="utf-8"))
        assert stats["images_resumed"] > 0
    assert contents(results) == contents(base / "results/toy")


def test_a_network_edited_during_the_extraction_mixes_no_features(base, tmp_path, run, start):
    folder = toy.write(tmp_path / "edited")
    results = folder / "results/toy"
    (folder / "hold").touch()
    network = folder / "network.py"
    text = network.read_text(encoding="utf-8")
    with start(folder) as process:
        wait_until(lambda: half_done(results), process)
        network.write_text(text.replace("normal_(std=0.2", "normal_(std=0.3"), encoding="utf-8")
        (folder / "hold").unlink()
        assert process.wait() == 1
    said = (folder / "output.log").read_text(encoding="utf-8")
    assert "model.name: the file was changed" in said
    assert "Traceback" not in said
    network.write_text(text, encoding="utf-8")
    outcome = run(folder, "features")
    assert outcome.code == 0, outcome.output
    assert features(results) == features(base / "results/toy") != {}

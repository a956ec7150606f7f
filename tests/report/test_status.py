from pathlib import Path

import pytest
from rich.console import Console
from running import seconds

from labelsim.jobs.progress import Progress, ShardProgress
from labelsim.report.status import draw

FOLDER = Path("results/a [run]")
EARLY = ["scan", "shard", "network", "preflight"]
WAITED = seconds(10.0, network=30.0, decoding=10.0)


def drawn(progress: Progress, width: int = 80) -> list[str]:
    """Lines as a terminal without colours shows them."""
    console = Console(width=width, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(draw(FOLDER, progress))
    return [line.rstrip() for line in capture.get().splitlines()]


def line(lines: list[str], label: str) -> str:
    (found,) = [line for line in lines if line.startswith(f"{label} ")]
    return found.removeprefix(label).strip()


def extracting(finished: int = 1000, waiting: int = 7) -> Progress:
    running = [
        ShardProgress("b" * 16, 262_144, 131_072, 3, "running", 2.0, 1700.0, WAITED, "NVIDIA H100"),
        ShardProgress("a" * 16, 262_144, 65_536, 0, "silent", 3000.0),
        ShardProgress("c" * 16, 262_144, 1_000, 0, "running", 2.0, 85.25, WAITED, "NVIDIA H100"),
    ]
    done = [ShardProgress(f"{i:016x}", 100, 100, 1, "finished") for i in range(finished)]
    return Progress("extract", EARLY, [*done, *running, *(ShardProgress("d" * 16, 500) for _ in range(waiting))])


def test_a_thousand_finished_shards_are_one_number():
    lines = drawn(extracting())
    assert len(lines) < 20
    assert line(lines, "shards") == "1,000 finished, 2 being extracted, 1 silent, 7 waiting"
    assert line(lines, "images").endswith("297,608 of 889,932  33 %")
    assert line(lines, "rejected") == "1,003 (0.34 % of those done)"
    assert line(lines, "made") == "scan, shard, network, preflight"


def test_each_started_shard_has_a_bar_in_a_terminal_of_80_columns():
    lines = drawn(extracting())
    assert max(map(len, lines)) <= 80
    bars = [shard.replace("━", "").replace("╸", "").split() for shard in lines[-3:]]
    assert bars == [
        ["b" * 16, "131,072", "of", "262,144", "50", "%", "1,700/s"],
        ["a" * 16, "65,536", "of", "262,144", "25", "%", "silent", "50", "min"],
        ["c" * 16, "1,000", "of", "262,144", "0", "%", "85.2/s"],
    ]
    assert lines[-3].count("━") == 2 * lines[-2].count("━") + 1  # 9 and 4.5 of 18


def test_rate_time_left_and_what_is_waited_for():
    lines = drawn(extracting(), width=200)
    # (889,932 - 297,608) / 1,785.25 = 332 s
    assert line(lines, "rate") == "1,785 images a second, about 6 min left"
    assert line(lines, "waits for").startswith("the network, 75 % of the time")
    assert "50 min" in line(lines, "silent")
    assert f"logs/extract/{'a' * 16}.log" in line(lines, "silent")


def test_without_a_running_job_no_time_is_promised():
    progress = Progress("extract", EARLY, [ShardProgress("a" * 16, 500, 100, 0, "silent", 86_400 * 3.0)])
    lines = drawn(progress)
    assert not [line for line in lines if line.startswith(("rate", "waits for"))]
    assert "3 days 0 h" in line(lines, "silent").replace("\n", " ")


@pytest.mark.parametrize(
    ("images_left", "expected"),
    [(20, "a minute"), (90, "2 min"), (3_540, "59 min"), (7_500, "2 h 5 min"), (86_400 * 2.5, "2 days 12 h")],
)
def test_the_time_left_is_in_units_that_fit(images_left, expected):
    shard = ShardProgress("a" * 16, 1_000_000, 1_000_000 - int(images_left), 0, "running", 1.0, 1.0, WAITED, "cpu")
    (said,) = [line for line in drawn(Progress("extract", EARLY, [shard])) if line.startswith("rate")]
    assert said.endswith(f"1.0 images a second, about {expected} left")


def test_a_job_that_recorded_nothing_yet_has_no_rate():
    lines = drawn(Progress("extract", EARLY, [ShardProgress("a" * 16, 500, 0, 0, "running", 3.0)]))
    assert lines[-1].split() == ["a" * 16, "0", "of", "500", "0", "%", "starting"]
    assert not [line for line in lines if line.startswith("rate")]


def test_all_done_but_one_image_is_not_100_percent():
    shard = ShardProgress("a" * 16, 1_000_000, 999_999, 0, "running", 1.0, 1.0, WAITED, "cpu")
    assert line(drawn(Progress("extract", EARLY, [shard])), "images").endswith("99 %")


def test_before_the_shards_are_cut():
    lines = drawn(Progress("shard", ["scan"], []))
    assert lines[0] == "results/a [run] is at the stage shard"
    assert "none yet" in line(lines, "shards")
    assert line(lines, "made") == "scan"
    assert "scan" in line(drawn(Progress("scan", [], [])), "shards")


def test_a_finished_run():
    shard = ShardProgress("a" * 16, 500, 500, 0, "finished", seconds=WAITED, device="cpu")
    lines = drawn(Progress("finished", [*EARLY, "extract"], [shard]))
    assert lines[0] == "results/a [run] is finished"
    assert line(lines, "images").endswith("500 of 500  100 %")
    assert line(lines, "rejected") == "0"
    assert line(lines, "waited for").startswith("the network, 60 % of the time")

"""How far a run is, from files that the real writers wrote."""

import threading
from pathlib import Path
from random import Random

import pytest
from running import CHUNK, cut, finish, note, record, seconds, touch

from labelsim.errors import LabelsimError
from labelsim.jobs.progress import Progress, read_progress
from labelsim.run import Paths, committed
from labelsim.storage.json_files import write_document

NOW = 1_800_000_000.0
# In an order that is not that of their names; the last chunk of each is a part of one.
SHARDS = {"c" * 16: 1000, "a" * 16: 600, "d" * 16: 300, "b" * 16: 2000}
FIRST, SECOND, THIRD, LAST = SHARDS


@pytest.fixture
def paths(tmp_path):
    paths = Paths(str(tmp_path / "results/run"))
    cut(paths, SHARDS)
    return paths


def read(paths: Paths, now: float = NOW) -> Progress:
    return read_progress(Path(paths.root), now)


def journal(paths: Paths, shard: str) -> Path:
    return Path(paths.features(shard)).with_suffix(".journal")


def notes(shard: str, count: int, start: float = NOW - 60, every: float = 4.0) -> list[dict]:
    """Notes of a job that started at a time, took 10 s to begin, and then records chunks at even intervals."""
    times = [every * (chunk + 1) for chunk in range(count)]
    return [
        note(chunk, SHARDS[shard], start + 10 + t, seconds(10.0, network=0.75 * t, decoding=0.25 * t))
        for chunk, t in enumerate(times)
    ]


def test_shards_in_the_order_of_the_index_by_what_became_of_them(paths):
    finish(paths, SECOND, SHARDS[SECOND], rejected=2)
    entries = notes(LAST, 3)
    entries[1]["rejects"] = [[300, "empty file"], [301, "truncated"], [511, "empty file"]]
    record(paths, LAST, SHARDS[LAST], entries)
    found = read(paths)
    assert [shard.name for shard in found.shards] == list(SHARDS)
    assert [shard.state for shard in found.shards] == ["waiting", "finished", "waiting", "running"]
    assert [shard.done for shard in found.shards] == [0, 600, 0, 3 * CHUNK]
    assert [shard.rejected for shard in found.shards] == [0, 2, 0, 3]
    assert (found.images, found.done, found.rejected) == (3900, 600 + 3 * CHUNK, 5)
    assert (found.stage, found.made) == ("extract", ["scan", "shard", "network", "preflight"])
    assert found.device == "NVIDIA H100"


def test_the_last_chunk_of_a_shard_may_be_smaller(paths):
    record(paths, FIRST, SHARDS[FIRST], notes(FIRST, 4))
    assert read(paths).shards[0].done == 1000
    assert read(paths).shards[0].state == "running"  # nothing is committed yet


def test_rates_of_running_jobs_add_up(paths):
    record(paths, FIRST, SHARDS[FIRST], notes(FIRST, 3, start=NOW - 22))
    record(paths, LAST, SHARDS[LAST], notes(LAST, 5, start=NOW - 20, every=2.0))
    finish(paths, SECOND, SHARDS[SECOND])
    found = read(paths)
    assert found.rate == pytest.approx(CHUNK / 4 + CHUNK / 2)
    left = 3900 - 600 - 8 * CHUNK
    assert found.seconds_left == pytest.approx(left / (CHUNK / 4 + CHUNK / 2))


def test_the_rate_is_that_of_recent_chunks(tmp_path):
    paths = Paths(str(tmp_path / "run"))
    images = 100 * CHUNK
    cut(paths, {FIRST: images})
    # The first half at one chunk every 10 s, the second at one a second.
    times = [10.0 * (i + 1) for i in range(50)] + [500.0 + i + 1 for i in range(50)]
    record(paths, FIRST, images, [note(i, images, NOW - 550 + t, seconds(0.0, network=t)) for i, t in enumerate(times)])
    assert read(paths).rate == pytest.approx(CHUNK)


def test_a_resumed_job_has_a_rate_of_its_own(paths):
    yesterday = NOW - 86_400
    record(paths, LAST, SHARDS[LAST], notes(LAST, 3, start=yesterday, every=100.0))
    later = notes(LAST, 5, start=NOW - 20, every=2.0)[3:]
    for entry, t in zip(later, (2.0, 4.0), strict=True):
        entry |= {"at": NOW - 10 + t, "seconds": seconds(10.0, decoding=t)}
    record(paths, LAST, SHARDS[LAST], later)
    found = read(paths)
    assert found.done == 5 * CHUNK
    assert found.rate == pytest.approx(CHUNK / 2)
    assert {part for part, spent in found.seconds.items() if spent} == {"decoding"}


def test_a_job_that_resumed_and_recorded_nothing_yet_is_running(paths):
    record(paths, LAST, SHARDS[LAST], notes(LAST, 3, start=NOW - 86_400))
    touch(paths, LAST, NOW - 86_000)
    assert [shard.name for shard in read(paths).having("silent")] == [LAST]
    record(paths, LAST, SHARDS[LAST], [])  # it writes the journal anew
    touch(paths, LAST, NOW - 5)
    (shard,) = read(paths).having("running")
    assert (shard.name, shard.done, shard.idle) == (LAST, 3 * CHUNK, 5)


def test_a_chunk_that_was_computed_again_counts_once(paths):
    entries = notes(FIRST, 2)
    entries[0]["rejects"] = [[7, "empty file"]]
    again = note(0, SHARDS[FIRST], NOW, seconds(60.0))  # the image was repaired
    record(paths, FIRST, SHARDS[FIRST], [*entries, again])
    found = read(paths)
    assert (found.done, found.rejected) == (2 * CHUNK, 0)


@pytest.mark.parametrize(
    ("every", "idle", "state"),
    [
        (1.0, 119.0, "running"),  # never less than two minutes
        (1.0, 121.0, "silent"),
        (60.0, 590.0, "running"),  # ten times what it is wont to take
        (60.0, 610.0, "silent"),
    ],
)
def test_silence_is_what_is_long_for_this_job(paths, every, idle, state):
    record(paths, LAST, SHARDS[LAST], notes(LAST, 4, start=NOW - idle - 10 - 4 * every, every=every))
    found = read(paths)
    (shard,) = found.having(state)
    assert (shard.name, shard.idle) == (LAST, pytest.approx(idle))
    assert (found.seconds_left is None) == (state == "silent")
    assert found.done == 4 * CHUNK


def test_what_running_jobs_wait_for_is_added_up_without_their_start(paths):
    record(paths, FIRST, SHARDS[FIRST], notes(FIRST, 2))
    record(paths, LAST, SHARDS[LAST], notes(LAST, 5))
    finish(paths, SECOND, SHARDS[SECOND], upload=1e6)
    assert {part: spent for part, spent in read(paths).seconds.items() if spent} == {"network": 21.0, "decoding": 7.0}


def test_when_nothing_runs_finished_shards_tell_what_was_waited_for(paths):
    finish(paths, FIRST, SHARDS[FIRST], network=5.0)
    finish(paths, SECOND, SHARDS[SECOND], network=2.0, reading=3.0)
    spent = {part: spent for part, spent in read(paths).seconds.items() if spent}
    assert spent == {"starting": 2.0, "network": 7.0, "reading": 3.0}


def test_a_journal_cut_off_anywhere_counts_its_whole_lines(paths):
    record(paths, LAST, SHARDS[LAST], notes(LAST, 4))
    whole = journal(paths, LAST).read_bytes()
    random = Random(0)
    for length in [0, 1, *random.sample(range(len(whole)), 50), len(whole) - 1]:
        journal(paths, LAST).write_bytes(whole[:length])
        # A line without its end is whole; the first is no chunk.
        lines = sum(whole[:length].startswith(whole[:end]) for end in line_ends(whole))
        assert read(paths).done == max(0, lines - 1) * CHUNK


def line_ends(data: bytes) -> list[int]:
    return [position for position, byte in enumerate(data) if byte == ord("\n")]


def test_a_changed_line_does_not_count(paths):
    record(paths, LAST, SHARDS[LAST], notes(LAST, 4))
    data = journal(paths, LAST).read_bytes()
    journal(paths, LAST).write_bytes(data.replace(b'"rows":[256,512]', b'"rows":[256,912]'))
    assert read(paths).done == 3 * CHUNK


def test_files_may_vanish_and_come_back_at_any_moment(paths):
    finish(paths, SECOND, SHARDS[SECOND])
    record(paths, LAST, SHARDS[LAST], notes(LAST, 3))
    files = [Path(paths.index), Path(paths.stats(SECOND)), journal(paths, LAST)]
    read_enough = threading.Event()

    def disturb() -> None:
        while not read_enough.is_set():
            for file in files:
                aside = file.with_name("aside")
                file.rename(aside)
                aside.rename(file)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        found = {read(paths).done for _ in range(500)}
    finally:
        read_enough.set()
        thread.join()
    assert found <= {0, 600, 3 * CHUNK, 600 + 3 * CHUNK}


def test_reading_changes_no_file(paths):
    finish(paths, SECOND, SHARDS[SECOND])
    record(paths, LAST, SHARDS[LAST], notes(LAST, 3))
    before = states(paths)
    read(paths)
    assert states(paths) == before


def states(paths: Paths) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in Path(paths.root).rglob("*")}


def test_before_the_images_are_cut_the_stage_is_named(tmp_path):
    paths = Paths(str(tmp_path / "run"))
    with pytest.raises(LabelsimError, match=str(tmp_path / "run")):
        read(paths)
    Path(paths.root, "logs").mkdir(parents=True)
    assert read(paths) == Progress("scan", [], [])
    Path(paths.manifest).touch()
    assert read(paths) == Progress("shard", ["scan"], [])
    cut(paths, SHARDS, preflight=False)
    found = read(paths)
    assert (found.stage, found.made) == ("preflight", ["scan", "shard", "network"])
    assert {shard.state for shard in found.shards} == {"waiting"}


def test_stages_after_the_extraction(paths):
    def made(*stores: str) -> tuple[str, list[str]]:
        for store in stores:
            Path(store).mkdir(parents=True)
            Path(committed(store)).touch()
        found = read(paths)
        return found.stage, found.made[4:]

    names = list(SHARDS)
    for name in names[:3]:
        finish(paths, name, SHARDS[name])
    assert made(paths.shard_moments(names[0])) == ("extract", ["moments (1 of 4 shards)"])
    finish(paths, LAST, SHARDS[LAST])
    assert made() == ("moments", ["extract", "moments (1 of 4 shards)"])
    assert made(*map(paths.shard_moments, names[1:])) == ("merge", ["extract", "moments"])
    assert made(paths.moments) == ("similarity", ["extract", "moments", "merge"])
    assert made(paths.welch) == ("similarity", ["extract", "moments", "merge", "welch"])
    assert made(paths.similarity)[0] == "neighbors"
    summary = {"dataset_digest": "of the images", "weights_digest": "of the weights"}
    write_document(Path(paths.summary), summary)
    Path(paths.neighbors).touch()
    assert made()[0] == "neighbors"
    Path(paths.classes).touch()
    every = ["extract", "moments", "merge", "welch", "similarity", "neighbors"]
    assert made() == ("finished", every)
    for path in (paths.heatmap("gap"), paths.analysis("map"), paths.analysis("tree")):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
    assert made() == ("finished", [*every, "tables of analyses (2)", "figures (1)"])
    # Tables of other images or weights do not end a run.
    for key in summary:
        write_document(Path(paths.summary), summary | {key: "of others"})
        assert made()[0] == "neighbors"


def test_results_of_an_earlier_run_do_not_count_while_a_shard_is_extracted(paths):
    for store in (paths.moments, paths.welch, paths.similarity):
        Path(store).mkdir()
        Path(committed(store)).touch()
    assert (read(paths).stage, read(paths).made[-1]) == ("extract", "preflight")


def test_a_damaged_index_is_an_error_that_names_it(paths):
    Path(paths.index).write_text("{", encoding="utf-8")
    with pytest.raises(LabelsimError, match=paths.index):
        read(paths)

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray

from labelsim.errors import LabelsimError
from labelsim.storage.zarr_store import Array, Writer, attributes, load, open_store, verify

ROWS, WIDTH, CHUNK = 7, 3, 2
ARRAYS = {
    "gap": Array(("sample", "channel"), (ROWS, WIDTH), "float32", (CHUNK, WIDTH)),
    "half": Array(("sample",), (ROWS,), "float16", (CHUNK,)),
    "count": Array(("sample",), (ROWS,), "int64"),
    "nothing": Array(("fold",), (0,), "float64"),
    "no_names": Array(("fold",), (0,), "str", coordinate=True),
    "sample_id": Array(("sample",), (ROWS,), "str", coordinate=True),
}
VALUES = {
    "gap": np.arange(ROWS * WIDTH, dtype="float32").reshape(ROWS, WIDTH) / 3,
    "half": np.linspace(-2, 2, ROWS).astype("float16"),
    "count": np.zeros(ROWS, dtype="int64"),  # nothing but the fill value
    "nothing": np.zeros(0),
    "no_names": np.array([], dtype=object),
    "sample_id": np.array(["a b", "Straße/é.png", "日本", "", "line\u2028end", "🦊", "x"], dtype=object),
}

# A job that writes a store chunk by chunk, and tells a function how far it is.
JOB = f"""
import numpy as np
from labelsim.storage.zarr_store import Array, Writer

def job(folder, reached):
    values = np.arange({ROWS * WIDTH}, dtype="float32").reshape({ROWS}, {WIDTH})
    values[2:4] = np.nan
    gap = Array(("sample", "channel"), {(ROWS, WIDTH)}, "float32", {(CHUNK, WIDTH)})
    ids = Array(("sample",), ({ROWS},), "str", coordinate=True)
    writer = Writer(folder / "a.zarr", {{"gap": gap, "sample_id": ids}}, "identity", folder / "a.journal")
    kept = [note["chunk"] for note in writer.kept]
    reached(f"kept {{kept}}")
    for key in gap.chunk_keys():
        if key[0] not in kept:
            writer.put("gap", key, values[gap.region(key)])
            reached(f"put {{key[0]}}")
            writer.record([("gap", key)], {{"chunk": key[0]}})
            reached(f"recorded {{key[0]}}")
    writer.put_whole("sample_id", np.array([f"bild {{i}} ü" for i in range({ROWS})], dtype=object))
    writer.commit({{"rows": {ROWS}}})
"""

# The same in a process of its own, which stops at each step until it is told to go on.
PROCESS = f"""
import sys
from pathlib import Path
{JOB}
def reached(step):
    print(step, flush=True)
    sys.stdin.readline()

job(Path(sys.argv[1]), reached)
"""


def write(path: Path, changed: dict | None = None, identity: str = "identity") -> Path:
    writer = Writer(path, ARRAYS, identity)
    for name, values in {**VALUES, **(changed or {})}.items():
        writer.put_whole(name, values)
    writer.commit({"shard": "ä"})
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run_job(folder: Path) -> str:
    """Run the job to its end; return its first step."""
    steps: list[str] = []
    namespace: dict = {}
    exec(JOB, namespace)
    namespace["job"](folder, steps.append)
    return steps[0]


def kill_job(folder: Path, stop: str) -> None:
    """Run the job up to a step and kill it there."""
    command = [sys.executable, "-c", PROCESS, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        while process.stdout.readline() != f"{stop}\n":
            process.stdin.write("\n")
            process.stdin.flush()
        process.kill()
    assert process.returncode == -signal.SIGKILL


def partly_written(folder: Path, values: np.ndarray | None = None, chunks: int = 3) -> Path:
    """A store whose first chunks are recorded in a journal beside it, and that was left there."""
    spec = {"gap": ARRAYS["gap"]}
    writer = Writer(folder / "a.zarr", spec, "identity", folder / "a.journal")
    for chunk in range(chunks):
        part = (VALUES["gap"] if values is None else values)[spec["gap"].region((chunk, 0))]
        writer.put("gap", (chunk, 0), part)
        writer.record([("gap", (chunk, 0))], {"chunk": chunk})
    return folder / "a.zarr"


def resume(folder: Path, arrays: dict | None = None, identity: str = "identity") -> Writer:
    return Writer(folder / "a.zarr", arrays or {"gap": ARRAYS["gap"]}, identity, folder / "a.journal")


def kept(writer: Writer) -> list[int]:
    return [note["chunk"] for note in writer.kept]


def damaged_by_a_bit(data: bytes, position: int, bit: int = 0) -> bytes:
    return data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]


def test_a_store_is_a_labelled_dataset_in_xarray(tmp_path):
    path = write(tmp_path / "a.zarr")
    dataset = xarray.open_zarr(path, consolidated=False)
    assert dict(dataset.sizes) == {"sample": ROWS, "channel": WIDTH, "fold": 0}
    assert {name: array.dims for name, array in dataset.variables.items()} == {n: s.dims for n, s in ARRAYS.items()}
    assert set(dataset.coords) == {"sample_id", "no_names"}
    assert not set(dataset.variables) & set(dataset.dims)
    assert dataset.attrs["shard"] == "ä"
    assert dataset.attrs["identity"] == "identity"


@pytest.mark.parametrize("name", ARRAYS)
def test_values_come_back_as_they_were_put(tmp_path, name):
    values = load(open_store(write(tmp_path / "a.zarr")), name)
    assert values.shape == VALUES[name].shape
    assert values.tolist() == VALUES[name].tolist()
    if ARRAYS[name].dtype != "str":
        assert values.dtype == ARRAYS[name].dtype


def test_a_part_of_an_array_can_be_loaded(tmp_path):
    dataset = open_store(write(tmp_path / "a.zarr"))
    np.testing.assert_array_equal(load(dataset, "gap", sample=slice(1, 4)), VALUES["gap"][1:4])


def test_a_chunk_of_the_fill_value_is_a_file_too(tmp_path):
    path = write(tmp_path / "a.zarr", {"gap": np.full((ROWS, WIDTH), np.nan, dtype="float32")})
    assert (path / "gap/c/0/0").is_file()
    assert (path / "count/c/0").is_file()
    assert np.isnan(load(open_store(path), "gap")).all()


def test_rows_that_are_not_written_yet_read_as_nan(tmp_path):
    path = partly_written(tmp_path, chunks=1)
    (path / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group"}))  # as if it were finished
    values = xarray.open_zarr(path, consolidated=False, chunks=None)["gap"].values
    np.testing.assert_array_equal(values[:CHUNK], VALUES["gap"][:CHUNK])
    assert np.isnan(values[CHUNK:]).all()


def test_the_root_appears_at_commit_and_goes_before_anything_changes(tmp_path):
    path = tmp_path / "a.zarr"
    writer = Writer(path, ARRAYS, "identity")
    for name, values in VALUES.items():
        writer.put_whole(name, values)
        assert not (path / "zarr.json").exists()
    writer.commit({})
    assert (path / "zarr.json").exists()
    Writer(path, ARRAYS, "identity")
    assert not (path / "zarr.json").exists()


def test_commit_names_a_chunk_that_was_never_put(tmp_path):
    writer = Writer(tmp_path / "a.zarr", {"gap": ARRAYS["gap"]}, "identity")
    for chunk in (0, 1, 3):
        writer.put("gap", (chunk, 0), VALUES["gap"][2 * chunk : 2 * chunk + 2])
    with pytest.raises(RuntimeError, match="gap/c/2/0"):
        writer.commit({})
    assert not (tmp_path / "a.zarr/zarr.json").exists()


def test_equal_contents_give_equal_files(tmp_path):
    assert files(write(tmp_path / "a.zarr")) == files(write(tmp_path / "b.zarr"))


@pytest.mark.parametrize(
    ("name", "index", "value"),
    [("gap", (6, 2), -1), ("half", (0,), 1), ("count", (3,), 1), ("sample_id", (3,), "é"), ("gap", (0, 0), np.nan)],
)
def test_one_changed_value_changes_the_digest(tmp_path, name, index, value):
    changed = VALUES[name].copy()
    changed[index] = value
    before, after = (attributes(write(tmp_path / f"{i}.zarr", c)) for i, c in enumerate(({}, {name: changed})))
    assert before["digest"] != after["digest"]


def test_the_root_does_not_grow_with_the_number_of_chunks(tmp_path):
    sizes = []
    for rows in (10, 500):
        writer = Writer(tmp_path / f"{rows}.zarr", {"count": Array(("sample",), (rows,), "int64", (1,))}, "identity")
        writer.put_whole("count", np.arange(rows))
        writer.commit({})
        sizes.append((tmp_path / f"{rows}.zarr/zarr.json").stat().st_size)
        assert verify(tmp_path / f"{rows}.zarr") == []
    assert sizes[0] == sizes[1]


def test_another_layout_changes_the_digest(tmp_path):
    digests = set()
    for i, dims in enumerate([("sample", "channel"), ("class", "unit")]):
        writer = Writer(tmp_path / f"{i}.zarr", {"gap": Array(dims, (2, 2), "float32")}, "identity")
        writer.put_whole("gap", np.zeros((2, 2)))
        writer.commit({})
        digests.add(attributes(tmp_path / f"{i}.zarr")["digest"])
    assert len(digests) == 2


@pytest.mark.parametrize(("stop", "kept"), [("put 1", [0]), ("recorded 1", [0, 1])])
def test_a_killed_job_is_resumed_from_what_it_recorded(tmp_path, stop, kept):
    killed, uninterrupted = tmp_path / "killed", tmp_path / "uninterrupted"
    kill_job(killed, stop)
    assert (killed / "a.zarr/gap/c/1/0").is_file()
    assert not (killed / "a.zarr/zarr.json").exists()
    assert run_job(killed) == f"kept {kept}"
    assert run_job(uninterrupted) == "kept []"
    assert files(killed / "a.zarr") == files(uninterrupted / "a.zarr")


def test_a_resumed_writer_ends_in_the_same_files(tmp_path):
    path = partly_written(tmp_path)
    leftovers = [path / "zarr.json.partial", path / "gap/c/3/0.0123abcd.partial"]
    for leftover in leftovers:
        leftover.parent.mkdir(parents=True, exist_ok=True)
        leftover.write_bytes(b"half a chu")
    writer = resume(tmp_path)
    assert kept(writer) == [0, 1, 2]
    assert not any(leftover.exists() for leftover in leftovers)
    writer.put("gap", (3, 0), VALUES["gap"][6:])
    writer.commit({})
    whole = Writer(tmp_path / "b.zarr", {"gap": ARRAYS["gap"]}, "identity")
    whole.put_whole("gap", VALUES["gap"])
    whole.commit({})
    assert files(path) == files(tmp_path / "b.zarr")


def test_a_finished_store_can_be_resumed_whole(tmp_path):
    path = partly_written(tmp_path, chunks=4)
    resume(tmp_path).commit({})
    before = files(path)
    writer = resume(tmp_path)
    assert kept(writer) == [0, 1, 2, 3]
    assert not (path / "zarr.json").exists()
    writer.commit({})
    assert files(path) == before


@pytest.mark.parametrize(
    ("arrays", "identity"),
    [
        ({"gap": ARRAYS["gap"]}, "another"),
        ({"gap": Array(("sample", "channel"), (ROWS, WIDTH), "float16", (CHUNK, WIDTH))}, "identity"),
        ({"gap": Array(("sample", "channel"), (ROWS, WIDTH), "float32", (3, WIDTH))}, "identity"),
        ({"gap": Array(("sample", "channel"), (ROWS + 1, WIDTH), "float32", (CHUNK, WIDTH))}, "identity"),
        ({"gap": Array(("sample", "unit"), (ROWS, WIDTH), "float32", (CHUNK, WIDTH))}, "identity"),
        ({"gap": ARRAYS["gap"], "half": ARRAYS["half"]}, "identity"),
    ],
)
def test_another_identity_or_layout_starts_from_nothing(tmp_path, arrays, identity):
    path = partly_written(tmp_path)
    writer = resume(tmp_path, arrays, identity)
    assert writer.kept == []
    assert not list(path.rglob("c/*"))
    assert kept(resume(tmp_path)) == []  # nor does going back find what is no longer there


def test_a_start_that_was_cut_short_leaves_no_journal_of_the_store_before_it(tmp_path):
    partly_written(tmp_path)
    other = Array(("sample", "channel"), (ROWS, WIDTH), "float16", (3, WIDTH))
    with pytest.raises((TypeError, ValueError)):
        resume(tmp_path, {"gap": other, "cut short here": Array(("sample",), (ROWS,), "no dtype")})
    writer = resume(tmp_path)
    assert writer.kept == []
    writer.put_whole("gap", VALUES["gap"])
    writer.commit({})
    np.testing.assert_array_equal(load(open_store(tmp_path / "a.zarr"), "gap"), VALUES["gap"])


def test_without_a_journal_a_writer_starts_from_nothing(tmp_path):
    path = partly_written(tmp_path)
    assert Writer(path, {"gap": ARRAYS["gap"]}, "identity").kept == []
    assert not list(path.rglob("c/*"))


def test_a_torn_last_line_costs_its_chunk_only(tmp_path):
    partly_written(tmp_path)
    journal = tmp_path / "a.journal"
    whole = journal.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for end in (last, last + 1, (last + len(whole)) // 2, len(whole) - 2):
        journal.write_bytes(whole[:end])
        assert kept(resume(tmp_path)) == [0, 1]
    for end in (len(whole) - 1, len(whole)):
        journal.write_bytes(whole[:end])
        assert kept(resume(tmp_path)) == [0, 1, 2]


def test_a_torn_line_does_not_spoil_the_line_after_it(tmp_path):
    partly_written(tmp_path)
    with (tmp_path / "a.journal").open("ab") as journal:
        journal.write('{"digests": {"gap/c/3/0": "é'.encode()[:-1])
    writer = resume(tmp_path)
    writer.put("gap", (3, 0), VALUES["gap"][6:])
    writer.record([("gap", (3, 0))], {"chunk": 3})
    assert kept(resume(tmp_path)) == [0, 1, 2, 3]


def test_a_note_may_hold_any_character(tmp_path):
    writer = resume(tmp_path)
    for chunk in range(2):
        writer.put("gap", (chunk, 0), VALUES["gap"][2 * chunk : 2 * chunk + 2])
        writer.record([("gap", (chunk, 0))], {"chunk": chunk, "reason": "a\u2028b\u0085c\nd é"})
    assert [note["reason"] for note in resume(tmp_path).kept] == ["a\u2028b\u0085c\nd é"] * 2


def test_a_line_that_changed_costs_its_chunk_only(tmp_path):
    partly_written(tmp_path)
    journal = tmp_path / "a.journal"
    header, *records = journal.read_bytes().splitlines(keepends=True)
    for position in range(len(records[1])):
        # A changed line end takes the next line with it.
        left = [0, 2] if position < len(records[1]) - 1 else [0]
        for bit in (0, 5):
            journal.write_bytes(header + records[0] + damaged_by_a_bit(records[1], position, bit) + records[2])
            assert kept(resume(tmp_path)) == left


def test_an_array_whose_metadata_changed_meanwhile_is_not_resumed(tmp_path):
    metadata = partly_written(tmp_path) / "gap/zarr.json"
    whole = metadata.read_text()
    metadata.write_text(whole.replace("channel", "chanel"))
    assert kept(resume(tmp_path)) == []
    assert metadata.read_text() == whole


def test_a_recorded_chunk_that_changed_meanwhile_is_not_kept(tmp_path):
    chunk = partly_written(tmp_path) / "gap/c/1/0"
    whole = chunk.read_bytes()
    journal = (tmp_path / "a.journal").read_bytes()
    broken = [whole[:n] for n in range(0, len(whole), 5)] + [damaged_by_a_bit(whole, n) for n in range(len(whole))]
    for data in broken:
        chunk.write_bytes(data)
        assert kept(resume(tmp_path)) == [0, 2]
        (tmp_path / "a.journal").write_bytes(journal)
    chunk.write_bytes((chunk.parents[1] / "2/0").read_bytes())  # a sound chunk, but of other rows
    assert kept(resume(tmp_path)) == [0, 2]


@pytest.mark.parametrize("values", [None, np.full((ROWS, WIDTH), np.nan, dtype="float32")])
def test_a_recorded_chunk_that_was_deleted_is_not_kept(tmp_path, values):
    path = partly_written(tmp_path, values)
    (path / "gap/c/1/0").unlink()
    assert kept(resume(tmp_path)) == [0, 2]


def test_chunks_recorded_together_are_lost_together(tmp_path):
    arrays = {"gap": ARRAYS["gap"], "half": ARRAYS["half"]}
    writer = resume(tmp_path, arrays)
    for chunk in range(2):
        writer.put("gap", (chunk, 0), VALUES["gap"][2 * chunk : 2 * chunk + 2])
        writer.put("half", (chunk,), VALUES["half"][2 * chunk : 2 * chunk + 2])
        writer.record([("gap", (chunk, 0)), ("half", (chunk,))], {"chunk": chunk})
    (tmp_path / "a.zarr/half/c/0").unlink()
    writer = resume(tmp_path, arrays)
    assert kept(writer) == [1]
    with pytest.raises(RuntimeError, match="6 chunks were not written"):
        writer.commit({})


def test_a_store_that_is_not_there_is_named(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "a.zarr", tmp_path / "file"):
        with pytest.raises(LabelsimError, match="does not exist") as caught:
            open_store(path)
        assert str(path) in str(caught.value)


def test_an_unfinished_store_is_named(tmp_path):
    path = partly_written(tmp_path)
    with pytest.raises(LabelsimError, match="is unfinished") as caught:
        open_store(path)
    assert str(path) in str(caught.value)


def assert_to_be_made_anew(path: Path) -> None:
    with pytest.raises(LabelsimError, match="is damaged") as caught:
        open_store(path)
    assert str(caught.value).endswith(f"snakemake [your options] --force {path}/zarr.json")


@pytest.mark.parametrize(
    "gone", ["gap/c/1/0", "gap/c", "gap/zarr.json", "gap/chunks.json", "nothing/zarr.json", "sample_id"]
)
def test_a_half_deleted_store_is_named(tmp_path, gone):
    path = write(tmp_path / "a.zarr")
    (path / gone).rename(tmp_path / "gone")
    assert_to_be_made_anew(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "{}", '{"attributes": 1}', '{"attributes": {}}', '{"attributes": {"chunks": {}}}']
)
def test_a_damaged_root_is_named(tmp_path, text):
    path = write(tmp_path / "a.zarr")
    (path / "zarr.json").write_text(text)
    assert_to_be_made_anew(path)


def test_a_root_that_is_not_as_it_was_written_is_named(tmp_path):
    path = write(tmp_path / "a.zarr")
    root = path / "zarr.json"
    whole = root.read_bytes()
    broken = [whole[:size] for size in range(0, len(whole), 7)] + [whole[:-1], whole + b"\n", b"\xff" + whole]
    broken += [damaged_by_a_bit(whole, position, position % 8) for position in range(len(whole))]
    for data in broken:
        root.write_bytes(data)
        assert_to_be_made_anew(path)


@pytest.mark.parametrize("changed", [{"shard": "b"}, {"identity": "another"}, {"coordinates": ""}])
def test_the_digest_is_that_of_the_whole_root(tmp_path, changed):
    path = write(tmp_path / "a.zarr")
    contents = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
    contents["attributes"] |= changed
    (path / "zarr.json").write_text(json.dumps(contents, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    assert_to_be_made_anew(path)


@pytest.mark.parametrize(("old", "new"), [("[\n    7,", "[\n    6,"), ("float32", "float16"), ("channel", "chanel")])
def test_changed_metadata_of_an_array_are_named(tmp_path, old, new):
    path = write(tmp_path / "a.zarr")
    metadata = path / "gap/zarr.json"
    text = metadata.read_text()
    assert old in text
    metadata.write_text(text.replace(old, new))
    assert_to_be_made_anew(path)


@pytest.mark.parametrize("name", ["gap/c/1/0", "half/c/0", "count/c/0", "sample_id/c/0"])
def test_a_damaged_chunk_never_gives_numbers(tmp_path, name):
    path = write(tmp_path / "a.zarr")
    array = name.split("/")[0]
    whole = (path / name).read_bytes()
    broken = [whole[:size] for size in range(len(whole))]
    broken += [damaged_by_a_bit(whole, position) for position in range(len(whole))]
    broken += [whole + b"\0", bytes(len(whole))]
    dataset = open_store(path)
    for data in broken:
        (path / name).write_bytes(data)
        with pytest.raises(LabelsimError, match=f"is damaged: {array} cannot be read") as caught:
            load(dataset, array)
        assert str(caught.value).endswith(f"snakemake [your options] --force {path}/zarr.json")
    (path / name).write_bytes(whole)
    assert load(open_store(path), array).tolist() == VALUES[array].tolist()


@pytest.mark.parametrize("name", ["gap/c/1/0", "count/c/0", "sample_id/c/0"])
def test_a_chunk_that_is_deleted_after_the_store_was_opened_never_reads_as_nothing(tmp_path, name):
    path = write(tmp_path / "a.zarr")
    dataset = open_store(path)
    (path / name).unlink()
    with pytest.raises(LabelsimError, match=f"is damaged: {name} is missing"):
        load(dataset, name.split("/")[0])


def test_a_part_that_lies_in_other_chunks_can_still_be_loaded(tmp_path):
    path = write(tmp_path / "a.zarr")
    dataset = open_store(path)
    (path / "gap/c/1/0").unlink()  # rows 2 and 3
    for part in (slice(0, 2), slice(4, 7), slice(4, None)):
        np.testing.assert_array_equal(load(dataset, "gap", sample=part), VALUES["gap"][part])
    for part in (slice(1, 3), slice(3, 4), slice(2, 7), slice(None)):
        with pytest.raises(LabelsimError, match="gap/c/1/0 is missing"):
            load(dataset, "gap", sample=part)


def test_a_whole_store_is_verified(tmp_path):
    path = write(tmp_path / "a.zarr")
    assert verify(path) == []


def test_verifying_names_every_file_that_is_missing_or_changed(tmp_path):
    path = write(tmp_path / "a.zarr")
    for name, damage in {
        "gap/zarr.json": lambda file: file.write_text(file.read_text().replace("channel", "chanel")),
        "gap/c/0/0": Path.unlink,
        "half/zarr.json": Path.unlink,
        "half/c/1": lambda file: file.write_bytes((path / "half/c/0").read_bytes()),
        "nothing/chunks.json": lambda file: file.write_text("{}"),
        "count/c/0": lambda file: file.write_bytes(damaged_by_a_bit(file.read_bytes(), 9)),
        "sample_id/c/0": lambda file: file.write_bytes(b""),
    }.items():
        damage(path / name)
    found = verify(path)
    named = ["count/c/0", "gap/c/0/0", "gap/zarr.json", "half/c/1", "half/zarr.json", "nothing/chunks.json"]
    assert sorted(line.split()[0] for line in found) == [f"{path}/{name}" for name in [*named, "sample_id/c/0"]]
    assert f"{path}/gap/c/0/0 is missing" in found


def test_verifying_notices_a_sound_chunk_of_other_rows(tmp_path):
    path = write(tmp_path / "a.zarr")
    (path / "gap/c/1/0").write_bytes((path / "gap/c/2/0").read_bytes())
    assert verify(path) == [f"{path}/gap/c/1/0 was changed"]


def test_verifying_names_a_store_without_a_root(tmp_path):
    with pytest.raises(LabelsimError, match="is unfinished"):
        verify(partly_written(tmp_path))


TRY = """
import fcntl, sys
with open(sys.argv[1], "a") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        sys.exit(3)
"""


def test_a_writer_holds_its_store_until_it_has_committed(tmp_path):
    def taken() -> bool:
        lock = tmp_path / ".a.lock"
        return subprocess.run([sys.executable, "-c", TRY, str(lock)], check=False).returncode == 3

    writer = Writer(tmp_path / "a.zarr", {"count": Array(("class",), (2,), "int64")}, "identity")
    assert taken()
    writer.put_whole("count", np.array([1, 2]))
    assert taken()
    writer.commit({})
    assert not taken()

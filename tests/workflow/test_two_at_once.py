"""Two calls of Snakemake at the same time."""

import time

import pytest
import toy
from workflows import contents, snakemake, started


@pytest.fixture
def busy(tmp_path):
    """A folder in which a run stands still inside a shard until the file `hold` is deleted, and its process."""
    folder = toy.write(tmp_path / "busy")
    (folder / "hold").touch()
    with started(folder, "tables") as process:
        while not any(path.read_bytes().count(b"\n") > 1 for path in folder.glob("results/toy/features/*.journal")):
            assert process.poll() is None
            time.sleep(0.01)
        yield folder, process
        (folder / "hold").unlink(missing_ok=True)


def test_a_second_call_on_the_same_run_is_refused_and_one_on_another_run_goes_through(base, busy):
    folder, process = busy
    second = snakemake(folder)
    assert second.code == 1
    assert "no other Snakemake process is trying to create the same files" in second.output
    assert "--unlock" in second.output
    assert "Traceback" not in second.output
    # Snakemake's locks, unlike ours, go with --unlock, and when any other run in the folder ends.
    assert snakemake(folder, "--unlock").code == 0
    second = snakemake(folder)
    assert second.code == 1
    assert f"results/toy is in use by process {process.pid} on " in second.output
    assert "Traceback" not in second.output
    assert process.poll() is None

    other = toy.config() | {"run": "other"}
    toy.write_config(folder, other, "other.yaml")
    (folder / "hold").unlink()
    third = snakemake(folder, "--configfile", str(folder / "other.yaml"), "--", "tables")
    assert third.code == 0, third.output
    assert process.wait() == 0, (folder / "output.log").read_text(encoding="utf-8")
    expected = contents(base / "results/toy")
    assert contents(folder / "results/toy") == expected
    assert not (folder / "results/toy/report").exists()  # tables alone were asked for
    assert contents(folder / "results/other") == expected

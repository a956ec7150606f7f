"""A handful of random interruptions; `make soak` does many."""

import subprocess
from random import Random

import pytest
import toy
from interruptions import KINDS, Trial, mount
from workflows import contents


@pytest.fixture
def disk(tmp_path):
    """A run's folder whose results lie on a disk of their own; None where none can be mounted."""
    folder = toy.write(tmp_path / "interrupted")
    (folder / "results").mkdir()
    mounted = mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder / "results"))
    yield folder, mounted
    if mounted:
        subprocess.run(["umount", str(folder / "results")], check=True)


def test_interrupted_at_random_moments_and_run_again(base, disk):
    folder, own_disk = disk
    trial = Trial(folder, contents(base / "results/toy"), Random(3))
    kinds = ["SIGKILL to a job", "SIGTERM to all", "SIGKILL to Snakemake", "damaged shard file", "SIGTERM to Snakemake"]
    if own_disk:
        kinds[2:2] = ["full disk", "read-only results"]
    assert set(kinds) <= set(KINDS)
    outcomes = [trial.interrupt(kind) for kind in kinds]
    trial.finish()
    # Whether a moment falls inside a shard is chance; tests/workflow/test_resume.py picks such moments.
    assert set(outcomes) - {"too late", "finished in spite of it"}

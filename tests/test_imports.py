"""What a job loads before it can begin: a stage that has no network to run does not wait for torch."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "torchvision", "timm", "matplotlib", "numba", "pandas"}
EXPECTED = {
    ("scan", "shard", "preflight", "merge", "welch", "similarity", "neighbors"): set(),
    ("evidence", "significance", "judgement", "agreement", "examples", "wordnet", "map"): set(),
    ("moments",): {"numba"},
    ("class_figure", "heatmap"): {"matplotlib"},
}


@pytest.mark.parametrize(("stages", "expected"), EXPECTED.items())
def test_stages_load_nothing_heavy(stages, expected):
    names = ", ".join(f"labelsim.stages.{stage}" for stage in stages)
    script = f"import sys, labelsim.jobs.log, labelsim.jobs.provenance, {names}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stdout.split()) == expected

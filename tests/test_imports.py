"""What a job loads before it can begin: a stage that has no network to run does not wait for torch."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "torchvision", "timm", "matplotlib", "numba", "pandas"}
EXPECTED = {"moments": {"numba"}, "class_figure": {"matplotlib"}, "heatmap": {"matplotlib"}}
STAGES = ["scan", "shard", "moments", "merge", "welch", "similarity", "neighbors", "class_figure", "heatmap"]


@pytest.mark.parametrize("stage", STAGES)
def test_stage_loads_nothing_heavy(stage):
    script = f"import sys, labelsim.jobs.log, labelsim.jobs.provenance, labelsim.stages.{stage}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = HEAVY & set(done.stdout.split())
    assert loaded == EXPECTED.get(stage, set())

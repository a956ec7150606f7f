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
DRY_RUN = """
import torch
from labelsim.network.tracing import trace
trace(torch.nn.Conv2d(3, 2, 1), torch.zeros(1, 3, 4, 4))
"""


def loaded(script: str) -> set[str]:
    """Modules that a process has loaded after a script."""
    command = [sys.executable, "-c", f"{script}\nimport sys; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize(("stages", "expected"), EXPECTED.items())
def test_stages_load_nothing_heavy(stages, expected):
    names = ", ".join(f"labelsim.stages.{stage}" for stage in stages)
    assert HEAVY & loaded(f"import labelsim.jobs.log, labelsim.jobs.provenance, {names}") == expected


def test_a_dry_run_of_a_network_does_not_load_the_compiler_of_pytorch():
    assert "torch._dynamo" not in loaded(DRY_RUN)

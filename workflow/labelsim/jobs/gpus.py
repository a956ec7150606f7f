"""The GPUs that Snakemake schedules, found without PyTorch, which takes seconds to import."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["DRIVER", "visible_gpus"]

DRIVER = Path("/proc/driver/nvidia/gpus")
"""The folder in which NVIDIA's driver lists the GPUs of a machine."""


def visible_gpus(environment: Mapping[str, str], driver: Path = DRIVER) -> int:
    """Count the GPUs of this machine that programs may use.

    Parameters
    ----------
    environment : mapping
        CUDA_VISIBLE_DEVICES may leave some out.
    driver : Path
        The folder in which NVIDIA's driver lists all of them.
    """
    there = len(list(driver.iterdir())) if driver.is_dir() else 0
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return there
    named = [entry for entry in visible.split(",") if entry.strip() not in ("", "-1", "NoDevFiles")]
    return len(named) if there else 0

"""The device that a job computes on: one GPU a job."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from labelsim.errors import LabelsimError
from labelsim.locks import one_held

__all__ = ["claimed"]

logger = logging.getLogger(__name__)


@contextmanager
def claimed(name: str) -> Iterator[torch.device]:
    """Hold the device that a job computes on.

    Snakemake gives local jobs no GPU of their own. Here each job takes the first visible GPU that no other
    job of this user has, and waits if there is none. However a job ends, its GPU is free again.

    Parameters
    ----------
    name : str
        The configuration's `extract.device`: auto, cpu, cuda or cuda:N.

    Yields
    ------
    torch.device
        cpu, which is not held, or cuda:N.

    Raises
    ------
    LabelsimError
        If there is no such device.
    """
    visible = torch.cuda.device_count()
    device = torch.device("cuda" if visible else "cpu") if name == "auto" else torch.device(name)
    if device.type == "cpu":
        yield device
        return
    if (device.index or 0) >= visible:
        raise LabelsimError(
            f"extract.device: {name!r} is not there; this machine shows PyTorch {visible} CUDA devices. "
            "Use auto or cpu, or ask the cluster for a GPU."
        )
    numbers = range(visible) if device.index is None else [device.index]
    with one_held([_lock(number) for number in numbers], "a free GPU") as which:
        number = numbers[which]
        logger.info("GPU %d of %d, %s", number, visible, torch.cuda.get_device_name(number))
        yield torch.device("cuda", number)


def _lock(number: int) -> Path:
    """The lock file of a GPU: a number means another GPU in each job that sees only some of them, its UUID does not."""
    folder = Path(tempfile.gettempdir()) / f"labelsim-{os.getuid()}"
    return folder / f"GPU-{torch.cuda.get_device_properties(number).uuid}.lock"

"""The device that a job computes on: one GPU a job."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from labelsim.errors import LabelsimError
from labelsim.jobs.gpus import DRIVER
from labelsim.storage.locks import lock_first_free

__all__ = ["exclusive_device", "gpu_key", "has_fast_bfloat16", "sign_of_gpu"]

logger = logging.getLogger(__name__)


@contextmanager
def exclusive_device(name: str) -> Iterator[torch.device]:
    """Hold the device that a job computes on.

    Snakemake gives local jobs no GPU of their own. Here each job takes the first visible GPU that no other
    job of this user on this machine has, and waits if there is none. However a job ends, its GPU is free again.

    Parameters
    ----------
    name : str
        The configuration's `extract.device`: auto, cpu, cuda or cuda:N.

    Yields
    ------
    torch.device
        cpu, which is not held, or cuda:N, which is then PyTorch's current device.

    Raises
    ------
    LabelsimError
        If there is no such device, or if PyTorch sees no GPU where ``auto`` should find one.
    """
    # device_count alone counts what a driver too old for this PyTorch shows.
    visible = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto" and not visible and (sign := sign_of_gpu(os.environ)):
        raise LabelsimError(
            f"extract.device is auto, and PyTorch sees no GPU although {sign}. {_cause()}\n"
            "Mend that, or set `extract.device: cpu` to compute on the CPU."
        )
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
    keys = [gpu_key(number, str(torch.cuda.get_device_properties(number).uuid), os.environ) for number in numbers]
    with lock_first_free(keys, "a free GPU") as which:
        number = numbers[which]
        torch.cuda.set_device(number)  # or what names no device opens a context on the first GPU as well
        logger.info("GPU %d of %d, %s", number, visible, torch.cuda.get_device_name(number))
        yield torch.device("cuda", number)


def gpu_key(number: int, uuid: str, environment: Mapping[str, str]) -> str:
    """What tells a GPU from all others of this machine: a number means another GPU in each job that sees only some.

    Parameters
    ----------
    number : int
        Of the GPU among those that PyTorch sees.
    uuid : str
        As PyTorch gives it; parts of a GPU (MIG) may share that of the whole.
    environment : mapping
        Its CUDA_VISIBLE_DEVICES names such parts.
    """
    entries = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
    entry = entries[number].strip() if number < len(entries) else ""
    return entry if entry.startswith("MIG-") else f"GPU-{uuid}"


def sign_of_gpu(environment: Mapping[str, str], driver: Path = DRIVER) -> str | None:
    """What says that there is a GPU for this job, whether PyTorch sees it or not.

    Parameters
    ----------
    environment : mapping
        The job's.
    driver : Path
        The folder in which NVIDIA's driver lists the machine's GPUs.

    Returns
    -------
    str or None
        The end of a sentence; None if nothing says so, or if the user hides all GPUs from the job.
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        return None
    for name in ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "CUDA_VISIBLE_DEVICES"):
        if environment.get(name, "NoDevFiles") not in ("", "NoDevFiles"):  # the latter is Slurm's word for none
            return f"{name} is {environment[name]!r}"
    if driver.is_dir() and any(driver.iterdir()):
        return f"the driver shows one in {driver}"
    return None


def has_fast_bfloat16() -> bool:
    """Whether this machine's processor has instructions for bfloat16, as far as PyTorch tells."""
    found: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # earlier versions of PyTorch do not tell
    return any(found.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))  # the last one is ARM's


def _cause() -> str:
    if torch.version.cuda is None:
        return f"This PyTorch ({torch.__version__}) is built without CUDA."
    return (
        f"Likely causes: a driver too old for CUDA {torch.version.cuda}, a container without --nv, or, on Slurm, a job "
        "that asked for no GPU."
    )

"""What to change when an extraction waits for one thing most of the time."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["advice"]

_CORES = "more cores for each job (threads of extract)"
_LINK = "a GPU with a faster connection"
_SHARDS = "larger shards, which need fewer jobs (extract.images_per_shard)"
# Part of an extraction: what it is called, and what makes it shorter.
_PARTS = {
    "starting": ("starting", _SHARDS),
    "reading": ("reading images", "a faster disk, or tar files instead of a file for each image"),
    "decoding": ("decoding images", _CORES),
    "resizing": ("resizing images", _CORES),
    "upload": ("the upload to the GPU", _LINK),
    "network": ("the network", "extract.precision: tf32 or bfloat16, extract.compile: true, or a faster GPU"),
    "download": ("the download from the GPU", f"fewer layers (probe.layers), or {_LINK}"),
    "waiting_for_writers": ("the writers", f"a faster disk for the results, or {_CORES}"),
    "finishing": ("finishing", _SHARDS),
}
_NETWORK_ON_CPU = f"a GPU, {_CORES}, or extract.compile: true"


def advice(seconds: Mapping[str, float], device: str) -> str:
    """Say in one line what takes the largest part of an extraction's time, and what to change.

    Parameters
    ----------
    seconds : mapping of str to float
        Seconds that the extraction waited, by what it waited for: the keys are those of `seconds_by_part` in
        ``….stats.json``.
    device : str
        "cpu", or the name of a GPU.

    Returns
    -------
    str
        Empty if there is no time to speak of.
    """
    total = sum(seconds.values())
    if total <= 0:
        return ""
    largest = max(_PARTS, key=lambda part: seconds.get(part, 0.0))
    what, change = _PARTS[largest]
    if largest == "network" and device == "cpu":
        change = _NETWORK_ON_CPU
    return f"{what}, {100 * seconds[largest] / total:.0f} % of the time; what helps: {change}"

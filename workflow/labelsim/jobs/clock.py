"""Where the time of an extraction goes, and what makes the largest part of it shorter."""

from __future__ import annotations

import time
from collections.abc import Mapping

__all__ = ["PARTS", "Clock", "advice"]

_CORES = "more cores for each job (threads of extract)"
_LINK = "a GPU with a faster connection"
_SHARDS = "larger shards, which need fewer jobs (extract.images_per_shard)"
PARTS = {
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
"""Parts of a job's time: what each is called, and what makes it shorter.

Reading, decoding and resizing are the time that the job waited for images, divided as its processes divide their own.
"""
_NETWORK_ON_CPU = f"a GPU, {_CORES}, or extract.compile: true"


class Clock:
    """Assigns every second of a job to one part, so that the parts add up to the whole.

    Attributes
    ----------
    seconds : dict of str to float
        By part, one of `PARTS`.
    """

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._last = time.perf_counter()

    def lap(self, shares: Mapping[str, float]) -> float:
        """Divide the time since the last call among parts, and return it in seconds.

        Parameters
        ----------
        shares : mapping of str to float
            By part, in any unit.
        """
        now = time.perf_counter()
        passed = now - self._last
        whole = sum(shares.values())
        for part, share in shares.items():
            self.seconds[part] += passed * (share / whole if whole else 1 / len(shares))
        self._last = now
        return passed

    @property
    def total(self) -> float:
        """Seconds from the start to the last `lap`."""
        return sum(self.seconds.values())

    def rounded(self) -> dict[str, float]:
        """The seconds, as they are recorded."""
        return {part: round(seconds, 3) for part, seconds in self.seconds.items()}


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
    largest = max(PARTS, key=lambda part: seconds.get(part, 0.0))
    what, change = PARTS[largest]
    if largest == "network" and device == "cpu":
        change = _NETWORK_ON_CPU
    return f"{what}, {100 * seconds[largest] / total:.0f} % of the time; what helps: {change}"

"""Where the time of an extraction goes."""

from __future__ import annotations

import time
from collections.abc import Mapping

__all__ = ["PARTS", "Clock"]

PARTS = (
    "starting",
    "reading",  # this and the next two: waiting for images, divided as the processes divide their own time
    "decoding",
    "resizing",
    "upload",
    "network",
    "download",
    "waiting_for_writers",
    "finishing",
)


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

    def lap(self, shares: Mapping[str, float]) -> None:
        """Divide the time since the last call among parts.

        Parameters
        ----------
        shares : mapping of str to float
            By part, in any unit.
        """
        now = time.perf_counter()
        whole = sum(shares.values())
        for part, share in shares.items():
            self.seconds[part] += (now - self._last) * (share / whole if whole else 1 / len(shares))
        self._last = now

    @property
    def total(self) -> float:
        """Seconds from the start to the last `lap`."""
        return sum(self.seconds.values())

    def rounded(self) -> dict[str, float]:
        """The seconds, as they are recorded."""
        return {part: round(seconds, 3) for part, seconds in self.seconds.items()}

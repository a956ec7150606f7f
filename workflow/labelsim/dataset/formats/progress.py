"""A line in the log now and then, while a source is listed."""

import logging
import time

__all__ = ["Progress"]

logger = logging.getLogger(__name__)


class Progress:
    """Counts the images listed so far, and logs how far the listing is.

    Parameters
    ----------
    parts : str
        What the source consists of, in the plural.
    total : int, optional
        How many of them there are, if that is known beforehand.
    every : float
        Seconds between two lines, at least.
    """

    def __init__(self, parts: str, total: int | None = None, every: float = 10.0) -> None:
        self._parts = parts if total is None else f"of {total:,} {parts}"
        self._every = every
        self._next = time.monotonic() + every
        self._images = self._done = 0

    def image(self, images: int = 1) -> None:
        """Count an image, or several."""
        self._images += images
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._every
            logger.info("Listed %s images, %s %s", f"{self._images:,}", f"{self._done:,}", self._parts)

    def part(self) -> None:
        """Count a part that is done."""
        self._done += 1

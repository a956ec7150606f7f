"""What every form of a dataset has to offer: it lists its samples and reads one of them."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, Self

import pyarrow as pa

from labelsim.dataset.formats.files import states
from labelsim.errors import LabelsimError

__all__ = ["Listing", "Progress", "Source", "digest"]

logger = logging.getLogger(__name__)


class Listing(NamedTuple):
    """Everything a source holds.

    Attributes
    ----------
    classes : list of str
        Class ids in the order of the class index. Sorted as text ("0", "1", "10", "2"), like torchvision's class
        folders, except for `webdataset` and `parquet`: labels that are numbers come in numerical order, and labels
        that a table's schema names in the order of these names. Classes without images are included if the source
        names them.
    samples : pyarrow.Table
        One row per sample, with the columns of `SAMPLES`, sorted by sample_id (its UTF-8 bytes) in any order of the
        classes. A sample_id is the class id, a slash and usually the image's file name, so the same images are the
        same rows in every form. Only shuffled Parquet tables keep their own order: see `ParquetSource.list`.
    skipped : dict of str to int
        What was ignored: number by kind.
    notes : dict of str to int
        What else a user should know, likewise.
    """

    classes: list[str]
    samples: pa.Table
    skipped: dict[str, int]
    notes: dict[str, int]

    @classmethod
    def of(
        cls, classes: Iterable[str], samples: pa.Table, skipped: Mapping[str, int], notes: Mapping[str, int]
    ) -> Self:
        """Make a listing; kinds of which there are none are left out."""
        counts = ({kind: number for kind, number in sorted(count.items()) if number} for count in (skipped, notes))
        return cls([*classes], samples, *counts)


class Source(ABC):
    """The images at a path, in one of the forms of a dataset.

    Parameters
    ----------
    path : path
        Where the images are. It need not exist before `list` is called.
    labels : str
        The configuration's `dataset.labels`.

    Attributes
    ----------
    reads_in_groups : bool
        Whether reading an image also reads those next to it, so that one process should read for all.
    """

    reads_in_groups = False

    def __init__(self, path: str | Path, labels: str = "auto") -> None:
        self.path = Path(path)
        self.labels = labels

    @abstractmethod
    def list(self) -> Listing:
        """List the classes and the samples.

        A file that cannot be looked at (such as a broken link) is listed with 0 bytes: it is rejected by name when it
        is decoded.

        Raises
        ------
        LabelsimError
            If something is missing, damaged or ambiguous. Incomplete files are errors; they are never read in part.
        """

    def read(self, row: Mapping[str, Any]) -> bytes:
        """Read one sample.

        Parameters
        ----------
        row : mapping
            Its row of `Listing.samples`, of which `path`, `offset` and `bytes` are used.

        Raises
        ------
        OSError
            If it cannot be read, or is not what was listed.
        """
        return (self.path / row["path"]).read_bytes()

    def state(self) -> str:
        """Return a digest that changes when images are added or removed, without reading them.

        It covers names, sizes and modification times of files, or modification times of folders: an image that is
        overwritten in a folder goes unnoticed. It is "missing" if they are not there.
        """
        try:
            return states(self._files())
        except (OSError, LabelsimError):
            return "missing"

    def _files(self) -> Iterable[tuple[str | Path, Path]]:
        """Return the files, or folders, that hold the images, and a name for each."""
        raise NotImplementedError


class Progress:
    """Logs now and then how many images are listed.

    Parameters
    ----------
    parts : str
        What the source consists of, in the plural.
    total : int, optional
        How many of them there are, if known.
    every : float
        Least number of seconds between two lines.
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
        """Count a finished part."""
        self._done += 1


def digest(data: bytes) -> str:
    """Return the digest of a sample's content: BLAKE2b of 16 bytes, in hexadecimal."""
    return blake2b(data, digest_size=16).hexdigest()

"""A flat folder: images without class folders, whose classes are in a file of labels."""

import stat
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from labelsim.dataset.formats.base import Listing, Source
from labelsim.dataset.formats.files import is_image, stats
from labelsim.dataset.labels import image_labels, label_file
from labelsim.dataset.manifest import FOUND, sample_table
from labelsim.errors import LabelsimError

__all__ = ["FlatSource"]

FOLDERS = "folders"
OTHER = "files without the extension of an image"


class FlatSource(Source):
    """A folder with images directly in it.

    Every regular file with the extension of an image, or link to one, is a sample; its id is its class id, a slash and
    its name. The classes are those that occur.

    Parameters
    ----------
    path, labels
        As for `Source`; see `labelsim.dataset.labels.image_labels`.
    near : Path, optional
        Where `auto` looks for a file of labels, by default in the folder itself.
    """

    def __init__(self, path: str | Path, labels: str, near: Path | None = None) -> None:
        super().__init__(path, labels)
        self.near = near or self.path

    def list(self) -> Listing:
        """List the classes and the samples."""
        skipped: Counter[str] = Counter()
        sizes = self._sizes(skipped)
        names = list(sizes)
        labels = image_labels(names, self.labels, self.near)
        classes = sorted(set(labels.values()))
        index = {class_id: number for number, class_id in enumerate(classes)}
        numbers = [index[labels[name]] for name in names]
        found = pa.table([names, numbers, names, pa.nulls(len(names), pa.int64()), [*sizes.values()]], schema=FOUND)
        return Listing.of(classes, sample_table(found, classes, classes), skipped, {})

    def _files(self) -> Iterable[tuple[str, Path]]:
        labels = label_file("auto", self.near) if self.labels == "auto" else None
        return ((file.name, file) for file in (self.path, labels) if file)

    def _sizes(self, skipped: Counter[str]) -> dict[str, int]:
        """Return the size of each image by name."""
        sizes = {}
        for entry, status in stats(self.path, skipped):
            if status is not None and stat.S_ISDIR(status.st_mode):
                skipped[FOLDERS] += 1
            elif is_image(entry.name):
                sizes[entry.name] = status.st_size if status is not None else 0
            else:
                skipped[OTHER] += 1
        if not sizes:
            folders = " If each of its folders is a class, set dataset.format: folder." if skipped[FOLDERS] else ""
            raise LabelsimError(f"dataset.source: there are no images, such as image.JPEG, in {self.path}.{folders}")
        return sizes

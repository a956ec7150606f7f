"""A flat folder: images without class folders, whose classes stand elsewhere."""

import stat
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelsim.dataset.formats.base import Listing, Source
from labelsim.dataset.formats.entries import SPECIAL, entries, is_folder, is_image, left_out, times
from labelsim.dataset.labels import image_labels, label_file
from labelsim.dataset.samples import FOUND, sample_table
from labelsim.errors import LabelsimError
from labelsim.storage.digests import digest, file_digest

__all__ = ["FlatSource"]

FOLDERS = "folders beside the images"
OTHER = "not named as images"


class FlatSource(Source):
    """A folder with images directly in it.

    Every regular file whose name has an image's extension is a sample; its id is its class_id, a slash and its
    name. A link to a file counts as the file.

    Parameters
    ----------
    path : path
        The folder that holds the images.
    labels : str
        The configuration's `dataset.labels`.
    near : path, optional
        Where a file of labels is looked for if `labels` is `auto`; the folder itself if not given.
    """

    def __init__(self, path: str | Path, labels: str, near: Path | None = None) -> None:
        self.path = Path(path)
        self.labels = labels
        self.near = near or self.path

    def list(self) -> Listing:
        """List the classes and the samples.

        Returns
        -------
        Listing
            Its classes are those that there are images of. A file that cannot be stat'ed (a broken link, say) is
            listed with 0 bytes, so that it is rejected by name when it is decoded. Folders, and files that are not
            named as images, are counted in `skipped`.

        Raises
        ------
        LabelsimError
            If the folder cannot be listed, if there are no images, or as `image_labels` does.
        """
        skipped: Counter[str] = Counter()
        sizes = self._sizes(skipped)
        labels = image_labels(list(sizes), self.labels, self.near)
        classes = sorted(set(labels.values()))
        names = list(sizes)
        columns = [names, [labels[name] for name in names], names, pa.nulls(len(names), pa.int64()), [*sizes.values()]]
        samples = sample_table(pa.table(columns, schema=FOUND), classes)
        return Listing(classes, samples, dict(sorted(skipped.items())))

    def read(self, row: Mapping[str, Any]) -> bytes:
        """Read one sample's bytes.

        Parameters
        ----------
        row : mapping
            Its row; only `path` is used.

        Raises
        ------
        OSError
            If the file cannot be read.
        """
        return (self.path / row["path"]).read_bytes()

    def state(self) -> str:
        """Return a digest of the folder's modification time and of the labels' file.

        It changes when an image is added, removed or renamed; a file written over in place leaves no trace in it.
        """
        file = label_file(self.labels, self.near)
        return digest(f"{times(self.path)} {file and file_digest(file)}")

    def _sizes(self, skipped: Counter[str]) -> dict[str, int]:
        """Size of each image by name."""
        sizes = {}
        for entry in entries(self.path):
            if reason := left_out(entry.name):
                skipped[reason] += 1
            elif is_folder(entry):
                skipped[FOLDERS] += 1
            elif not is_image(entry.name):
                skipped[OTHER] += 1
            else:
                try:
                    status = entry.stat()
                except OSError:
                    sizes[entry.name] = 0
                    continue
                if stat.S_ISREG(status.st_mode):
                    sizes[entry.name] = status.st_size
                else:
                    skipped[SPECIAL] += 1
        if not sizes:
            raise LabelsimError(_no_images(self.path, skipped))
        return sizes


def _no_images(path: Path, skipped: Counter[str]) -> str:
    message = f"{path} holds no images: no file directly in it is named as one, such as image.JPEG."
    if skipped[FOLDERS]:
        message += " There are folders in it: if each is a class, set dataset.format: folder."
    return message

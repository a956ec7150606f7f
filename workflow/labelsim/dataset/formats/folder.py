"""Class folders: each folder directly in the source is a class, the files in it at any depth its samples."""

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from labelsim.dataset.formats.base import Listing, Source
from labelsim.dataset.formats.entries import SPECIAL, entries, is_broken, is_folder, is_image, left_out, times
from labelsim.dataset.formats.progress import Progress
from labelsim.dataset.label_ids import class_ids_of_folders
from labelsim.dataset.samples import SAMPLES
from labelsim.errors import LabelsimError

__all__ = ["FolderSource"]

BESIDE = "beside the class folders"
BROKEN = "broken links beside the class folders"
EMPTY = "empty class folders"
CYCLE = "links back to a folder they are in"


class FolderSource(Source):
    """A folder of class folders.

    A class is a folder, or a link to one, directly in `path` whose name does not start with a dot; its name
    is the class_id, unless `labels` gives it another. Every regular file in it is a sample, at any depth and whatever
    its name: whether it is an image is seen when it is decoded. A sample's id is the class_id and the POSIX path in the
    class folder. Linked folders are followed.

    Parameters
    ----------
    path : path
        The folder that holds the class folders.
    labels : str
        The configuration's `dataset.labels`: see `labelsim.dataset.label_ids.class_ids_of_folders`.
    """

    def __init__(self, path: str | Path, labels: str = "auto") -> None:
        self.path = Path(path)
        self.labels = labels

    def list(self) -> Listing:
        """List the classes and the samples.

        Returns
        -------
        Listing
            A file that cannot be stat'ed (a broken link, say) is listed with 0 bytes, so that it is rejected
            by name when it is decoded. An empty class folder is counted in `skipped` and stays a class.

        Raises
        ------
        LabelsimError
            If there are no class folders, if a folder cannot be listed, if its name means no class, or if folders of
            one class hold files of one name.
        """
        skipped: Counter[str] = Counter()
        inside = self._class_folders(skipped)
        folders: dict[str, list[str]] = {}
        for folder, class_id in class_ids_of_folders(inside, self.labels).items():
            folders.setdefault(class_id, []).append(folder)
        classes = list(folders)
        progress = Progress("class folders", len(classes))
        tables = [SAMPLES.empty_table()]
        # in the order of the sample_ids, in which a-b/1.png comes before a/1.png
        for class_index, class_id in sorted(enumerate(classes), key=lambda class_: f"{class_[1]}/"):
            found = sorted(
                (f"{class_id}{path[len(folder) :]}", path, size)
                for folder in folders[class_id]
                for path, size in _samples(self.path / folder, folder, inside[folder], skipped)
            )
            if twice := next((pair for pair in pairwise(found) if pair[0][0] == pair[1][0]), None):
                (sample_id, one, _), (_, other, _) = twice
                raise LabelsimError(
                    f"dataset.labels: two images would be the same sample {sample_id!r}: {one} and {other}. Give one "
                    "of them another name, so that none is lost unnoticed."
                )
            progress.part()
            progress.image(len(found))
            skipped[EMPTY] += not found
            tables.append(_table(class_index, class_id, found))
        samples = pa.concat_tables(tables).combine_chunks()
        return Listing(classes, samples, {kind: n for kind, n in sorted(skipped.items()) if n})

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
        """Return a digest of the modification times of the source folder and of the folders directly in it.

        It changes when a file or folder is added, removed or renamed there; what happens deeper down, and a
        file written over in place, leave no trace in it. "missing" if the folder cannot be listed.
        """
        return times(self.path)

    def _class_folders(self, skipped: Counter[str]) -> dict[str, frozenset[tuple[int, int]]]:
        """Return for each class the identities of its folder and of the source, with which a walk begins."""
        folders, beside = {}, []
        for entry in entries(self.path):
            if reason := left_out(entry.name):
                skipped[reason] += 1
            elif not is_folder(entry):
                beside.append(entry.name)
                skipped[BROKEN if is_broken(entry) else BESIDE] += 1
            elif (this := _identity(entry.stat())) == (source := _identity(self.path.stat())):
                skipped[CYCLE] += 1
            else:
                folders[entry.name] = frozenset({source, this})
        if not folders:
            raise LabelsimError(_no_class_folders(self.path, beside))
        return folders


def _samples(
    folder: str | Path, prefix: str, inside: frozenset[tuple[int, int]], skipped: Counter[str]
) -> Iterator[tuple[str, int]]:
    """Yield (path, bytes) of the files in a folder and below it.

    `inside` holds the identities of the folder and of those that it is in: to meet one again is a cycle.
    """
    for entry in entries(folder):
        path = f"{prefix}/{entry.name}"
        if reason := left_out(entry.name):
            skipped[reason] += 1
            continue
        try:
            status = entry.stat()
        except OSError:
            yield path, 0
            continue
        if stat.S_ISREG(status.st_mode):
            yield path, status.st_size
        elif not stat.S_ISDIR(status.st_mode):
            skipped[SPECIAL] += 1
        elif (this := _identity(status)) in inside:
            skipped[CYCLE] += 1
        else:
            yield from _samples(entry.path, path, inside | {this}, skipped)


def _table(class_index: int, class_id: str, found: list[tuple[str, str, int]]) -> pa.Table:
    columns = [
        pa.array([sample_id for sample_id, _, _ in found], pa.large_string()),
        pa.repeat(pa.scalar(class_index, pa.int32()), len(found)),
        pa.repeat(pa.scalar(class_id, pa.large_string()), len(found)),
        pa.array([path for _, path, _ in found], pa.large_string()),
        pa.nulls(len(found), pa.int64()),
        pa.array([size for _, _, size in found], pa.int64()),
    ]
    return pa.table(columns, schema=SAMPLES)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _no_class_folders(path: Path, beside: list[str]) -> str:
    message = (
        f"{path} holds no class folders. Expected is one folder a class with the class's images in it, "
        f"as in {path / 'n01440764' / 'image.JPEG'}."
    )
    images = sorted(name for name in beside if is_image(name))
    if images:
        message += (
            f" There are images directly in it ({len(images):,}, {images[0]} for one): set dataset.format: flat, and "
            "dataset.labels to a file that says which class each is of; or, if it is a class folder itself, name the "
            "folder above."
        )
    return message

"""Class folders: each folder directly in the source is a class, the files in it at any depth are its samples."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pyarrow as pa

from labelsim.dataset.formats.base import Listing, Progress, Source
from labelsim.dataset.formats.files import SPECIAL, entries, is_folder, is_image, times, why_ignored
from labelsim.dataset.labels import class_ids_of_folders
from labelsim.dataset.manifest import SAMPLES
from labelsim.errors import LabelsimError

__all__ = ["FolderSource"]

OUTSIDE = "files outside the class folders"
BROKEN = "broken links outside the class folders"
CYCLE = "links back to a folder they are in"
EMPTY = "class folders are empty"


class FolderSource(Source):
    """A folder of class folders.

    A class is a folder, or a link to one, directly in `path`; its name is the class id unless `labels` gives it
    another. Every regular file in it is a sample, at any depth and whatever its name. A sample's id is the class id and
    the path in the class folder. Linked folders are followed. An empty class folder is a class.

    Parameters
    ----------
    path, labels
        As for `Source`; see `labelsim.dataset.labels.class_ids_of_folders`.
    """

    def list(self) -> Listing:
        """List the classes and the samples."""
        skipped: Counter[str] = Counter()
        inside = self._class_folders(skipped)
        folders: dict[str, list[str]] = {}
        for folder, class_id in class_ids_of_folders(inside, self.labels).items():
            folders.setdefault(class_id, []).append(folder)
        classes = list(folders)
        progress = Progress("class folders", len(classes))
        tables = [SAMPLES.empty_table()]
        # in the order of the sample ids: a-b/1.png comes before a/1.png
        for class_index, class_id in sorted(enumerate(classes), key=lambda class_: f"{class_[1]}/"):
            found = sorted(
                (f"{class_id}{path[len(folder) :]}", path, size)
                for folder in folders[class_id]
                for path, size in _samples(self.path / folder, folder, inside[folder], skipped)
            )
            for (sample_id, one, _), (next_id, other, _) in pairwise(found):
                if sample_id == next_id:
                    raise LabelsimError(
                        f"dataset.labels: two images have the same id {sample_id!r}: {one} and {other}. Rename or "
                        "remove one of them."
                    )
            progress.part()
            progress.image(len(found))
            tables.append(_table(class_index, class_id, found))
        samples = pa.concat_tables(tables).combine_chunks()
        empty = sum(not len(table) for table in tables[1:])
        return Listing(classes, samples, dict(sorted(skipped.items())), {EMPTY: empty} if empty else {})

    def state(self) -> str:
        """Digest the modification times of the source folder and the folders in it, but none below."""
        return times(self.path)

    def _class_folders(self, skipped: Counter[str]) -> dict[str, frozenset[tuple[int, int]]]:
        """Return for each class the identities of its folder and of the source, with which a walk begins."""
        folders, files = {}, []
        for entry in entries(self.path):
            if reason := why_ignored(entry.name):
                skipped[reason] += 1
            elif not is_folder(entry):
                files.append(entry.name)
                skipped[OUTSIDE if Path(entry.path).exists() else BROKEN] += 1
            elif (this := _identity(entry.stat())) == (source := _identity(self.path.stat())):
                skipped[CYCLE] += 1
            else:
                folders[entry.name] = frozenset({source, this})
        if not folders:
            raise LabelsimError(_no_class_folders(self.path, sorted(filter(is_image, files))))
        return folders


def _samples(
    folder: str | Path, prefix: str, inside: frozenset[tuple[int, int]], skipped: Counter[str]
) -> Iterator[tuple[str, int]]:
    """Yield (path, bytes) of the files in a folder and below it.

    `inside` has the identities of the folder and of those that it is in; a folder that is one of them is a cycle.
    """
    for entry in entries(folder):
        path = f"{prefix}/{entry.name}"
        if reason := why_ignored(entry.name):
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


def _no_class_folders(path: Path, images: list[str]) -> str:
    message = f"dataset.source: there are no class folders in {path}. Expected: {path / 'n01440764' / 'image.JPEG'}."
    if images:
        message += (
            f" It has {len(images):,} images, such as {images[0]}. Set dataset.format: flat, and dataset.labels to a "
            "file with their classes; or, if it is a class folder, name the folder above it."
        )
    return message

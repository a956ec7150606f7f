"""Class folders: each folder directly in the source is a class, the files in it at any depth are its samples."""

import logging
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from labelsim.dataset.formats.base import Listing, Progress, Source
from labelsim.dataset.formats.files import entries, is_folder, is_image, stats, why_ignored
from labelsim.dataset.labels import class_ids_of_folders
from labelsim.dataset.manifest import FOUND, sample_table
from labelsim.errors import LabelsimError, listed

__all__ = ["FolderSource"]

logger = logging.getLogger(__name__)

OUTSIDE = "files outside the class folders"
BROKEN = "broken links outside the class folders"
CYCLE = "links back to a folder they are in"
EMPTY = "class folders are empty"

_FOUND = FOUND.set(FOUND.get_field_index("path"), pa.field("path", pa.large_string()))  # a path of its own per row


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
        ids = class_ids_of_folders(inside, self.labels)
        progress = Progress("class folders", len(ids))
        tables = []
        empty = 0
        nested: dict[str, list[str]] = {}  # folders in class folders that have no images of their own
        for number, folder in enumerate(ids):
            names, sizes = [], []
            for name, size in _files_in(self.path / folder, "", inside[folder], skipped):
                names.append(name)
                sizes.append(size)
            progress.part()
            progress.image(len(names))
            empty += not names
            if inner := _folders_only(names):
                nested[folder] = inner
            paths = pa.array([f"{folder}/{name}" for name in names], pa.large_string())
            columns = [names, [number] * len(names), paths, pa.nulls(len(names), pa.int64()), sizes]
            tables.append(pa.table(columns, schema=_FOUND))
        if nested and len(nested) == len(ids) - empty:
            self._suspect(nested)
        classes = list(dict.fromkeys(ids.values()))
        samples = sample_table(pa.concat_tables(tables), list(ids.values()), classes)
        return Listing.of(classes, samples, skipped, {EMPTY: empty})

    def _suspect(self, nested: Mapping[str, Sequence[str]]) -> None:
        """Warn of a source that looks like the folder above class folders."""
        folder, inner = next(iter(nested.items()))
        logger.warning(
            "%s is read as %s classes (%s), but no image is directly in these folders; all are in folders such as %s. "
            "If those are the classes, set dataset.source to %s.",
            self.path,
            f"{len(nested):,}",
            listed(list(nested)),
            listed([f"{folder}/{name}" for name in inner]),
            self.path / folder,
        )

    def _files(self) -> Iterable[tuple[str, Path]]:
        # a file that comes or goes changes its folder; those deeper down would take too long
        folders = sorted(entry.name for entry in entries(self.path) if is_folder(entry))
        return [("", self.path), *((name, self.path / name) for name in folders)]

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


def _folders_only(names: Sequence[str]) -> list[str]:
    """The folders in a class folder, if it has several and no images of its own; else none."""
    if any("/" not in name and is_image(name) for name in names):
        return []
    inner = sorted({name.partition("/")[0] for name in names if "/" in name})
    return inner if len(inner) > 1 else []


def _files_in(
    folder: str | Path, prefix: str, inside: frozenset[tuple[int, int]], skipped: Counter[str]
) -> Iterator[tuple[str, int]]:
    """Yield (path below the class folder, bytes) of the files in a folder and below it.

    `inside` has the identities of the folder and of those that it is in; a folder that is one of them is a cycle.
    """
    for entry, status in stats(folder, skipped):
        path = f"{prefix}{entry.name}"
        if status is None:
            yield path, 0
        elif stat.S_ISREG(status.st_mode):
            yield path, status.st_size
        elif (this := _identity(status)) in inside:
            skipped[CYCLE] += 1
        else:
            yield from _files_in(entry.path, f"{path}/", inside | {this}, skipped)


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

"""ImageNet's own archives: a tar with one tar per class, or a tar of images whose labels are elsewhere."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from labelsim.dataset.formats.base import Listing, Progress, Source
from labelsim.dataset.formats.files import is_image
from labelsim.dataset.formats.splits import split_of_folders
from labelsim.dataset.formats.tar import Member, found_members, opened, read_member, tar_members
from labelsim.dataset.labels import class_ids_of_folders, image_labels, label_file
from labelsim.dataset.manifest import FOUND, sample_table
from labelsim.dataset.paths import expand
from labelsim.errors import LabelsimError, listed

__all__ = ["ArchiveSource"]

OUTSIDE = "files outside the class archives"
EMPTY = "class archives are empty"
NO_IMAGE = "files without the extension of an image"


class ArchiveSource(Source):
    """An archive such as ILSVRC2012_img_train.tar or ILSVRC2012_img_val.tar, read without unpacking it.

    If it has archives in it, each is a class, even if empty: its name without `.tar` is the class id, unless `labels`
    gives it another, and every regular file in it is a sample. Otherwise the images in it are the samples, and their
    class is known by their file names. A sample's id is its class id, a slash, and its file's name without folders.

    Parameters
    ----------
    path, labels
        As for `Source`. See `labelsim.dataset.labels.class_ids_of_folders` for class archives, and `image_labels` for
        images, whose labels `auto` looks for in the archive's folder.
    """

    def list(self) -> Listing:
        """List the classes and the samples."""
        path = self._archive()
        skipped: Counter[str] = Counter()
        progress = Progress("class archives")
        archives: dict[str, int] = {}
        splits: dict[str, PurePosixPath] = {}
        tables = [FOUND.empty_table()]
        images: list[Member] = []
        empty = 0
        with opened(path) as file:
            for member in tar_members(file, path, skipped):
                name = PurePosixPath(member.name)
                if name.suffix.lower() != ".tar":
                    images.append(member)
                    progress.image()
                    continue
                inside = []
                for image in tar_members(file, f"{path}: {name}", skipped, member.offset, member.size):
                    inside.append(image)
                    progress.image()
                number = archives.setdefault(name.stem, len(archives))
                if split := split_of_folders(name):
                    splits.setdefault(split[0], name)
                empty += not inside
                names = [PurePosixPath(image.name).name for image in inside]
                tables.append(found_members(path.name, names, [number] * len(inside), inside))
                progress.part()
        if len(splits) > 1:
            examples = ", ".join(map(str, splits.values()))
            raise LabelsimError(
                f"dataset.source: {path} has class archives of more than one split: {examples}. Unpack it, and pack "
                "those of one split together."
            )
        if archives:
            skipped[OUTSIDE] += len(images)
            ids = class_ids_of_folders(archives, self.labels)
            found, label_ids = pa.concat_tables(tables), [ids[name] for name in archives]
        else:
            known = [image for image in images if is_image(image.name)]
            skipped[NO_IMAGE] += len(images) - len(known)
            names = [PurePosixPath(image.name).name for image in known]
            ids = image_labels(list(dict.fromkeys(names)), self.labels, path.parent)
            numbers = {name: number for number, name in enumerate(ids)}
            found = found_members(path.name, names, [numbers[name] for name in names], known)
            label_ids = list(ids.values())
        classes = sorted(set(label_ids))
        return Listing.of(classes, sample_table(found, label_ids, classes), skipped, {EMPTY: empty})

    def read(self, row: Mapping[str, Any]) -> bytes:
        """Read one sample."""
        return read_member(self.path.parent / row["path"], row["offset"], row["bytes"])

    def _files(self) -> Iterable[tuple[str, Path]]:
        path = self._archive()
        labels = label_file("auto", path.parent) if self.labels == "auto" else None
        return ((file.name, file) for file in (path, labels) if file)

    def _archive(self) -> Path:
        path, *more = expand(self.path)
        if more or path.is_dir():
            several = sorted(path.glob("*.tar")) if path.is_dir() else [path, *more]
            names = listed(list(map(str, several))) or "such as ILSVRC2012_img_train.tar"
            raise LabelsimError(f"dataset.source: {self.path} is not one archive. Name one: {names}")
        return path

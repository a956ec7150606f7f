"""ImageNet's own archives: a tar of one tar a class, or a tar of images whose labels are elsewhere."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
from pyarrow import compute

from labelsim.dataset.formats.base import Listing, Source
from labelsim.dataset.formats.entries import is_image, states
from labelsim.dataset.formats.progress import Progress
from labelsim.dataset.formats.split_files import split_by_folder
from labelsim.dataset.formats.tar import Member, opened, read_member, tar_members
from labelsim.dataset.label_ids import class_ids_of_folders
from labelsim.dataset.labels import image_labels, label_file
from labelsim.dataset.paths import expand
from labelsim.dataset.samples import FOUND, sample_table
from labelsim.errors import LabelsimError

__all__ = ["ArchiveSource"]

BESIDE = "beside the class archives"
EMPTY = "empty class archives"
NO_IMAGE = "not images by their names"


class ArchiveSource(Source):
    """An archive such as ILSVRC2012_img_train.tar or ILSVRC2012_img_val.tar, read without unpacking it.

    If there are archives in it, each is a class: its name without `.tar` is the class_id, unless `labels` gives it
    another, and every regular file in it a sample. If there are none, the images in it are the samples, and their
    file names say which class they are of. A sample's id is its class_id, a slash, and its file's name without
    folders.

    Parameters
    ----------
    path : path
        The archive, uncompressed.
    labels : str
        The configuration's `dataset.labels`: for class archives see
        `labelsim.dataset.label_ids.class_ids_of_folders`, for images that are in none
        `labelsim.dataset.labels.image_labels`, which also looks in the archive's folder.
    """

    def __init__(self, path: str | Path, labels: str = "auto") -> None:
        self.path = Path(path)
        self.labels = labels

    def list(self) -> Listing:
        """List the classes and the samples.

        Returns
        -------
        Listing
            An empty class archive is counted in `skipped` and stays a class.

        Raises
        ------
        LabelsimError
            If the archive, or one in it, is not there, unreadable or damaged, if the class archives are of several
            splits by the folders they are in, if an image has no label, or if two images of a class have the same file
            name.
        """
        path = self._archive()
        skipped: Counter[str] = Counter()
        progress = Progress("class archives")
        classes: set[str] = set()
        splits: dict[str, PurePosixPath] = {}
        tables = [FOUND.empty_table()]
        images: list[Member] = []
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
                classes.add(name.stem)
                if split := split_by_folder(name):
                    splits.setdefault(split[0], name)
                skipped[EMPTY] += not inside
                tables.append(_found(path, [name.stem] * len(inside), inside))
                progress.part()
        if len(splits) > 1:
            some = ", ".join(map(str, splits.values()))
            raise LabelsimError(
                f"dataset.source: {path} holds the class archives of more than one split: {some} and so on. Unpack it, "
                "and pack those of one split together."
            )
        if classes:
            skipped[BESIDE] += len(images)
            ids = class_ids_of_folders(classes, self.labels)
            found = _with_class_ids(pa.concat_tables(tables), ids)
        else:
            known = [image for image in images if is_image(image.name)]
            skipped[NO_IMAGE] += len(images) - len(known)
            names = [PurePosixPath(image.name).name for image in known]
            ids = image_labels(list(dict.fromkeys(names)), self.labels, path.parent)
            found = _found(path, [ids[name] for name in names], known)
        class_ids = sorted(set(ids.values()))
        samples = sample_table(found, class_ids)
        return Listing(class_ids, samples, {kind: n for kind, n in sorted(skipped.items()) if n})

    def read(self, row: Mapping[str, Any]) -> bytes:
        """Read one sample's bytes.

        Parameters
        ----------
        row : mapping
            Its row; `path`, `offset` and `bytes` are used.

        Raises
        ------
        OSError
            If the archive cannot be read, or is another one than was listed.
        """
        return read_member(self.path.parent / row["path"], row["offset"], row["bytes"])

    def state(self) -> str:
        """Return a digest of the archive's name, size and modification time, and of a label file's beside it.

        "missing" if the archive is not there.
        """
        try:
            path = self._archive()
            files = [path, label_file("auto", path.parent)] if self.labels == "auto" else [path]
            return states((file.name, file) for file in files if file is not None)
        except (OSError, LabelsimError):
            return "missing"

    def _archive(self) -> Path:
        path, *more = expand(self.path)
        if more or path.is_dir():
            several = sorted(path.glob("*.tar")) if path.is_dir() else [path, *more]
            names = ", ".join(str(archive) for archive in several[:3]) or "such as ILSVRC2012_img_train.tar"
            raise LabelsimError(f"dataset.source: {self.path} is not one archive: name one, {names}")
        return path


def _with_class_ids(found: pa.Table, ids: Mapping[str, str]) -> pa.Table:
    """Replace the names of class archives by the class ids that they mean."""
    names, class_ids = (pa.array(texts, pa.large_string()) for texts in (ids.keys(), ids.values()))
    numbers = compute.index_in(found["class_id"], value_set=names).chunks
    column = pa.chunked_array([pa.DictionaryArray.from_arrays(part, class_ids) for part in numbers])
    return found.set_column(FOUND.names.index("class_id"), "class_id", column)


def _found(path: Path, class_ids: Sequence[str], members: Sequence[Member]) -> pa.Table:
    names = [PurePosixPath(member.name).name for member in members]
    offsets = [member.offset for member in members]
    sizes = [member.size for member in members]
    return pa.table([names, class_ids, [path.name] * len(members), offsets, sizes], schema=FOUND)

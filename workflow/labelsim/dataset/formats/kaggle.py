"""ImageNet as Kaggle hands it out: ILSVRC/Data/CLS-LOC with train in class folders and val in one."""

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from labelsim.dataset.formats.base import Listing, Source
from labelsim.dataset.formats.entries import entries, is_folder, is_image, left_out, may_hold_images
from labelsim.dataset.formats.flat import FlatSource
from labelsim.dataset.formats.folder import FolderSource
from labelsim.dataset.labels import DEVKIT, KAGGLE
from labelsim.errors import LabelsimError
from labelsim.storage.digests import digest, file_digest

__all__ = ["KaggleSource", "holds_splits", "is_split"]

SYNSETS = "LOC_synset_mapping.txt"
WITHOUT_FOLDER = f"classes of {SYNSETS} without a folder"

_IMAGES = "CLS-LOC"
_SPLITS = ("train", "val", "test")
_LEVELS = 4  # CLS-LOC, Data, ILSVRC, and the folder that the archive was unpacked into


class KaggleSource(Source):
    """One split of Kaggle's ImageNet.

    The files with the classes are looked for in the folders above it, beside ILSVRC first. Training images are read
    from class folders, and validation images as a flat folder, or from class folders if they have been sorted into
    them.

    Parameters
    ----------
    path : path
        The folder …/CLS-LOC/train or …/CLS-LOC/val; or CLS-LOC or a folder above, if only one of the two is there.
    labels : str
        The configuration's `dataset.labels`, which are those of images, or of class folders if there are some.
    """

    def __init__(self, path: str | Path, labels: str) -> None:
        self.path = Path(path)
        self.labels = labels

    def list(self) -> Listing:
        """List the classes and the samples.

        Returns
        -------
        Listing
            As `FolderSource` or `FlatSource` lists it. Classes that `LOC_synset_mapping.txt` knows and that have no
            folder are counted in `skipped`.

        Raises
        ------
        LabelsimError
            If the folder is not one of the two, if it has a class folder that `LOC_synset_mapping.txt` does not know,
            or as these sources do.
        """
        split = self._split()
        if isinstance(split, FlatSource):
            return split.list()
        listing = split.list()
        mapping = self._above(SYNSETS)
        known = _wnids(mapping) if mapping else set(listing.classes)
        unknown = [class_id for class_id in listing.classes if class_id not in known]
        if unknown:
            raise LabelsimError(
                f"dataset.source: {self._folder} has folders that are no classes in {mapping}: {len(unknown):,}, "
                f"{unknown[0]!r} for one. Take them away, or set dataset.format: folder, to have each as a class."
            )
        missing = len(known) - len(listing.classes)
        return listing._replace(skipped=listing.skipped | ({WITHOUT_FOLDER: missing} if missing else {}))

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
        return (self._folder / row["path"]).read_bytes()

    def state(self) -> str:
        """Return a digest of what the split's own source sees, and of the classes' file."""
        mapping = self._above(SYNSETS)
        return digest(f"{self._split().state()} {mapping and file_digest(mapping)}")

    @cached_property
    def _folder(self) -> Path:
        """The folder of the split."""
        images = holds_splits(self.path)
        if is_split(self.path):
            found = [self.path]
        elif images:
            found = [images / split for split in _SPLITS if (images / split).is_dir()]
        else:
            raise LabelsimError(
                f"dataset.source: {self.path} is not a folder of Kaggle's ImageNet. Name …/ILSVRC/Data/{_IMAGES}/val "
                "or …/train, or set dataset.format: folder for images in class folders, or flat for images in one."
            )
        labelled = [folder for folder in found if _place(folder).name != "test"]
        if not labelled:
            raise LabelsimError(
                f"dataset.source: {self.path}: no labels of the test images are published. Name the folder val or "
                "train; or, if these are images in class folders, set dataset.format: folder."
            )
        if len(labelled) > 1:
            raise LabelsimError(
                f"dataset.source: {self.path} holds several sets of images. Name one of them: "
                f"{' or '.join(map(str, labelled))}."
            )
        return labelled[0]

    def _split(self) -> FolderSource | FlatSource:
        found = [entry for entry in entries(self._folder) if not left_out(entry.name)]
        if _place(self._folder).name == "train" or not any(is_image(entry.name) for entry in found):
            return FolderSource(self._folder, self.labels)
        if any(is_folder(entry) and may_hold_images(entry) for entry in found):
            raise LabelsimError(
                f"dataset.source: {self._folder} holds images and folders of images, so that some would be left out. "
                "Sort all of them into class folders, or none; or set dataset.format to folder or flat to use the one "
                "part."
            )
        file = self._above(KAGGLE) or self._above(DEVKIT)
        return FlatSource(self._folder, self.labels, file.parent if file else None)

    def _above(self, name: str) -> Path | None:
        """A file of a name in the folders above, the outermost first."""
        above = list(_place(self._folder).parents)[:_LEVELS]
        return next((folder / name for folder in reversed(above) if (folder / name).is_file()), None)


def is_split(path: Path) -> bool:
    """Whether a path is a split of Kaggle's ImageNet, by the name of the folder and of the one above."""
    place = _place(path)
    return place.name in _SPLITS and place.parent.name == _IMAGES


def holds_splits(path: Path) -> Path | None:
    """The folder CLS-LOC with the splits, if a path is that or a folder above; else None."""
    candidates = (_place(path) / below for below in ("", _IMAGES, f"Data/{_IMAGES}", f"ILSVRC/Data/{_IMAGES}"))
    return next((c for c in candidates if c.name == _IMAGES and any((c / split).is_dir() for split in _SPLITS)), None)


def _place(path: Path) -> Path:
    """Where a folder is, by the names that led to it, or else by those of what links point to."""
    named = Path(os.path.normpath(path.absolute()))
    linked = Path(os.path.realpath(named))  # not resolve, which raises RuntimeError for a link to itself
    known = [_IMAGES in (path.name, path.parent.name) for path in (named, linked)]
    return linked if known == [False, True] else named


def _wnids(mapping: Path) -> set[str]:
    """The classes in a file with lines such as "n01440764 tench, Tinca tinca"."""
    try:
        return {line.split()[0] for line in mapping.read_text(encoding="utf-8").splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise LabelsimError(f"{mapping} cannot be read: {reason}. Mend it, or take it away.") from error

"""WebDataset: tar archives in which the files of a sample lie next to each other, its label among them."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from labelsim.dataset.formats.base import Listing, Progress, Source
from labelsim.dataset.formats.files import entries, is_image
from labelsim.dataset.formats.splits import check_split
from labelsim.dataset.formats.tar import Member, found_members, opened, read_member, tar_members
from labelsim.dataset.labels import class_ids
from labelsim.dataset.manifest import FOUND, joined, repeats, sample_table
from labelsim.dataset.paths import parts, root
from labelsim.errors import LabelsimError

__all__ = ["WebDatasetSource", "holds_samples"]

IMAGES = ("jpg", "jpeg", "png", "webp")
OTHER = "files that are not shards"
PACKED = "compressed archives"
NO_EXTENSION = "files without an extension in shards"
NO_IMAGE = f"samples without an image ({', '.join(IMAGES)})"
REPEATED = "images have the key of another shard's image (so all sample ids name the shard)"

_COMPRESSED = (".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tgz")


class WebDatasetSource(Source):
    """Shards in WebDataset's format, read in place.

    Consecutive members of a shard with the same key, which is the path up to the first dot of the file name, are a
    sample. It has one image, and its label in a member `.cls`, as a number or a text, or else in a member `.json` under
    `label`.

    A sample's id is `<class_id>/<key>.<extension>`. Keys are unique in a shard, but many writers begin each shard at 0.
    If images of a class in several shards have the same key, all ids of the dataset are
    `<class_id>/<shard>/<key>.<extension>`: the form of the id depends neither on the order of the shards nor on the
    image. The classes are those that occur.

    Parameters
    ----------
    path : path
        A shard, a folder of shards, or a pattern of either (see `labelsim.dataset.paths.expand`).
    labels : str
        The configuration's `dataset.labels`: see `labelsim.dataset.labels.class_ids`.
    """

    def list(self) -> Listing:
        """List the classes and the samples."""
        skipped: Counter[str] = Counter()
        shards = self._shards(skipped)
        progress = Progress("shards", len(shards))
        tables = [FOUND.empty_table()]
        labels: dict[str, int] = {}
        for shard in shards:
            tables.append(self._shard(shard, labels, skipped, progress))
            progress.part()
        found = pa.concat_tables(tables)
        ids = class_ids(list(labels), self.labels)
        label_ids = [ids[label] for label in labels]
        repeated = repeats(found, label_ids)
        if repeated:
            found = found.set_column(0, FOUND.field("name"), joined(found["path"], "/", found["name"]))
        classes = list(dict.fromkeys(ids.values()))
        samples = sample_table(found, label_ids, classes)
        return Listing.of(classes, samples, skipped, {REPEATED: repeated})

    def read(self, row: Mapping[str, Any]) -> bytes:
        """Read one sample."""
        return read_member(self._root / row["path"], row["offset"], row["bytes"])

    def _files(self) -> Iterable[tuple[Path, Path]]:
        return ((shard.relative_to(self._root), shard) for shard in self._shards(Counter()))

    @cached_property
    def _root(self) -> Path:
        return root(self.path)

    def _shards(self, skipped: Counter[str]) -> Sequence[Path]:
        shards: set[Path] = set()
        for part, paths in parts(self.path).items():
            files = [file for path in paths for file in _inside(path)]
            tars = [file for file in files if file.suffix == ".tar" and not file.name.startswith(".")]
            packed = [file for file in files if file.name.lower().endswith(_COMPRESSED)]
            if not tars and packed:
                raise LabelsimError(
                    f"dataset.source: {packed[0]} is compressed. Images are read in place: uncompress it first."
                )
            if not tars:
                raise LabelsimError(f"dataset.source: there are no shards (.tar files) in {part}")
            if missing := [shard for shard in tars if not shard.is_file()]:
                raise LabelsimError(f"dataset.source: there is no shard {missing[0]}")
            check_split(part, tars)
            skipped[PACKED] += len(packed)
            skipped[OTHER] += len(files) - len(tars) - len(packed)
            shards.update(tars)
        return sorted(shards)

    def _shard(self, shard: Path, labels: dict[str, int], skipped: Counter[str], progress: Progress) -> pa.Table:
        """List the samples of a shard, with the columns of `FOUND`; new labels are added to `labels`."""
        names, numbers, images = [], [], []
        with opened(shard) as file:
            for key, group in groupby(_parts(tar_members(file, shard, skipped), skipped), key=attrgetter("key")):
                parts = list(group)
                image = _image(parts, shard)
                if image is None:
                    skipped[NO_IMAGE] += 1
                    continue
                numbers.append(labels.setdefault(_label(parts, file, shard), len(labels)))
                names.append(f"{key}.{image.extension}")
                images.append(image.member)
                progress.image()
        return found_members(shard.relative_to(self._root).as_posix(), names, numbers, images)


def holds_samples(members: Iterable[Member]) -> bool:
    """Whether an image in an archive has a file of another kind next to it with the same key."""
    groups = (list(group) for _, group in groupby(_parts(members, Counter()), key=attrgetter("key")))
    return any(
        any(part.kind in IMAGES for part in group) and not all(is_image(part.member.name) for part in group)
        for group in groups
    )


def _inside(path: Path) -> list[Path]:
    return sorted(Path(entry.path) for entry in entries(path)) if path.is_dir() else [path]


class _Part(NamedTuple):
    """A member of a shard; `extension` is what follows the first dot of the file name, `key` what comes before."""

    key: str
    extension: str
    member: Member

    @property
    def kind(self) -> str:
        return self.extension.lower()


def _parts(members: Iterable[Member], skipped: Counter[str]) -> Iterator[_Part]:
    for member in members:
        folder, slash, file = member.name.rpartition("/")
        stem, dot, extension = file.partition(".")
        if dot:
            yield _Part(folder + slash + stem, extension, member)
        else:
            skipped[NO_EXTENSION] += 1


def _image(parts: Sequence[_Part], shard: Path) -> _Part | None:
    """Return the part of a sample that is its image."""
    images = [part for part in parts if part.kind in IMAGES]
    if len(images) > 1:
        places = ", ".join(f"{part.member.name} at byte {part.member.offset:,}" for part in images)
        raise LabelsimError(
            f"dataset.source: {shard} has {len(images)} images in the sample {parts[0].key!r}: {places}. A sample has "
            "one image: rename or remove the others."
        )
    return images[0] if images else None


def _label(parts: Sequence[_Part], file: BinaryIO, shard: Path) -> str:
    """Return a sample's label as it is written."""
    for kind, parse in (("cls", _of_text), ("json", _of_json)):
        for part in parts:
            if part.kind == kind:
                data = os.pread(file.fileno(), part.member.size, part.member.offset)
                try:
                    return parse(data)
                except ValueError as error:
                    raise LabelsimError(f"dataset.source: {shard}: {part.member.name} has no label: {error}") from None
    key = parts[0].key
    raise LabelsimError(
        f"dataset.source: {shard}: the image {key!r} has no label. Expected {key}.cls, or {key}.json with `label`, "
        f"next to the image; found: {', '.join(part.member.name for part in parts)}"
    )


def _of_text(data: bytes) -> str:
    text = data.decode().strip()
    if not text or "\n" in text:
        raise ValueError("expected a number, or a text of one line")
    return text


def _of_json(data: bytes) -> str:
    document = json.loads(data)
    label = document.get("label") if isinstance(document, dict) else None
    if isinstance(label, bool) or not isinstance(label, int | str) or label == "":
        raise ValueError("expected `label`, a whole number or a text")
    return str(label)

"""WebDataset: tar archives in which the files of a sample lie next to one another, its label among them."""

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

from labelsim.dataset.formats.base import Listing, Source
from labelsim.dataset.formats.entries import entries, is_image, states
from labelsim.dataset.formats.progress import Progress
from labelsim.dataset.formats.split_files import check_split
from labelsim.dataset.formats.tar import Member, opened, read_member, tar_members
from labelsim.dataset.label_ids import class_ids
from labelsim.dataset.paths import parts, root
from labelsim.dataset.samples import FOUND, joined, repeats, sample_table
from labelsim.errors import LabelsimError

__all__ = ["WebDatasetSource", "holds_samples"]

IMAGES = ("jpg", "jpeg", "png", "webp")
BESIDE = "beside the shards"
PACKED = "compressed archives beside the shards"
NO_EXTENSION = "files without an extension in shards"
NO_IMAGE = f"samples without an image ({', '.join(IMAGES)})"
REPEATED = "images whose key another shard has too (their sample ids name the shard)"

_COMPRESSED = (".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tgz")
# `label` is a number, in the order in which the labels were met
_LABELLED = pa.schema([("label", pa.int32()), *(field for field in FOUND if field.name != "class_id")])


class WebDatasetSource(Source):
    """Shards in WebDataset's format, read in place.

    The members of a shard that follow one another and have the same path up to the first dot of the file name, their
    key, are a sample. It has one image, and its label in a member `.cls`, as a number or a text, or else in a member
    `.json` under `label`. `dataset.labels` says which class a label means: see
    `labelsim.dataset.label_ids.class_ids`.

    A sample's id is `<class_id>/<key>.<extension>`. The format promises that a key is unique in its shard, not that
    it is in the dataset: many writers begin each shard at 0. So if images of a class in several shards have the
    same key, all of the dataset's ids are `<class_id>/<shard>/<key>.<extension>`: which of the two forms it is
    depends neither on the order of the shards nor on the image.

    Parameters
    ----------
    path : path
        A shard, a folder of shards, or a pattern of either (see `labelsim.dataset.paths.expand`).
    labels : str
        The configuration's `dataset.labels`.
    """

    def __init__(self, path: str | Path, labels: str = "auto") -> None:
        self.path = Path(path)
        self.labels = labels

    def list(self) -> Listing:
        """List the classes and the samples.

        Returns
        -------
        Listing
            The classes are those that occur.

        Raises
        ------
        LabelsimError
            If there are no shards, or of several splits (see `labelsim.dataset.formats.split_files.check_split`), if
            one of them is damaged, if an image has no label or a sample several images, or if a label means no class.
        """
        skipped: Counter[str] = Counter()
        shards = self._shards(skipped)
        progress = Progress("shards", len(shards))
        tables = [_LABELLED.empty_table()]
        labels: dict[str, int] = {}
        for shard in shards:
            tables.append(self._shard(shard, labels, skipped, progress))
            progress.part()
        ids = class_ids(list(labels), self.labels)
        found = _with_class_ids(pa.concat_tables(tables), [ids[label] for label in labels])
        if repeated := repeats(found):
            skipped[REPEATED] = repeated
            names = joined(found["path"], "/", found["name"])
            found = found.set_column(0, FOUND.field("name"), names)
        classes = list(dict.fromkeys(ids.values()))
        return Listing(classes, sample_table(found, classes), {kind: n for kind, n in sorted(skipped.items()) if n})

    def read(self, row: Mapping[str, Any]) -> bytes:
        """Read one sample's bytes.

        Parameters
        ----------
        row : mapping
            Its row; `path`, `offset` and `bytes` are used.

        Raises
        ------
        OSError
            If the shard cannot be read, or is another one than was listed.
        """
        return read_member(self._root / row["path"], row["offset"], row["bytes"])

    def state(self) -> str:
        """Return a digest of the shards' names, sizes and modification times; "missing" if there are none."""
        try:
            return states((shard.relative_to(self._root), shard) for shard in self._shards(Counter()))
        except (OSError, LabelsimError):
            return "missing"

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
                    f"dataset.source: {packed[0]} is compressed. Images are read in place, which needs uncompressed "
                    "shards: uncompress it."
                )
            if not tars:
                raise LabelsimError(f"dataset.source: there are no shards, files called .tar, in {part}")
            if missing := [shard for shard in tars if not shard.is_file()]:
                raise LabelsimError(f"dataset.source: there is no shard {missing[0]}")
            check_split(part, tars)
            skipped[PACKED] += len(packed)
            skipped[BESIDE] += len(files) - len(tars) - len(packed)
            shards.update(tars)
        return sorted(shards)

    def _shard(self, shard: Path, labels: dict[str, int], skipped: Counter[str], progress: Progress) -> pa.Table:
        """List the samples of a shard, with the columns of `_LABELLED`; labels not met before are added to `labels`."""
        names, numbers, offsets, sizes = [], [], [], []
        with opened(shard) as file:
            for key, group in groupby(_parts(tar_members(file, shard, skipped), skipped), key=attrgetter("key")):
                parts = list(group)
                image = _image(parts, shard)
                if image is None:
                    skipped[NO_IMAGE] += 1
                    continue
                numbers.append(labels.setdefault(_label(parts, file, shard), len(labels)))
                names.append(f"{key}.{image.extension}")
                offsets.append(image.member.offset)
                sizes.append(image.member.size)
                progress.image()
        path = shard.relative_to(self._root).as_posix()
        return pa.table([numbers, names, [path] * len(names), offsets, sizes], schema=_LABELLED)


def holds_samples(members: Iterable[Member]) -> bool:
    """Whether an image in an archive has a file that is none beside it, under its own key."""
    groups = (list(group) for _, group in groupby(_parts(members, Counter()), key=attrgetter("key")))
    return any(
        any(part.kind in IMAGES for part in group) and not all(is_image(part.member.name) for part in group)
        for group in groups
    )


def _inside(path: Path) -> list[Path]:
    return sorted(Path(entry.path) for entry in entries(path)) if path.is_dir() else [path]


class _Part(NamedTuple):
    """A member of a shard, its name taken apart: `extension` is what follows the first dot of the file name."""

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
    """The part of a sample that is its image."""
    images = [part for part in parts if part.kind in IMAGES]
    if len(images) > 1:
        places = ", ".join(f"{part.member.name} at byte {part.member.offset:,}" for part in images)
        raise LabelsimError(
            f"dataset.source: {shard} has {len(images)} images in the sample {parts[0].key!r}: {places}. "
            "A sample has one: take the others away, or give them another name."
        )
    return images[0] if images else None


def _label(parts: Sequence[_Part], file: BinaryIO, shard: Path) -> str:
    """A sample's label, as it is written."""
    for kind, parse in (("cls", _of_text), ("json", _of_json)):
        for part in (part for part in parts if part.kind == kind):
            data = os.pread(file.fileno(), part.member.size, part.member.offset)
            try:
                label = parse(data)
            except ValueError as error:
                raise LabelsimError(f"dataset.source: {shard}: {part.member.name} has no label: {error}") from None
            return label
    key = parts[0].key
    raise LabelsimError(
        f"dataset.source: {shard}: the image {key!r} has no label. Expected is a member {key}.cls, or {key}.json with "
        f"`label` in it, next to the image; next to it are: {', '.join(part.member.name for part in parts)}"
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


def _with_class_ids(labelled: pa.Table, ids: Sequence[str]) -> pa.Table:
    """Replace the labels by the class ids that they mean."""
    dictionary = pa.array(ids, pa.large_string())
    numbers = labelled["label"].chunks
    class_id = pa.chunked_array([pa.DictionaryArray.from_arrays(part, dictionary) for part in numbers])
    return labelled.append_column("class_id", class_id).select(FOUND.names)

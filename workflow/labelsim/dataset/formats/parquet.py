"""Parquet tables as the Hugging Face hub has them: a row is an image, with its bytes in the table."""

from __future__ import annotations

import json
import logging
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute, parquet, types

from labelsim.dataset.formats.base import Listing, Source
from labelsim.dataset.formats.entries import states
from labelsim.dataset.formats.progress import Progress
from labelsim.dataset.formats.split_files import find, split_files
from labelsim.dataset.label_ids import class_ids, ids_of_names
from labelsim.dataset.samples import FOUND, joined, repeats, sample_table
from labelsim.errors import LabelsimError
from labelsim.images.decode import first_line

__all__ = ["ParquetSource", "holds_images"]

logger = logging.getLogger(__name__)

NO_IMAGES = "classes without images"
NULL = "rows without an image"
DAMAGED = "rows whose image cannot be read"

_KEPT_BYTES = 64 << 20  # of decoded row groups, by each process
_LARGE_GROUP = 1 << 30
_OVERHEAD = 1.05  # of decoding row groups again, if the rows are in the order of the sample ids
_BATCH = 64  # rows decoded at a time; a struct of more than 2 GB cannot be


class ParquetSource(Source):
    """Tables with a column of images and a column of labels.

    An image is a struct of `bytes` and, optionally, `path`, or the bytes alone; a label is a number, which the tables'
    metadata may give a name (`ClassLabel` of the library `datasets`), or a text.

    A sample's id is `<class_id>/<file name of its path>` if every image of the dataset has such a path and no two
    of a class have the same; else it is `<class_id>/<table>-<row>` for all. So it does not change with the order
    in which the tables are read, but does if only a part of them is.

    Parameters
    ----------
    path : path
        A table; a folder with tables in it, or in its folder `data`; or a pattern of tables.
    labels : str
        The configuration's `dataset.labels`. A label is its name where the tables name it, else what is in the
        column: see `labelsim.dataset.label_ids`.
    columns : mapping of str to str, optional
        The configuration's `dataset.columns`: names of the columns `image` and `label`, if these are others.
    """

    reads_in_groups = True

    def __init__(self, path: str | Path, labels: str = "auto", columns: Mapping[str, str] | None = None) -> None:
        self.path = path
        self.labels = labels
        self.columns = _Columns(**columns or {})
        # No file is kept open, so that a forked worker shares none. The group that was used last comes last.
        self._tables: dict[str, _Table] = {}
        self._groups: dict[tuple[str, int], pa.ChunkedArray] = {}

    def list(self) -> Listing:
        """List the classes and the samples.

        All tables are read once from beginning to end, as nothing else in them says how large an image is.

        Returns
        -------
        Listing
            Classes are in the order of their labels. An image that is null, and all images of a row group that
            is damaged, are listed with 0 bytes, so that they are rejected by name when they are decoded. The rows
            are in the order of the tables, not of the sample ids, where that order would read the tables over and
            over: more than 1.05 times their images.

        Raises
        ------
        LabelsimError
            If there are no tables or not all of one split, if they cannot be read, are not of this layout or do not
            agree, or if images have no label.
        """
        files = split_files(self.path)
        first, *_ = layouts = [_layout(file, self.columns) for file in files]
        for file, layout in zip(files, layouts, strict=True):
            if layout.names != first.names or layout.label != first.label:
                raise LabelsimError(
                    f"dataset.source: {file} and {files[0]} differ in the type of their labels, or in the names of "
                    "these: they are not of one dataset. Name the tables of one."
                )
        largest = max(layout.largest_group for layout in layouts)
        if largest > _LARGE_GROUP:
            logger.warning(
                "The tables have row groups of up to %.1f GB. An extraction holds one, decoded, at any time; tables "
                "written with some 100 rows a group need far less memory.",
                largest / 1e9,
            )
        paths = [str(file.relative_to(_folder(files))) for file in files]
        rows = pa.concat_tables(map(_labels, files, paths, layouts))
        _check_labels(rows, first.names)
        classes, class_index = self._classes(rows["label"], first.names)
        skipped: Counter[str] = Counter()
        found = pa.table(
            {
                "name": rows["name"],
                "class_id": pa.chunked_array([pa.array(classes, pa.large_string())]).take(class_index),
                "path": rows["path"],
                "offset": rows["offset"],
                "bytes": _sizes(files, skipped, self.columns.image),
            },
            schema=FOUND,
        )
        if found["name"].null_count or compute.any(compute.equal(found["name"], "")).as_py() or repeats(found):
            found = found.set_column(0, FOUND.field("name"), _names_by_row(found))
        skipped[NO_IMAGES] = len(classes) - len(class_index.unique())
        samples = _readable(sample_table(found, classes), paths, [layout.groups for layout in layouts])
        return Listing([*classes], samples, {kind: n for kind, n in sorted(skipped.items()) if n})

    def read(self, row: Mapping[str, Any]) -> bytes:
        """Read one sample's bytes.

        Its row group is decoded, and kept for the rows that follow.

        Parameters
        ----------
        row : mapping
            Its row; only `path` and `offset` are used.

        Returns
        -------
        bytes
            Empty for an image that is null.

        Raises
        ------
        OSError
            If the table or the row group cannot be read, or the row is not there.
        """
        with _arrow_errors_as_os_errors():
            starts = self._table(row["path"]).starts
            if row["offset"] >= starts[-1]:
                raise OSError(f"there is no row {row['offset']} in {row['path']}")
            group = bisect_right(starts, row["offset"]) - 1
            image = self._group(row["path"], group)[row["offset"] - starts[group]]
        return image.as_py() or b""

    def state(self) -> str:
        """Return a digest of the names, sizes and modification times of the tables; "missing" if they are not there."""
        try:
            files = find(self.path)
            return states((file.relative_to(_folder(files)), file) for file in files)
        except (OSError, LabelsimError):
            return "missing"

    @cached_property
    def _root(self) -> Path:
        return _folder(find(self.path))

    def _classes(self, labels: pa.ChunkedArray, names: Sequence[str] | None) -> tuple[Sequence[str], pa.ChunkedArray]:
        """Return the classes, and the class index of each label."""
        if names is None:
            logger.info("Class ids are from the column %s (dataset.labels: %s)", self.columns.label, self.labels)
            distinct = labels.unique()
            ids = class_ids(distinct.to_pylist(), self.labels)
        else:
            distinct = pa.array(range(len(names)), pa.int64())
            ids = dict(enumerate(ids_of_names(names, self.labels)))
        index = {class_id: index for index, class_id in enumerate(dict.fromkeys(ids.values()))}
        indices = pa.array([index[ids[label]] for label in distinct.to_pylist()], pa.int32())
        return tuple(index), indices.take(compute.index_in(labels, value_set=distinct))

    def _table(self, path: str) -> _Table:
        if path not in self._tables:
            metadata = parquet.read_metadata(self._root / path)
            self._tables[path] = _Table(metadata, tuple(accumulate(_rows_by_group(metadata), initial=0)))
        return self._tables[path]

    def _group(self, path: str, group: int) -> pa.ChunkedArray:
        # Threads may come at the same time: the worst is that both decode it.
        images = self._groups.pop((path, group), None)
        if images is None:
            with _opened(self._root / path, self._table(path).metadata) as file:
                images = pa.chunked_array(_images(file, group, self.columns.image), pa.large_binary())
            kept = images.nbytes + sum(other.nbytes for other in list(self._groups.values()))
            for oldest in list(self._groups):
                if kept <= _KEPT_BYTES:
                    break
                if (gone := self._groups.pop(oldest, None)) is not None:
                    kept -= gone.nbytes
        self._groups[path, group] = images
        return images


class _Table(NamedTuple):
    """Where the rows of a table lie.

    Attributes
    ----------
    metadata : pyarrow.parquet.FileMetaData
        What the table says of itself.
    starts : tuple of int
        First row of each row group, and the number of rows.
    """

    metadata: parquet.FileMetaData
    starts: tuple[int, ...]


class _Columns(NamedTuple):
    """Names of the columns."""

    image: str = "image"
    label: str = "label"


class _Layout(NamedTuple):
    """What a table's schema says.

    Attributes
    ----------
    columns : _Columns
        As given.
    label : pyarrow.DataType
        Type of the labels.
    names : list of str or None
        Names of the labels.
    largest_group : int
        Bytes of the largest row group, decoded.
    groups : list of int
        Rows of each row group.
    """

    columns: _Columns
    label: pa.DataType
    names: list[str] | None
    largest_group: int
    groups: list[int]


def _folder(files: list[Path]) -> Path:
    """Return the folder below which all tables lie."""
    return Path(os.path.commonpath([file.parent for file in files]))


def _rows_by_group(metadata: parquet.FileMetaData) -> list[int]:
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def _layout(path: Path, columns: _Columns) -> _Layout:
    with _errors_for_people(path), _opened(path) as file:
        schema, metadata = file.schema_arrow, file.metadata
    largest = max((metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)), default=0)
    groups = _rows_by_group(metadata)
    if any(schema.names.count(name) != 1 for name in columns):
        raise LabelsimError(
            f"dataset.columns: {path} must have the columns {columns.image} and {columns.label}, once each; its "
            f"columns are: {', '.join(schema.names) or 'none'}. Name two of them, as in "
            "columns: {image: img, label: fine_label}"
        )
    _check_image_type(path, columns.image, schema.field(columns.image).type)
    label = schema.field(columns.label).type
    label = label.value_type if types.is_dictionary(label) else label
    if types.is_integer(label):
        return _Layout(columns, pa.int64(), _names(path, columns.label, schema.metadata or {}), largest, groups)
    if types.is_string(label) or types.is_large_string(label) or types.is_string_view(label):
        return _Layout(columns, pa.string(), None, largest, groups)
    raise LabelsimError(
        f"dataset.source: the column {columns.label} of {path} is of type {label}; expected is a number or a text, one "
        "an image. dataset.columns may name another column."
    )


def holds_images(path: Path) -> bool:
    """Whether a file is a table with a column of images."""
    try:
        schema = parquet.read_schema(path)
    except (OSError, pa.ArrowException):
        return False
    return any(_is_binary(_data(field.type)) for field in schema)


def _data(image: pa.DataType) -> pa.DataType | None:
    """The type of the bytes in a column of images, if there are any."""
    if not types.is_struct(image):
        return image
    return {field.name: field.type for field in image}.get("bytes")


def _is_binary(data: pa.DataType | None) -> bool:
    return data is not None and (types.is_binary(data) or types.is_large_binary(data) or types.is_binary_view(data))


def _check_image_type(path: Path, column: str, image: pa.DataType) -> None:
    data = _data(image)
    if _is_binary(data):
        return
    if data is None or types.is_null(data) or types.is_string(data) or types.is_large_string(data):
        raise LabelsimError(_only_paths(path))
    raise LabelsimError(
        f"dataset.source: the column {column} of {path} is of type {image}; expected is a struct of bytes "
        "and path, or bytes. dataset.columns may name another column."
    )


def _only_paths(path: Path) -> str:
    return (
        f"dataset.source: {path} holds paths of images at best, not the images' bytes. Name the folder where the "
        "images lie, or write the table with the bytes in it, as `push_to_hub` of the library `datasets` does."
    )


def _names(path: Path, column: str, metadata: Mapping[bytes, bytes]) -> list[str] | None:
    """Return the labels' names, which `datasets` writes into the schema's metadata."""
    if b"huggingface" not in metadata:
        return None
    try:
        label = json.loads(metadata[b"huggingface"])["info"]["features"][column]
        names = label["names"] if label["_type"] == "ClassLabel" else None
    except (ValueError, KeyError, TypeError):
        return None
    if names is not None and len(set(names)) < len(names):
        twice = next(name for name, times in Counter(names).items() if times > 1)
        raise LabelsimError(f"dataset.source: {path} gives two labels the name {twice!r}")
    return names


def _labels(path: Path, name: str, layout: _Layout) -> pa.Table:
    """Read all but the images' bytes: label, name of the image's file, path and offset."""
    columns = layout.columns
    with _errors_for_people(path), _opened(path) as file:
        table = file.read([columns.label, f"{columns.image}.path"], use_threads=False)
        if len(table) != sum(_rows_by_group(file.metadata)):
            raise OSError("its row groups have other numbers of rows than it says")
        label = table[columns.label]
        if types.is_dictionary(label.type):
            label = label.cast(label.type.value_type)
        label = label.cast(layout.label)
        image_path = pa.nulls(len(table), pa.large_string())
        if columns.image in table.column_names and types.is_struct(table[columns.image].type):
            image_path = compute.struct_field(table[columns.image], "path").cast(pa.large_string())
        found = {
            "label": label,
            "name": compute.replace_substring_regex(image_path, "(?s).*/", ""),
            "path": pa.repeat(pa.scalar(name), len(table)).cast(FOUND.field("path").type),
            "offset": pa.array(range(len(table)), pa.int64()),
        }
        rows = pa.table(found)
        rows.validate(full=True)  # texts may be no UTF-8
    return rows


def _check_labels(rows: pa.Table, names: list[str] | None) -> None:
    labels = rows["label"]
    if types.is_string(labels.type):
        unlabelled = compute.equal(labels, "")
    else:
        unlabelled = compute.less(labels, 0)
        if names is not None:
            _refuse(rows, compute.greater_equal(labels, len(names)), f"have a label that is none of the {len(names):,}")
    unlabelled = compute.fill_null(unlabelled, fill_value=True)
    _refuse(rows, unlabelled, "have no label", " Name the files of a split that has, such as train or validation.")


def _refuse(rows: pa.Table, which: pa.ChunkedArray, fault: str, advice: str = "") -> None:
    bad = rows.filter(which)
    if len(bad):
        label, _, path, row = (column[0].as_py() for column in bad.columns)
        raise LabelsimError(
            f"dataset.source: {len(bad):,} of {len(rows):,} images {fault}, the first in row {row} of {path} "
            f"(label {label!r}).{advice}"
        )


def _names_by_row(found: pa.Table) -> pa.ChunkedArray:
    table = compute.replace_substring_regex(found["path"].cast(pa.large_string()), r"\.parquet$", "")
    return joined(table, "-", found["offset"])


def _sizes(files: Sequence[Path], skipped: Counter[str], column: str) -> pa.ChunkedArray:
    """Measure the images of all tables, one after the other; 0 bytes where there is none, or none that can be read."""
    sizes: list[pa.Array] = []
    progress = Progress("tables", len(files))
    for path in files:
        with _errors_for_people(path), _opened(path) as file:
            nulls = 0
            for group, rows in enumerate(_rows_by_group(file.metadata)):
                found = _lengths(file, group, column)
                if found is None:
                    logger.warning("%s: row group %d is damaged; its %s images will be rejected", path, group, rows)
                    skipped[DAMAGED] += rows
                    found = [pa.repeat(pa.scalar(0, pa.int64()), rows)]
                nulls += sum(part.null_count for part in found)
                sizes += [compute.fill_null(part, 0) for part in found]
                progress.image(rows)
            if nulls and nulls == file.metadata.num_rows:
                raise LabelsimError(_only_paths(path))
            skipped[NULL] += nulls
        progress.part()
    return pa.chunked_array(sizes, pa.int64())


def _readable(samples: pa.Table, tables: Sequence[str], rows_by_group: Sequence[Sequence[int]]) -> pa.Table:
    """Put samples in the order of the tables, if their own would make a reader decode row groups over and over."""
    # rows and row groups are numbered through all tables
    firsts = np.cumsum([0, *map(sum, rows_by_group)])
    table = compute.index_in(samples["path"], value_set=pa.array(tables, pa.large_string()))
    rows = firsts[table.to_numpy()] + samples["offset"].to_numpy()
    ends = np.cumsum(list(chain.from_iterable(rows_by_group)))
    groups = np.searchsorted(ends, rows, "right")
    sizes = np.bincount(groups, samples["bytes"])
    if _affordable(groups, sizes, _OVERHEAD * sizes.sum()):
        return samples
    logger.info(
        "The tables' rows are shuffled: images are used in the order in which they lie there, so that the tables are "
        "read once. In another form the same images would be other shards."
    )
    return samples.take(np.argsort(rows))


def _affordable(groups: NDArray[np.integer], sizes: NDArray[Any], limit: float) -> bool:
    """Whether a reader decodes at most so many bytes for rows of these row groups; it keeps what `_group` keeps."""
    kept: dict[int, None] = {}  # used last, last
    held = decoded = 0.0
    for group in map(int, groups[np.flatnonzero(np.diff(groups, prepend=-1))]):
        if group in kept:
            kept[group] = kept.pop(group)
            continue
        kept[group] = None
        held += sizes[group]
        decoded += sizes[group]
        if decoded > limit:
            return False
        while held > _KEPT_BYTES and len(kept) > 1:
            oldest = next(iter(kept))
            del kept[oldest]
            held -= sizes[oldest]
    return True


def _lengths(file: parquet.ParquetFile, group: int, column: str) -> list[pa.Array] | None:
    """Return the sizes of a row group's images, null for an image that is; None if the row group is damaged."""
    try:
        with _arrow_errors_as_os_errors():
            return [compute.binary_length(images) for images in _images(file, group, column)]
    except OSError as error:
        if error.errno is not None:  # the disk's fault, not the table's
            raise
        return None


def _images(file: parquet.ParquetFile, group: int, column: str) -> Iterator[pa.Array]:
    """Yield the images of a row group, some at a time: a struct of more than 2 GB could not be had at once."""
    is_struct = types.is_struct(file.schema_arrow.field(column).type)
    column = f"{column}.bytes" if is_struct else column
    missing = file.metadata.row_group(group).num_rows
    # A forked process lacks the threads of Arrow's pools, and would wait for them forever.
    for batch in file.iter_batches(_BATCH, row_groups=[group], columns=[column], use_threads=False):
        images = compute.struct_field(batch.column(0), "bytes") if is_struct else batch.column(0)
        missing -= len(images)
        yield images.cast(pa.large_binary())
    if missing:
        raise OSError(f"row group {group} lacks {missing} of its rows")


def _opened(path: Path, metadata: parquet.FileMetaData | None = None) -> parquet.ParquetFile:
    return parquet.ParquetFile(path, metadata=metadata, pre_buffer=False, page_checksum_verification=True)


@contextmanager
def _arrow_errors_as_os_errors() -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise OSError(str(error)) from error


@contextmanager
def _errors_for_people(path: Path) -> Iterator[None]:
    try:
        with _arrow_errors_as_os_errors():
            yield
    except OSError as error:
        raise LabelsimError(
            f"dataset.source: {path} cannot be read: {error.strerror or first_line(error)}. "
            "It must be a whole Parquet file; fetch it again if it is not."
        ) from error

"""Parquet tables as on the Hugging Face hub: a row is an image, whose bytes are in the table."""

from __future__ import annotations

import json
import logging
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute, parquet, types

from labelsim.dataset.formats.base import Listing, Progress, Source
from labelsim.dataset.formats.splits import find, split_files
from labelsim.dataset.labels import class_ids, ids_of_names
from labelsim.dataset.manifest import FOUND, joined, repeats, sample_table
from labelsim.errors import LabelsimError
from labelsim.images.decode import first_line

__all__ = ["ParquetSource", "holds_images"]

logger = logging.getLogger(__name__)

NO_IMAGES = "classes have no images"
NULL = "rows have no image"
DAMAGED = "images cannot be read"

_KEPT_BYTES = 64 << 20  # of decoded row groups, in each process
_LARGE_GROUP = 1 << 30
_OVERHEAD = 1.05  # decoded bytes, by the bytes of all images, up to which the order is that of the sample ids
_BATCH = 64  # rows decoded at a time; a struct of more than 2 GB is impossible


class ParquetSource(Source):
    """Tables with a column of images and a column of labels.

    An image is a struct of `bytes` and, optionally, `path`, or the bytes alone. A label is a number, whose name may be
    in the tables' metadata (`ClassLabel` of the library `datasets`), or a text.

    A sample's id is `<class_id>/<file name of its path>` if every image has such a path and no two of a class have the
    same; otherwise it is `<class_id>/<table>-<row>` for all images. So ids do not depend on the order of the tables,
    but may change if only some tables are read.

    Parameters
    ----------
    path : path
        A table; a folder with tables in it, or in its folder `data`; or a pattern of tables.
    labels : str
        The configuration's `dataset.labels`. A label is its name if the tables give one: see `labelsim.dataset.labels`.
    columns : mapping of str to str, optional
        The configuration's `dataset.columns`: names of the columns `image` and `label` if they are others.
    """

    reads_in_groups = True

    def __init__(self, path: str | Path, labels: str = "auto", columns: Mapping[str, str] | None = None) -> None:
        super().__init__(path, labels)
        self.image, self.label = ((columns or {}).get(name, name) for name in ("image", "label"))
        # no file stays open, as forked workers would share it
        self._metadata: dict[str, tuple[parquet.FileMetaData, list[int]]] = {}
        self._groups = _Recent()

    def list(self) -> Listing:
        """List the classes, in the order of their labels, and the samples.

        Every table is read once from beginning to end, as only that tells the sizes of the images. An image that is
        null or lies in a damaged row group is listed with 0 bytes. The rows are in the order of the tables instead of
        the sample ids if the latter would decode row groups again and again: more than 1.05 times all images.
        """
        files = split_files(self.path)
        paths = [str(file.relative_to(_folder(files))) for file in files]
        first, *_ = tables = [_table(*names, self.image, self.label) for names in zip(files, paths, strict=True)]
        for file, table in zip(files, tables, strict=True):
            if table.names != first.names or table.rows.schema != first.rows.schema:
                raise LabelsimError(
                    f"dataset.source: {file} and {files[0]} have labels of different types or names, so they are not "
                    "of one dataset. Name the tables of one."
                )
        largest = max(table.largest_group for table in tables)
        if largest > _LARGE_GROUP:
            logger.warning(
                "The tables have row groups of up to %.1f GB, and extraction keeps one in memory. Tables with about "
                "100 rows per group need much less memory.",
                largest / 1e9,
            )
        rows = pa.concat_tables(table.rows for table in tables)
        _check_labels(rows, first.names)
        classes, numbers = self._classes(rows["label"], first.names)
        notes: Counter[str] = Counter()
        sizes = _sizes(files, notes, self.image)
        found = pa.table([rows["name"], numbers, rows["path"], rows["offset"], sizes], schema=FOUND)
        names = found["name"]
        if names.null_count or compute.any(compute.equal(names, "")).as_py() or repeats(found, classes):
            table_names = compute.replace_substring_regex(found["path"].cast(pa.large_string()), r"\.parquet$", "")
            found = found.set_column(0, FOUND.field("name"), joined(table_names, "-", found["offset"]))
        notes[NO_IMAGES] = len(classes) - len(numbers.unique())
        samples = _in_order(sample_table(found, classes, classes), paths, [table.groups for table in tables])
        return Listing.of(classes, samples, {}, notes)

    def read(self, row: Mapping[str, Any]) -> bytes:
        """Read one sample, empty for an image that is null; its row group is kept for the next rows."""
        with _arrow_errors_as_os_errors():
            path, number = row["path"], row["offset"]
            if path not in self._metadata:
                metadata = parquet.read_metadata(self._root / path)
                self._metadata[path] = metadata, [*accumulate(_rows_by_group(metadata), initial=0)]
            metadata, starts = self._metadata[path]
            if number >= starts[-1]:
                raise OSError(f"there is no row {number} in {path}")
            group = bisect_right(starts, number) - 1
            # threads may come at the same time: at worst each decodes the group
            if (images := self._groups.get((path, group))) is None:
                with _opened(self._root / path, metadata) as file:
                    images = pa.chunked_array(_images(file, group, self.image), pa.large_binary())
                self._groups.add((path, group), images, images.nbytes)
            return images[number - starts[group]].as_py() or b""

    def _files(self) -> Iterable[tuple[Path, Path]]:
        files = find(self.path)
        return ((file.relative_to(_folder(files)), file) for file in files)

    @cached_property
    def _root(self) -> Path:
        return _folder(find(self.path))

    def _classes(self, labels: pa.ChunkedArray, names: Sequence[str] | None) -> tuple[Sequence[str], pa.ChunkedArray]:
        """Return the classes, and the class index of each label."""
        if names is None:
            logger.info("Class ids are from the column %s (dataset.labels: %s)", self.label, self.labels)
            distinct = labels.unique()
            ids = class_ids(distinct.to_pylist(), self.labels)
        else:
            distinct = pa.array(range(len(names)), pa.int64())
            ids = dict(enumerate(ids_of_names(names, self.labels)))
        index = {class_id: index for index, class_id in enumerate(dict.fromkeys(ids.values()))}
        indices = pa.array([index[ids[label]] for label in distinct.to_pylist()], pa.int32())
        return tuple(index), indices.take(compute.index_in(labels, value_set=distinct))


class _Recent:
    """What was used last, up to `_KEPT_BYTES` (but the last one always)."""

    def __init__(self) -> None:
        self._items: dict[Hashable, tuple[Any, float]] = {}  # used last, last

    def get(self, key: Hashable) -> Any:
        if (item := self._items.pop(key, None)) is None:
            return None
        self._items[key] = item
        return item[0]

    def add(self, key: Hashable, value: Any, size: float) -> None:
        held = size + sum(size for _, size in list(self._items.values()))
        for oldest in list(self._items):
            if held <= _KEPT_BYTES:
                break
            held -= self._items.pop(oldest, (None, 0))[1]
        self._items[key] = value, size


class _Table(NamedTuple):
    """What a table holds besides its images."""

    rows: pa.Table  # label, name of the image's file (null if unknown), path and offset
    names: list[str] | None  # of the labels
    groups: list[int]  # rows of each row group
    largest_group: int  # its bytes, decoded


def _table(file: Path, path: str, image: str, label: str) -> _Table:
    with _errors_for_people(file), _opened(file) as opened:
        schema, metadata = opened.schema_arrow, opened.metadata
        if any(schema.names.count(name) != 1 for name in (image, label)):
            raise LabelsimError(
                f"dataset.columns: {file} must have the columns {image} and {label}, once each; its columns are: "
                f"{', '.join(schema.names) or 'none'}. Name two of them, such as {{image: img, label: fine_label}}"
            )
        if not _is_binary(_data(schema.field(image).type)):
            raise _no_bytes(file, image, f"is of type {schema.field(image).type}")
        label_type = _label_type(file, label, schema.field(label).type)
        groups = _rows_by_group(metadata)
        table = opened.read([label, f"{image}.path"], use_threads=False)
        if len(table) != sum(groups):
            raise OSError("its row groups have other numbers of rows than it says")
        labels = table[label]
        if types.is_dictionary(labels.type):
            labels = labels.cast(labels.type.value_type)
        image_path = pa.nulls(len(table), pa.large_string())
        if image in table.column_names and types.is_struct(table[image].type):
            image_path = compute.struct_field(table[image], "path").cast(pa.large_string())
        columns = {
            "label": labels.cast(label_type),
            "name": compute.replace_substring_regex(image_path, "(?s).*/", ""),
            "path": pa.repeat(pa.scalar(path), len(table)).cast(FOUND.field("path").type),
            "offset": pa.array(range(len(table)), pa.int64()),
        }
        rows = pa.table(columns)
        rows.validate(full=True)  # texts may not be UTF-8
    names = _label_names(file, label, schema.metadata or {}) if types.is_integer(label_type) else None
    largest = max((metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)), default=0)
    return _Table(rows, names, groups, largest)


def holds_images(path: Path) -> bool:
    """Whether a file is a table with a column of images."""
    try:
        schema = parquet.read_schema(path)
    except (OSError, pa.ArrowException):
        return False
    return any(_is_binary(_data(field.type)) for field in schema)


def _folder(files: list[Path]) -> Path:
    """Return the folder below which all tables lie."""
    return Path(os.path.commonpath([file.parent for file in files]))


def _rows_by_group(metadata: parquet.FileMetaData) -> list[int]:
    return [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]


def _data(image: pa.DataType) -> pa.DataType | None:
    """Return the type of the bytes in a column of images."""
    return {field.name: field.type for field in image}.get("bytes") if types.is_struct(image) else image


def _is_binary(data: pa.DataType | None) -> bool:
    return data is not None and (types.is_binary(data) or types.is_large_binary(data) or types.is_binary_view(data))


def _is_text(data: pa.DataType) -> bool:
    return types.is_string(data) or types.is_large_string(data) or types.is_string_view(data)


def _label_type(file: Path, column: str, label: pa.DataType) -> pa.DataType:
    value = label.value_type if types.is_dictionary(label) else label
    if types.is_integer(value):
        return pa.int64()
    if _is_text(value):
        return pa.string()
    raise LabelsimError(
        f"dataset.source: the column {column} of {file} is of type {label}; expected one number or text per image. "
        "dataset.columns may name another column."
    )


def _no_bytes(file: Path, column: str, fault: str) -> LabelsimError:
    return LabelsimError(
        f"dataset.source: the column {column} of {file} {fault}; expected the images' bytes, alone or in a struct of "
        "bytes and path. If they are in another column, set dataset.columns. If the table has only paths, name the "
        "folder of the images, or write the bytes into it, as `push_to_hub` of the library `datasets` does."
    )


def _label_names(file: Path, column: str, metadata: Mapping[bytes, bytes]) -> list[str] | None:
    """Return the names of the labels, which `datasets` writes into the schema's metadata."""
    try:
        label = json.loads(metadata[b"huggingface"])["info"]["features"][column]
        names = label["names"] if label["_type"] == "ClassLabel" else None
    except (ValueError, KeyError, TypeError):
        return None
    if names is not None and len(set(names)) < len(names):
        (name, _), *_ = Counter(names).most_common(1)
        raise LabelsimError(f"dataset.source: {file} has several labels named {name!r}")
    return names


def _check_labels(rows: pa.Table, names: list[str] | None) -> None:
    labels = rows["label"]
    if names is not None:
        _refuse(rows, compute.greater_equal(labels, len(names)), f"have a label that is none of the {len(names):,}")
    missing = compute.equal(labels, "") if types.is_string(labels.type) else compute.less(labels, 0)
    missing = compute.fill_null(missing, fill_value=True)
    _refuse(rows, missing, "have no label", " Use a split with labels, such as train or validation.")


def _refuse(rows: pa.Table, which: pa.ChunkedArray, fault: str, advice: str = "") -> None:
    bad = rows.filter(which)
    if len(bad):
        label, _, path, row = (column[0].as_py() for column in bad.columns)
        raise LabelsimError(
            f"dataset.source: {len(bad):,} of {len(rows):,} images {fault}, the first in row {row} of {path} "
            f"(label {label!r}).{advice}"
        )


def _sizes(files: Sequence[Path], notes: Counter[str], column: str) -> pa.ChunkedArray:
    """Return the images' sizes, of one table after the other; 0 if there is no image or it cannot be read."""
    sizes: list[pa.Array] = []
    progress = Progress("tables", len(files))
    for path in files:
        with _errors_for_people(path), _opened(path) as file:
            nulls = 0
            for group, rows in enumerate(_rows_by_group(file.metadata)):
                found = _lengths(file, group, column)
                if found is None:
                    logger.warning("%s: row group %d is damaged; its %s images will be rejected", path, group, rows)
                    notes[DAMAGED] += rows
                    found = [pa.repeat(pa.scalar(0, pa.int64()), rows)]
                nulls += sum(part.null_count for part in found)
                sizes += [compute.fill_null(part, 0) for part in found]
                progress.image(rows)
            if nulls and nulls == file.metadata.num_rows:
                raise _no_bytes(path, column, "holds no image")
            notes[NULL] += nulls
        progress.part()
    return pa.chunked_array(sizes, pa.int64())


def _in_order(samples: pa.Table, tables: Sequence[str], rows_by_group: Sequence[Sequence[int]]) -> pa.Table:
    """Put samples in the order of the tables if a reader would decode row groups again and again in their own."""
    # rows and row groups are numbered through all tables
    firsts = np.cumsum([0, *map(sum, rows_by_group)])
    table = compute.index_in(samples["path"], value_set=pa.array(tables, pa.large_string()))
    rows = firsts[table.to_numpy()] + samples["offset"].to_numpy()
    ends = np.cumsum(list(chain.from_iterable(rows_by_group)))
    groups = np.searchsorted(ends, rows, "right")
    if _affordable(groups, np.bincount(groups, samples["bytes"])):
        return samples
    logger.info(
        "The tables' rows are shuffled. To read the tables only once, images keep the order of the rows; the same "
        "images in another form would be other shards."
    )
    return samples.take(np.argsort(rows))


def _affordable(groups: NDArray[np.integer], sizes: NDArray[Any]) -> bool:
    """Whether a reader of rows in these row groups decodes few of them twice; it keeps what `read` keeps."""
    recent, decoded = _Recent(), 0.0
    for group in map(int, groups[np.flatnonzero(np.diff(groups, prepend=-1))]):
        if recent.get(group) is None:
            recent.add(group, True, sizes[group])
            decoded += sizes[group]
            if decoded > _OVERHEAD * sizes.sum():
                return False
    return True


def _lengths(file: parquet.ParquetFile, group: int, column: str) -> list[pa.Array] | None:
    """Return the sizes of a row group's images, null if the image is; None if the row group is damaged."""
    try:
        with _arrow_errors_as_os_errors():
            return [compute.binary_length(images) for images in _images(file, group, column)]
    except OSError as error:
        if error.errno is not None:  # the disk failed, not the table
            raise
        return None


def _images(file: parquet.ParquetFile, group: int, column: str) -> Iterator[pa.Array]:
    """Yield the images of a row group, some at a time."""
    is_struct = types.is_struct(file.schema_arrow.field(column).type)
    column = f"{column}.bytes" if is_struct else column
    missing = file.metadata.row_group(group).num_rows
    # a forked process has no threads in Arrow's pools, and would wait for them forever
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
            f"dataset.source: {path} cannot be read: {error.strerror or first_line(error)}. If it is incomplete, fetch "
            "it again."
        ) from error

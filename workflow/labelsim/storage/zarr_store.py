"""A Zarr store that is committed last: create, resume, commit, open.

A store is a Zarr 3 group of arrays. Its chunks are written first. Then `chunks.json` in each array's folder
lists the digests of the array's chunks. The root metadata file `zarr.json` is written last, by rename: it holds
the digests of the arrays' metadata and of their `chunks.json`, and a digest of itself. So it represents the
whole store, and stays small however many chunks there are: Snakemake compares files of up to 1 MB by content.
A folder without `zarr.json` is unfinished and is never read.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from math import ceil
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec

from labelsim.errors import LabelsimError
from labelsim.storage.atomic import sync, write_whole
from labelsim.storage.damage import WRONG_CHECKSUM, damaged, missing, unreadable
from labelsim.storage.digests import canonical, digest, file_digest
from labelsim.storage.json_files import text_of, with_digest
from labelsim.storage.locks import check_claim, lock

# Imported where it is used, as it takes two seconds.
if TYPE_CHECKING:
    import xarray

__all__ = ["Array", "Writer", "attributes", "blocks", "digests", "load", "open_store", "verify"]

_ROOT = "zarr.json"
_CHUNKS = "chunks.json"
# Zstandard would save a twentieth of the space, in four times the time: more than a GPU leaves to the writers.
_COMPRESSION = BloscCodec(cname="lz4", clevel=5, shuffle="bitshuffle")
_UNREADABLE = (ValueError, OSError, RuntimeError)  # raised by Zarr and its codecs for a damaged chunk


@dataclass(frozen=True)
class Array:
    """Layout of an array.

    Attributes
    ----------
    dims : tuple of str
        Names of the dimensions.
    shape, chunks : tuple of int
        Same length as `dims`. `chunks` None: one chunk.
    dtype : str
        A NumPy dtype, or "str".
    coordinate : bool
        Whether it labels a dimension: `xarray` shows it under the coordinates.
    """

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    chunks: tuple[int, ...] | None = None
    coordinate: bool = False

    def chunk_shape(self) -> tuple[int, ...]:
        """Length of a chunk along each dimension, at least 1."""
        return tuple(max(1, length) for length in (self.chunks or self.shape))

    def chunk_keys(self) -> list[tuple[int, ...]]:
        """Indices of all chunks."""
        counts = [ceil(n / c) for n, c in zip(self.shape, self.chunk_shape(), strict=True)]
        return list(np.ndindex(*counts))

    def region(self, key: Sequence[int]) -> tuple[slice, ...]:
        """The part of the array that chunk `key` covers."""
        return _region(key, self.chunk_shape(), self.shape)


class Writer:
    """Writes a store chunk by chunk, from several threads if need be; recorded chunks survive a kill.

    A store has one writer: a second one waits until the first has committed or ended. A writer does not start
    if another Snakemake has taken over the run since its job was started (`SupersededError`).

    Parameters
    ----------
    path : Path
        The store's folder, `….zarr`.
    arrays : mapping of str to Array
        The arrays of the store.
    identity : str
        What the values were computed from (network, rows, code). With a journal, chunks left by an
        earlier writer are kept only if they were written under the same identity.
    journal : Path, optional
        Where to record finished chunks, beside the store. Without one, every writer starts from scratch.

    Attributes
    ----------
    kept : list of dict
        Notes of the chunks that were kept, as passed to `record`.
    """

    def __init__(self, path: Path, arrays: Mapping[str, Array], identity: str, journal: Path | None = None) -> None:
        self._path = path
        self._specs = dict(arrays)
        self._identity = identity
        self._journal = journal
        self._digests: dict[str, str] = {}
        self._recording = Lock()
        self.kept: list[dict[str, Any]] = []
        self._lock = ExitStack()
        self._lock.enter_context(lock(path.with_name(f".{path.stem}.lock"), path.name))
        check_claim(path)
        # First of all: an existing root would present chunks that are being replaced as finished.
        (path / _ROOT).unlink(missing_ok=True)
        records = self._journal_records()
        if records is None:
            self._start()
        self._arrays = {name: self._open(name) for name in self._specs}
        records = [record for record in records or () if self._intact(record["digests"])]
        for record in records:
            self._digests.update(record["digests"])
            self.kept.append(record["note"])
        if journal is not None:
            write_whole(journal, "".join(map(_line, [self._header(), *records])).encode())

    def dtype(self, name: str) -> str:
        """The dtype that an array is stored in."""
        return self._specs[name].dtype

    def put(self, name: str, key: Sequence[int], values: NDArray[Any]) -> None:
        """Write one whole chunk.

        Parameters
        ----------
        name : str
            The array.
        key : sequence of int
            Index of the chunk along each dimension.
        values : array
            Of the shape of the chunk, cut off at the array's end.

        Raises
        ------
        RuntimeError
            If the values are of another shape: a fault in the calling code.
        """
        spec = self._specs[name]
        values = np.asarray(values, dtype=None if spec.dtype == "str" else spec.dtype)
        if values.shape != tuple(part.stop - part.start for part in spec.region(key)):
            raise RuntimeError(f"{self._path}: {name} {tuple(key)}: a chunk cannot have the shape {values.shape}")
        self._arrays[name][spec.region(key)] = values
        chunk = _chunk_name(name, key)
        sync(self._path / chunk)
        self._digests[chunk] = file_digest(self._path / chunk)

    def put_whole(self, name: str, values: NDArray[Any]) -> None:
        """Write a whole array, which must fit in memory."""
        spec = self._specs[name]
        for key in spec.chunk_keys():
            self.put(name, key, values[spec.region(key)])

    def record(self, chunks: Sequence[tuple[str, Sequence[int]]], note: dict[str, Any]) -> None:
        """Record chunks that were `put` in the journal: from here on they survive a kill.

        Parameters
        ----------
        chunks : sequence of (array name, chunk index)
            They are kept or discarded together.
        note : dict
            JSON values for the writer that resumes (in `kept`).
        """
        assert self._journal is not None
        names = [_chunk_name(name, key) for name, key in chunks]
        digests = {name: self._digests[name] for name in names}
        with self._recording, self._journal.open("a", encoding="utf-8") as file:
            file.write(_line({"digests": digests, "note": note}))
            file.flush()
            os.fsync(file.fileno())

    def commit(self, attributes: Mapping[str, Any]) -> None:
        """Write the root metadata file: from here on the store exists.

        Parameters
        ----------
        attributes : mapping
            JSON values for the group's attributes.

        Raises
        ------
        RuntimeError
            If a chunk was never written: a fault in the calling code.
        """
        chunks = {name: [_chunk_name(name, key) for key in spec.chunk_keys()] for name, spec in self._specs.items()}
        unwritten = sorted({chunk for names in chunks.values() for chunk in names} - self._digests.keys())
        if unwritten:
            raise RuntimeError(f"{self._path}: {len(unwritten)} chunks were not written, {unwritten[0]} first")
        for name, names in chunks.items():
            text = text_of({chunk: self._digests[chunk] for chunk in names})
            write_whole(self._path / name / _CHUNKS, text.encode())
        files = [f"{name}/{file}" for name in self._specs for file in (_ROOT, _CHUNKS)]
        contents = {
            "coordinates": " ".join(name for name, spec in self._specs.items() if spec.coordinate),
            **attributes,
            "identity": self._identity,
            "files": {name: file_digest(self._path / name) for name in files},
        }
        write_whole(self._path / _ROOT, _root(contents))
        self._lock.close()

    def _start(self) -> None:
        # The journal goes first: it must never describe arrays that were created after it.
        if self._journal is not None:
            self._journal.unlink(missing_ok=True)
        if self._path.exists():
            shutil.rmtree(self._path)
        for name, spec in self._specs.items():
            floating = spec.dtype.startswith("float")
            zarr.create_array(
                store=self._path / name,
                shape=spec.shape,
                chunks=spec.chunk_shape(),
                dtype=str if spec.dtype == "str" else spec.dtype,
                dimension_names=spec.dims,
                fill_value=float("nan") if floating else None,
                compressors=[_COMPRESSION, Crc32cCodec()],
                zarr_format=3,
            )

    def _open(self, name: str) -> zarr.Array[Any]:
        # Also write chunks that hold only the fill value: a missing file is always damage.
        with zarr.config.set({"array.write_empty_chunks": True}):
            return zarr.open_array(store=self._path / name, mode="r+")

    def _journal_records(self) -> list[dict[str, Any]] | None:
        """Records of an earlier writer of the same identity; None if there was none."""
        if self._journal is None or not self._journal.exists():
            return None
        lines = self._journal.read_text(encoding="utf-8", errors="replace").split("\n")
        records = [entry for line in lines if (entry := _entry(line)) is not None]
        if not records or records[0] != self._header():
            return None
        for leftover in self._path.rglob("*.partial"):
            leftover.unlink(missing_ok=True)
        return records[1:]

    def _header(self) -> dict[str, Any]:
        layout = {name: [s.dims, s.shape, s.chunk_shape(), s.dtype] for name, s in self._specs.items()}
        # If the metadata of an array changed, nothing is resumed.
        arrays = {name: file_digest(self._path / name / _ROOT) for name in self._specs}
        entry = {"identity": self._identity, "layout": layout, "arrays": arrays}
        header: dict[str, Any] = json.loads(canonical(entry))
        return header

    def _intact(self, digests: Mapping[str, str]) -> bool:
        return all(file_digest(self._path / chunk) == expected for chunk, expected in digests.items())


def open_store(path: Path) -> xarray.Dataset:
    """Open a committed store as a labelled, lazily read dataset.

    Parameters
    ----------
    path : Path
        The store's folder.

    Returns
    -------
    xarray.Dataset
        Reading a damaged chunk raises ValueError (checksum); `load` turns that into a LabelsimError.

    Raises
    ------
    LabelsimError
        If the store is missing or unfinished, chunks are missing, or the metadata of an array changed.
    """
    changed = [name for name, expected in attributes(path)["files"].items() if file_digest(path / name) != expected]
    found = changed or [name for name in digests(path) if not (path / name).is_file()]
    if found:
        raise damaged(path, f"{len(found)} of its files are missing or changed, {found[0]} first")
    import xarray

    return xarray.open_zarr(path, consolidated=False, chunks=None)


def blocks(length: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover `length`."""
    return (slice(start, min(start + size, length)) for start in range(0, length, size))


def load(dataset: xarray.Dataset, name: str, **where: slice) -> NDArray[Any]:
    """Values of an array of a store, or of a part of it.

    Parameters
    ----------
    dataset : xarray.Dataset
        As `open_store` returns it.
    name : str
        The array.
    **where : slice
        The part to read along each dimension; by default all of it.

    Returns
    -------
    array
        In memory.

    Raises
    ------
    LabelsimError
        If a chunk is missing, has a wrong checksum, or cannot be read.
    """
    path = Path(dataset.encoding["source"])
    try:
        values = np.asarray(dataset[name].isel(where).values)
    except _UNREADABLE as error:
        raise damaged(path, f"{name} cannot be read ({error})") from error
    # Zarr reads a missing chunk as NaN or 0. A chunk that exists now existed when it was read.
    for key in _keys(dataset[name], where):
        if not (path / _chunk_name(name, key)).is_file():
            raise damaged(path, f"{_chunk_name(name, key)} is missing")
    return values


def verify(path: Path) -> list[str]:
    """Compare every file of a committed store with its recorded digest.

    Parameters
    ----------
    path : Path
        The store's folder.

    Returns
    -------
    list of str
        A line for each file that is missing, changed or unreadable.

    Raises
    ------
    LabelsimError
        If the store is missing or unfinished, or its root metadata is damaged.
    """
    damage = (_damage(path / name, expected) for name, expected in digests(path).items())
    return [line for line in damage if line is not None]


def digests(path: Path) -> dict[str, str]:
    """Digests of the files of a committed store by their names, without the root metadata.

    Where the list of an array's chunks is missing or damaged, these chunks are left out.

    Raises
    ------
    LabelsimError
        If the store is missing or unfinished, or its root metadata is damaged.
    """
    found: dict[str, str] = dict(attributes(path)["files"])
    for name, expected in list(found.items()):
        if name.endswith(_CHUNKS) and file_digest(path / name) == expected:
            found |= json.loads((path / name).read_bytes())
    return found


def attributes(path: Path) -> dict[str, Any]:
    """Attributes of a committed store.

    Raises
    ------
    LabelsimError
        If the store is missing or unfinished, or its root metadata cannot be read.
    """
    try:
        data = (path / _ROOT).read_bytes()
        contents: dict[str, Any] = json.loads(data)["attributes"]
        intact = "files" in contents and _root(contents) == data
    except (FileNotFoundError, NotADirectoryError):
        state = f"is unfinished: its {_ROOT} is not written yet" if path.is_dir() else "does not exist"
        raise missing(path, state) from None
    except OSError as error:
        raise unreadable(path / _ROOT, error) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path / _ROOT, error) from error
    if not intact:
        raise damaged(path / _ROOT, WRONG_CHECKSUM)
    return contents


def _root(attributes: Mapping[str, Any]) -> bytes:
    """The root metadata file: its digest represents the whole store."""
    root = {"zarr_format": 3, "node_type": "group", "attributes": with_digest(attributes, "digest")}
    return text_of(root).encode()


def _line(entry: Mapping[str, Any]) -> str:
    """A line of a journal: an entry after its digest."""
    text = canonical(entry)
    return f"{digest(text)} {text}\n"


def _entry(line: str) -> dict[str, Any] | None:
    """The entry of a line of a journal; None for a truncated or changed line."""
    expected, _, text = line.partition(" ")
    if digest(text) != expected:
        return None
    entry: dict[str, Any] = json.loads(text)
    return entry


def _chunk_name(name: str, key: Sequence[int]) -> str:
    return "/".join([name, "c", *map(str, key)])


def _region(key: Sequence[int], chunks: Sequence[int], shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(i * c, min((i + 1) * c, n)) for i, c, n in zip(key, chunks, shape, strict=True))


def _keys(array: xarray.DataArray, where: Mapping[str, slice]) -> Iterator[tuple[int, ...]]:
    """Indices of the chunks that a part of an array lies in."""
    spans = []
    for dim, chunk in zip(array.dims, array.encoding["chunks"], strict=True):
        start, stop, _ = where.get(str(dim), slice(None)).indices(array.sizes[dim])
        spans.append(range(start // chunk, ceil(stop / chunk)))
    return product(*spans)


def _damage(file: Path, expected: str) -> str | None:
    """A line about a damaged file; None for an intact one."""
    try:
        found = file_digest(file)
    except LabelsimError as error:
        return str(error).partition("\n")[0]
    if found == expected:
        return None
    return f"{file} is missing" if found == "missing" else f"{file} was changed"

"""Storage: how a features store is compressed, against other ways; and whether writing holds up the extraction.

A real extraction makes the features. Their `gap` is then written and read chunk by chunk, by one thread, through Zarr
and with the checksum, as the store does it: with its own codec and others, in chunks of other lengths,
and as float32 and float16. Rates are of the bytes before compression, in seconds of the processor, so that a busy
machine does not matter; what the digests and the wait for the disk cost stands apart.

    python benchmarks/storage.py                    # ResNet34, random weights, generated photographs
    python benchmarks/storage.py --images FOLDER --network efficientnet_b0 --weights DEFAULT --transform auto
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import pipeline
import results
import subject
import zarr
from numcodecs import blosc
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

from labelsim.network.device import exclusive_device
from labelsim.run import Paths
from labelsim.storage.atomic import sync
from labelsim.storage.json_files import read_document
from labelsim.storage.zarr_store import Array, Writer, load, open_store

CLASSES, IMAGES_PER_CLASS, REPEATS = 32, 16, 3
SAME_SIZE = 1.02  # a setup that is at most so many times as large as the store's may take its place for speed


@dataclass(frozen=True)
class Setup:
    """How an array is stored.

    Attributes
    ----------
    codec : str
        A codec of Blosc's, `plain zstd` without Blosc, or `none`.
    level : int
        How hard it tries.
    shuffle : str
        As Blosc calls it: `noshuffle`, `shuffle` (bytes) or `bitshuffle`.
    rows : int
        Images in a chunk.
    """

    codec: str
    level: int
    shuffle: str
    rows: int

    def __str__(self) -> str:
        shuffle = {"noshuffle": "no shuffle", "shuffle": "byte shuffle", "bitshuffle": "bit shuffle"}[self.shuffle]
        codec = self.codec if self.codec == "none" else f"{self.codec} {self.level}, {shuffle}"
        return f"{codec}, {self.rows} rows"

    def codecs(self) -> list[BloscCodec | ZstdCodec | Crc32cCodec]:
        """For Zarr, with the checksum."""
        if self.codec == "none":
            return [Crc32cCodec()]
        if self.codec == "plain zstd":
            return [ZstdCodec(level=self.level), Crc32cCodec()]
        return [BloscCodec(cname=self.codec, clevel=self.level, shuffle=self.shuffle), Crc32cCodec()]


@dataclass(frozen=True)
class Figures:
    """Bytes an image, and the processor's seconds of each round for writing and reading all."""

    size: float
    writing: list[float]
    reading: list[float]


def main() -> None:
    """Measure and write the table."""
    options = subject.options(__doc__, "resnet34", IMAGES_PER_CLASS).parse_args()
    network = subject.short(options.network)
    blosc.use_threads = False
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = subject.config(options, folder, CLASSES)
        with exclusive_device(options.device) as device:
            kind = device.type
        paths = Paths(str(folder / "run"))
        pipeline.network(config, paths)
        pipeline.WORK["scan"](config, paths, None, options.threads)
        pipeline.WORK["shard"](config, paths, None, options.threads)
        (shard,) = pipeline.shards(paths)
        pipeline.WORK["extract"](config, paths, shard, options.threads)
        found = writing(network, kind, Path(paths.stats(shard)))
        store = Path(paths.features(shard))
        gap = load(open_store(store), "gap")
        own = own_setup(store)
        with zarr.config.set({"threading.max_workers": 1, "async.concurrency": 1, "array.write_empty_chunks": True}):
            for dtype in ("float32", "float16"):
                values = gap.astype(dtype)
                figures = measure(folder / "array", values, setups(own))
                found += table(dtype, values, own, figures)
                found += by_writer(folder / "writer.zarr", dtype, values, own, figures[own])
                found.append(waiting(folder / "chunk", dtype, own, figures[own]))
    results.write(f"storage-{network}", found, kind)


def own_setup(store: Path) -> Setup:
    """How `labelsim.storage.zarr_store` laid out a store."""
    array = zarr.open_array(store=store / "gap", mode="r")
    codec = next(codec for codec in array.compressors if isinstance(codec, BloscCodec))
    assert codec.shuffle is not None  # Zarr fills it in
    return Setup(codec.cname.value, codec.clevel, codec.shuffle.value, array.chunks[0])


def setups(own: Setup) -> list[Setup]:
    """The store's own setup and those that it is compared with."""
    codecs = [
        Setup(codec, level, shuffle, own.rows)
        for codec, levels in (("zstd", (1, 3, 5)), ("lz4", (1, 5)), ("blosclz", (1, 5)))
        for level in levels
        for shuffle in ("noshuffle", "shuffle", "bitshuffle")
    ]
    plain = [Setup(codec, level, "noshuffle", own.rows) for codec, level in (("plain zstd", 1), ("none", 0))]
    lengths = [replace(own, rows=rows) for rows in (64, 256, 512)]
    return list(dict.fromkeys([own, *codecs, *plain, *lengths]))


def measure(folder: Path, values: NDArray[np.floating], setups: list[Setup]) -> dict[Setup, Figures]:
    """Write and read under every setup, in turn."""
    found = {setup: Figures(0, [], []) for setup in setups}
    for _ in range(REPEATS):
        for setup in setups:
            array = zarr.create_array(
                store=folder,
                shape=values.shape,
                chunks=(min(setup.rows, len(values)), values.shape[1]),
                dtype=values.dtype,
                fill_value=float("nan"),
                compressors=setup.codecs(),
                zarr_format=3,
            )
            figures = found[setup]
            figures.writing.append(processor_seconds(partial(_write, array, values)))
            figures.reading.append(processor_seconds(partial(_read, array)))
            size = sum(file.stat().st_size for file in (folder / "c").rglob("*") if file.is_file())
            found[setup] = replace(figures, size=size / len(values))
            shutil.rmtree(folder)
    return found


def processor_seconds(work: Callable[[], object]) -> float:
    """Seconds that this process kept the processor busy during one call."""
    started = time.process_time()
    work()
    return time.process_time() - started


def _write(array: zarr.Array, values: NDArray[np.floating]) -> None:
    rows = array.chunks[0]
    for start in range(0, len(values), rows):
        array[start : start + rows] = values[start : start + rows]


def _read(array: zarr.Array) -> None:
    rows = array.chunks[0]
    for start in range(0, array.shape[0], rows):
        array[start : start + rows]


def table(dtype: str, values: NDArray[np.floating], own: Setup, figures: dict[Setup, Figures]) -> list[results.Result]:
    """All setups, and what the best of them would gain."""
    of = results.Result.of
    megabytes = values.nbytes / 1e6
    found = []
    for setup, one in figures.items():
        name = f"{dtype}, {setup}{' (the store)' if setup == own else ''}"
        found += [
            of(f"{name}: size", one.size, "B/image"),
            of(f"{name}: write", megabytes / median(one.writing), "MB/s"),
            of(f"{name}: read", megabytes / median(one.reading), "MB/s"),
        ]
    ours = figures[own]
    smallest = min(figures, key=lambda setup: figures[setup].size)
    found.append(
        of(f"{dtype}: smallest against the store ({smallest})", figures[smallest].size / ours.size, "x", ">= 0.85")
    )
    small = [setup for setup in figures if figures[setup].size <= SAME_SIZE * ours.size]
    for what in ("writing", "reading"):
        gains = {setup: results.ratio(getattr(ours, what), getattr(figures[setup], what)) for setup in small}
        fastest = max(gains, key=lambda setup: gains[setup])
        name = f"{dtype}: fastest {what} of those no larger, against the store ({fastest})"
        found.append(of(name, gains[fastest], "x", "<= 1.5"))
    return found


def by_writer(path: Path, dtype: str, values: NDArray[np.floating], own: Setup, bare: Figures) -> list[results.Result]:
    """What the store's writer costs, digests of the values included."""
    rows = min(own.rows, len(values))
    took = []
    for _ in range(REPEATS):
        writer = Writer(path, {"gap": Array(("sample", "channel"), values.shape, dtype, (rows, values.shape[1]))}, "")
        took.append(processor_seconds(partial(writer.put_whole, "gap", values)))
        writer.commit({})
        shutil.rmtree(path)
    of = results.Result.of
    return [
        of(
            f"{dtype}: the store's writer, digests included: write",
            values.nbytes / 1e6 / median(took),
            "MB/s",
        ),
        of(f"{dtype}: the same against Zarr alone", median(took) / median(bare.writing), "x"),
    ]


def waiting(path: Path, dtype: str, own: Setup, figures: Figures) -> results.Result:
    """How long the disk takes to have a chunk that was just written."""
    took = []
    for _ in range(REPEATS):
        path.write_bytes(os.urandom(int(own.rows * figures.size)))
        took.append(results.seconds(partial(sync, path)))
        path.unlink()
    return results.Result.of(
        f"{dtype}: waiting until a chunk of {own.rows} rows is on the disk", 1e3 * median(took), "ms"
    )


def writing(network: str, kind: str, stats: Path) -> list[results.Result]:
    """How much writing holds an extraction up: waiting for the writers, and the end, when nobody computes any more."""
    figures = read_document(stats)
    parts = figures["seconds_by_part"]
    work = figures["seconds"] - parts["starting"]
    share = (parts["waiting_for_writers"] + parts["finishing"]) / work
    of = results.Result.of
    return [
        of(f"{network}: extraction", figures["images"] / work, "images/s"),
        of(f"{network}: waiting for the writers, of the stage's time", share, "x", "<= 0.02" if kind == "cpu" else ""),
    ]


if __name__ == "__main__":
    main()

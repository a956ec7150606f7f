"""Listing and sharding 1,281,167 files in 1,000 class folders, as many as ImageNet's training images, and more rows.

Most files are hard links, so the tree costs no space; against it, a bare walk that asks for every file's size. The rows
of a larger dataset (`--rows`, by default ImageNet-21k's 14.2 million) are made in memory, as if WebDataset's shards in
no order had been read.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections import Counter
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import results

import labelsim.stages.scan
from labelsim.config import load
from labelsim.dataset.formats.base import Progress
from labelsim.dataset.formats.webdataset import WebDatasetSource
from labelsim.dataset.manifest import FOUND
from labelsim.stages.scan import scan
from labelsim.stages.shard import shard

IMAGES, CLASSES, REPEATS = 1_281_167, 1_000, 3
ROWS, MANY_CLASSES, ROWS_PER_TAR = 14_197_122, 21_841, 10_000


def plant(folder: Path) -> None:
    """Make the tree."""
    for class_ in range(CLASSES):
        path = folder / "train" / f"n{class_:08d}"
        path.mkdir(parents=True)
        first, *others = (path / f"{path.name}_{image}.JPEG" for image in range(class_, IMAGES, CLASSES))
        first.write_bytes(b"x" * (100 + class_))
        for other in others:
            os.link(first, other)


def walk(folder: Path) -> None:
    """List every file's size, as any scan must."""
    for class_ in os.scandir(folder / "train"):
        for entry in os.scandir(class_):
            entry.stat()


def stages(folder: Path) -> None:
    """Scan and shard, as the workflow does."""
    config = load({"run": "x", "dataset": {"source": str(folder / "train")}, "extract": {"images_per_shard": 16_384}})
    scan(config["dataset"], folder / "manifest.parquet")
    index = folder / "shards" / "index.json"
    shard(folder / "manifest.parquet", config["extract"]["images_per_shard"], "auto", index)


class Generated(WebDatasetSource):
    """Shards that are there by their names alone: what stands in them is made up."""

    def __init__(self, rows: int) -> None:
        super().__init__("/generated/*.tar")
        self.rows = rows

    def _shards(self, skipped: Counter[str]) -> list[Path]:
        return [Path(f"/generated/imagenet21k-train-{i:06d}.tar") for i in range(-(-self.rows // ROWS_PER_TAR))]

    def _shard(self, shard: Path, labels: dict[str, int], skipped: Counter[str], progress: Progress) -> pa.Table:
        number = int(shard.stem[-6:])
        first = number * ROWS_PER_TAR
        rows = range(first, min(first + ROWS_PER_TAR, self.rows))
        random = np.random.default_rng(number)
        classes = [f"n{class_:08d}" for class_ in random.integers(0, MANY_CLASSES, len(rows))]
        numbers = [labels.setdefault(class_, len(labels)) for class_ in classes]
        names = [f"{class_}_{row}.JPEG" for class_, row in zip(classes, rows, strict=True)]
        sizes = random.integers(90_000, 130_000, len(rows))
        return pa.table([names, numbers, [shard.name] * len(rows), np.cumsum(sizes), sizes], schema=FOUND)


def generated(folder: Path, rows: int) -> None:
    """Scan so many rows."""
    labelsim.stages.scan.open_source = lambda *_: Generated(rows)  # type: ignore[attr-defined]
    config = load({"run": "x", "dataset": {"source": "/generated", "format": "webdataset"}})
    scan(config["dataset"], folder / "generated.parquet")


def cut(folder: Path) -> None:
    """Shard them."""
    shard(folder / "generated.parquet", 262_144, "auto", folder / "many" / "index.json")


def main() -> None:
    """Run both in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS, help="of the larger dataset")
    rows = parser.parse_args().rows
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plant(folder)
        walks, runs, memory = [], [], []
        for _ in range(REPEATS):
            walks.append(results.seconds(lambda: walk(folder)))
            _, took, peak = results.measured(stages, folder)
            runs.append(took)
            memory.append(peak)
            for table in (folder / "shards").iterdir():
                table.unlink()
        _, scanned, scan_memory = results.measured(generated, folder, rows)
        _, sharded, shard_memory = results.measured(cut, folder)
    results.write(
        "scan",
        [
            results.Result.of(f"scan and shard {IMAGES:,} files", median(runs), "s", "<= 180"),
            results.Result.of("the same, against a bare walk with sizes", results.ratio(runs, walks), "x"),
            results.Result.of("most memory held", max(memory), "MB", "<= 2048"),
            results.Result.of(f"scan of {rows:,} generated rows", scanned, "s"),
            results.Result.of("shard of them", sharded, "s"),
            results.Result.of("most memory held by scan", scan_memory, "MB"),
            results.Result.of("most memory held by shard", shard_memory, "MB"),
            results.Result.of("the larger, a row", max(scan_memory, shard_memory) * 2**20 / rows, "bytes", "<= 250"),
        ],
    )


if __name__ == "__main__":
    main()

"""Listing and sharding 1,281,167 files in 1,000 class folders, as many as ImageNet's training images.

Most files are hard links, so the tree costs no space; against it, a bare walk that asks for every file's size.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from statistics import median

import results

from labelsim.config import load
from labelsim.stages.scan import scan
from labelsim.stages.shard import shard

IMAGES, CLASSES, REPEATS = 1_281_167, 1_000, 3


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


def main() -> None:
    """Run both in turn."""
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
    results.write(
        "scan",
        [
            results.Result.of(f"scan and shard {IMAGES:,} files", median(runs), "s", "<= 180"),
            results.Result.of("the same, against a bare walk with sizes", results.ratio(runs, walks), "x"),
            results.Result.of("most memory held", max(memory), "MB", "<= 2048"),
        ],
    )


if __name__ == "__main__":
    main()

"""Bytes read of shuffled Parquet tables, over the bytes of the tables: by scan, and by extract in several shards.

What a process and its children read is counted by the system (`/proc/self/io`), from whatever file, cached or not. What
the same stage reads with hardly any rows (code, the network) is taken off, and so is what the reader hands to the
workers by pipes, which counts as read once more.
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pipeline
import pyarrow as pa
import results
from PIL import Image
from pyarrow import parquet

from labelsim.run import Paths

ROWS, FEW, TABLES, GROUP, CLASSES, SIDE = 50_000, 20, 5, 100, 1000, 52
PER_SHARD, WORKERS = 16_384, 2


def plant(folder: Path, rows: int) -> Path:
    """Write tables of images of some KB, in no order."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for table, numbers in enumerate(np.array_split(random.permutation(rows), TABLES)):
        images = [{"bytes": _image(random), "path": f"{number:06d}.bmp"} for number in numbers]
        columns = {"image": images, "label": [f"class {number % CLASSES:04d}" for number in numbers]}
        # as the library `datasets` writes them, but for statistics, which would hold some images twice
        path = folder / f"{table}.parquet"
        parquet.write_table(pa.table(columns), path, row_group_size=GROUP, write_statistics=False)
    return folder


def _image(random: np.random.Generator) -> bytes:
    data = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(data, "BMP")
    return data.getvalue()


def read(stage: str, *args: object) -> int:
    """Bytes that a stage reads, its children included."""
    before = _bytes_read()
    pipeline.WORK[stage](*args)
    return _bytes_read() - before


def _bytes_read() -> int:
    lines = Path("/proc/self/io").read_text(encoding="utf-8").splitlines()
    return int(dict(line.split(": ") for line in lines)["rchar"])


def stages(folder: Path, given: dict[str, Any], tables: Path) -> dict[str, list[int]]:
    """Bytes that each stage reads for some tables, one process after the other."""
    given["dataset"]["source"] = str(tables)
    paths = Paths(str(folder / f"run-{tables.name}"))
    results.measured(pipeline.network, given, paths)
    found = {stage: [results.measured(read, stage, given, paths, None, 2)[0]] for stage in ("scan", "shard")}
    shards = pipeline.shards(paths)
    return found | {"extract": [results.measured(read, "extract", given, paths, shard, 2)[0] for shard in shards]}


def main() -> None:
    """Read a large dataset and a small one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pipeline.plant(folder, 1, 1, channels=1, hidden=1)  # features are read as well, to seal them
        given = pipeline.config(folder, PER_SHARD)
        given["extract"]["workers"] = WORKERS
        few = stages(folder, given, plant(folder / "few", FEW))
        many = stages(folder, given, plant(folder / "many", ROWS))
        size = sum(table.stat().st_size for table in (folder / "many").iterdir())
    handed = ROWS * len(_image(np.random.default_rng(0)))
    scanned = many["scan"][0] - few["scan"][0]
    extracted = sum(many["extract"]) - len(many["extract"]) * few["extract"][0] - handed
    what = f"{ROWS:,} shuffled rows, {size / 1e6:.0f} MB in {TABLES} tables"
    results.write(
        "parquet",
        [
            results.Result.of(f"read by scan: {what}", scanned / size, "x"),
            results.Result.of(
                f"read by extract, {len(many['extract'])} shards, {WORKERS} workers", extracted / size, "x"
            ),
            # twice the tables, and what grows with the rows besides: the manifest, features, the framing in pipes
            results.Result.of("read in all", (scanned + extracted) / size, "x", "<= 2.05"),
        ],
    )


if __name__ == "__main__":
    main()

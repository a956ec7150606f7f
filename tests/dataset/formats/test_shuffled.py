"""Parquet tables are read once in the scan and once in the extraction, whatever the order of their rows."""

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from labelsim.config import load
from labelsim.dataset.formats import parquet as module
from labelsim.dataset.shards import cut
from labelsim.dataset.sources import open_source
from labelsim.images.loader import UNREADABLE, Images, batches
from labelsim.stages.scan import scan
from labelsim.storage.parquet import read_table

ROWS, GROUP, TABLES, CLASSES, SIZE = 2400, 20, 3, 130, 4000
BYTES = ROWS * SIZE
# Arrow reads 64 KB of a table wherever it looks for the footer: here thrice a table in the scan, 6 % of all bytes.
SLACK = 0.1


@pytest.fixture(autouse=True)
def small_cache(monkeypatch):
    """Keep 13 of 120 row groups, as 64 MB are few of the hub's tables."""
    monkeypatch.setattr(module, "_KEPT_BYTES", 13 * GROUP * (SIZE + 8))


def write(folder: Path, order: np.ndarray) -> Path:
    """Tables of images of 130 classes in an order; bytes that are no image, so that decoding them takes no time."""
    folder.mkdir()
    random = np.random.default_rng(0)
    images = [{"bytes": random.bytes(SIZE), "path": f"{i:04d}.jpg"} for i in range(ROWS)]
    labels = [f"{i * CLASSES // ROWS:03d}" for i in range(ROWS)]
    for number, rows in enumerate(np.array_split(order, TABLES)):
        table = pa.table({"image": [images[row] for row in rows], "label": [labels[row] for row in rows]})
        # statistics would hold the least and the greatest image once more
        parquet.write_table(table, folder / f"{number}.parquet", row_group_size=GROUP, write_statistics=False)
    return folder


def shuffled(window: int) -> np.ndarray:
    """Rows in the order of their sample_ids, but for shuffling among so many that follow one another."""
    random = np.random.default_rng(1)
    return np.concatenate([random.permutation(part) for part in np.split(np.arange(ROWS), ROWS // window)])


def bytes_read() -> int:
    """Bytes that this process, and those of its children that have ended, have read so far."""
    return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())["rchar"])


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")  # on a machine of 2 cores
@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("window", [1, 120, 600, ROWS])
def test_tables_are_read_once_in_the_scan_and_once_in_the_extraction(tmp_path, window, workers):
    source = open_source(write(tmp_path / "tables", shuffled(window)))
    before = bytes_read()
    samples = source.list().samples
    assert bytes_read() - before < (1 + SLACK) * BYTES
    assert len(samples) == ROWS
    images = Images(source, samples, torch.from_numpy, (3, 1, 1))
    cuts = [range(start, start + 8) for start in range(0, ROWS, 8)]  # of one row group, to several workers
    before = bytes_read()
    reasons = [reason for batch in batches(images, cuts, workers) for reason in batch.reasons]
    # The images' bytes go to the workers by pipes, which count as read once more; some 0.4 MB more is what workers say.
    handed = (1 + SLACK) * BYTES if workers else 0
    assert bytes_read() - before < handed + (module._OVERHEAD + SLACK) * BYTES
    assert len(reasons) == ROWS
    assert not any(reason.startswith(UNREADABLE) for reason in reasons)


def test_contents_are_digested_in_one_more_pass(tmp_path):
    tables = write(tmp_path / "tables", shuffled(ROWS))
    dataset = load({"run": "x", "dataset": {"source": str(tables), "content_digest": True}})["dataset"]
    before = bytes_read()
    scan(dataset, tmp_path / "manifest.parquet", threads=4)
    assert bytes_read() - before < (2 + SLACK) * BYTES
    assert len(set(read_table(tmp_path / "manifest.parquet")["content"].to_pylist())) == ROWS


@pytest.mark.parametrize(("window", "by_name"), [(1, True), (120, True), (600, False), (ROWS, False)])
def test_rows_are_in_the_order_of_the_tables_only_where_that_of_their_ids_costs_more(tmp_path, window, by_name, caplog):
    order = shuffled(window)
    with caplog.at_level(logging.INFO):
        listing = open_source(write(tmp_path / "tables", order)).list()
    ids = [f"{row * CLASSES // ROWS:03d}/{row:04d}.jpg" for row in (range(ROWS) if by_name else order)]
    assert listing.samples["sample_id"].to_pylist() == ids
    assert ("shuffled" in caplog.text) is not by_name
    assert len(cut(listing.samples, 300)) > 4


def test_tables_that_lie_side_by_side_are_read_by_name(tmp_path):
    # each table holds images of all classes, in order: one row group of each is kept at a time
    order = np.concatenate([np.arange(table, ROWS, TABLES) for table in range(TABLES)])
    samples = open_source(write(tmp_path / "tables", order)).list().samples
    assert samples["sample_id"].to_pylist() == sorted(samples["sample_id"].to_pylist())


@pytest.mark.parametrize("workers", [0, 2])
def test_images_of_a_row_group_that_cannot_be_read_are_rejected_one_by_one(tmp_path, workers):
    tables = write(tmp_path / "tables", shuffled(ROWS))
    source = open_source(tables)
    samples = source.list().samples
    bad = tables / "1.parquet"
    with parquet.ParquetFile(bad) as file:
        column = file.metadata.row_group(2).column(0)
    data = bytearray(bad.read_bytes())
    data[column.data_page_offset : column.data_page_offset + 40] = bytes(40)
    bad.write_bytes(data)
    (tables / "2.parquet").unlink()
    images = Images(source, samples, torch.from_numpy, (3, 1, 1))
    cuts = [range(start, start + 30) for start in range(0, ROWS, 30)]
    found = [reason for batch in batches(images, cuts, workers) for reason in batch.reasons]
    unreadable = {i for i, reason in enumerate(found) if reason.startswith(UNREADABLE)}
    group = range(ROWS // 3 + 2 * GROUP, ROWS // 3 + 3 * GROUP)
    assert unreadable == {*group, *range(2 * ROWS // 3, ROWS)}
    expected = [images[i][1] for i in range(ROWS)]  # as this process reads and decodes them
    assert found == expected

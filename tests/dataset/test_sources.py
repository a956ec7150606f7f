import io
import tarfile
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from labelsim.dataset.sources import detect, open_source
from labelsim.errors import LabelsimError


@pytest.fixture
def make(tmp_path):
    """Make files, whose folders come with them, and folders, whose names end in a slash."""

    def make(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
            if not name.endswith("/"):
                path.write_bytes(b"x")
        return tmp_path

    return make


def tar(path: Path, *names: str) -> Path:
    with tarfile.open(path, "w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return path


@pytest.mark.parametrize(
    "names",
    [
        ["n01440764/1.JPEG", "n09193705/1.JPEG"],
        ["cat/1.png", "dog/1.png", "cover.png", "README.md"],  # stray images
        ["cat/deep/er/1.png", "a.png", "b.png", "c.png"],
        ["cat/1", "a.png"],  # images need no extension
        ["cat/1.png", "labels.parquet", "all.tar"],
        ["data/1.png", "cat/1.png"],
        ["cat/1.png", "data/train.parquet"],
        ["cat/1.png", "ILSVRC2012_img_train.tar"],  # unpacked, and not taken away
        ["ILSVRC/1.png", "Data/1.png", "CLS-LOC/1.png"],  # names of classes
        ["cat/"],
        ["README.md"],
        [],
    ],
)
def test_class_folders(make, names):
    assert detect(make(*names)) == "folder"


def test_class_folders_whatever_their_own_folder_is_called(make):
    for name in ("val", "train", "ILSVRC", "Data", "CLS-LOC"):
        assert detect(make(f"{name}/cat/1.png", f"{name}/dog/1.png") / name) == "folder"


def test_a_path_that_does_not_exist_or_a_link_to_class_folders(make, tmp_path):
    make("elsewhere/cat/1.png")
    assert detect(tmp_path / "missing") == "folder"
    (tmp_path / "link").symlink_to("elsewhere")
    assert detect(tmp_path / "link") == "folder"
    (tmp_path / "classes").mkdir()
    (tmp_path / "classes" / "cat").symlink_to("../elsewhere/cat")
    (tmp_path / "classes" / "stray.png").symlink_to("../elsewhere/cat/1.png")
    assert detect(tmp_path / "classes") == "folder"


def test_a_link_to_itself_in_a_class_folder(make, tmp_path):
    make("classes/cat/")
    (tmp_path / "classes" / "cat" / "1.png").symlink_to("1.png")
    assert detect(tmp_path / "classes") == "folder"
    samples = open_source(tmp_path / "classes").list().samples
    assert samples["bytes"].to_pylist() == [0]  # to be rejected by name


@pytest.mark.parametrize(
    "names",
    [
        ["1.JPEG", "2.JPEG", ".hidden/1.png"],
        ["1.JPEG", "LOC_val_solution.csv", "labels.txt"],
        ["1.JPEG", "annotations/1.xml", "empty/"],  # folders that are no class's
    ],
)
def test_flat_folders(make, names):
    assert detect(make(*names)) == "flat"


@pytest.mark.parametrize("place", ["", "ILSVRC", "ILSVRC/Data", "ILSVRC/Data/CLS-LOC"])
@pytest.mark.parametrize("split", ["train/n01440764/1.JPEG", "val/1.JPEG", "test/1.JPEG"])
def test_kaggle(make, place, split):
    root = make(f"ILSVRC/Data/CLS-LOC/{split}", "ILSVRC/Annotations/CLS-LOC/train/", "LOC_val_solution.csv")
    assert detect(root / place) == "kaggle"
    assert detect(root / "ILSVRC/Data/CLS-LOC" / split.partition("/")[0]) == "kaggle"


@pytest.mark.parametrize(
    "names",
    [
        ["train-00000.parquet", "README.md"],
        ["data/train-00000-of-00002.parquet", "README.md", "dataset_infos.json"],
        ["a.parquet", "cover.png"],
    ],
)
def test_tables(make, names):
    assert detect(make(*names)) == "parquet"
    assert detect(make(*names) / names[0]) == "parquet"


def test_folder_of_tars(make):
    assert detect(make("000000.tar", "000001.tar", "sizes.json")) == "webdataset"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"],
            r"dataset\.source: .* ILSVRC2012_img_train\.tar and ILSVRC2012_img_val\.tar: .* /.*_val\.tar\.",
        ),
        (["ILSVRC2012_img_train.tar"], r"dataset\.source: .* ILSVRC2012_img_train\.tar: .* /.*_train\.tar\."),
    ],
)
def test_a_folder_of_imagenets_tars_is_an_error(make, names, message):
    with pytest.raises(LabelsimError, match=message):
        detect(make(*names))


def test_tars(tmp_path):
    assert detect(tar(tmp_path / "a.tar", "1.jpg", "1.cls")) == "webdataset"
    assert detect(tar(tmp_path / "b.tar", "1.JPEG", "2.JPEG")) == "ilsvrc-tar"
    assert detect(tar(tmp_path / "c.tar", "n01440764.tar", "n09193705.tar")) == "ilsvrc-tar"
    assert detect(str(tmp_path / "{a,b}.tar")) == "webdataset"


@pytest.mark.parametrize(
    ("format", "names"),
    [
        ("webdataset", ["1.jpg", "1.seg.png", "1.cls"]),  # pictures first
        ("webdataset", ["1.jpg", "2.jpg", "2.json"]),  # whose error names the image without a label
        ("webdataset", ["README.md", "1.jpg", "1.txt"]),
        ("webdataset", ["1.txt", "1.cls"]),
        ("ilsvrc-tar", ["README", "n01440764.tar", "n09193705.tar"]),
        ("ilsvrc-tar", ["a.json", "n01440764.tar"]),
        ("ilsvrc-tar", ["README", "1.JPEG", "2.JPEG"]),
        ("ilsvrc-tar", ["1.JPEG", "2.JPEG", "1.xml", "2.xml"]),  # not beside the images
        ("ilsvrc-tar", ["1.jpg", "1.png"]),
    ],
)
def test_a_tar_is_known_by_what_lies_together(tmp_path, format, names):
    assert detect(tar(tmp_path / "a.tar", *names)) == format


def image_table(path: Path) -> Path:
    parquet.write_table(pa.table({"image": [{"bytes": b"x", "path": "1.png"}], "label": [0]}), path)
    return path


def label_table(path: Path) -> Path:
    parquet.write_table(pa.table({"image": ["1.JPEG"], "class_id": ["cat"]}), path)
    return path


@pytest.mark.parametrize(
    ("names", "labels", "formats"),
    [
        (["assets/logo.png", "data/train-00000-of-00001.parquet"], "auto", "folder or parquet"),
        (["docs/img/logo.png", "README.md", "train.parquet"], "auto", "folder or parquet"),
        (["thumbs/1.JPEG", "1.JPEG", "LOC_val_solution.csv"], "auto", "folder or flat"),
        (["thumbs/1.JPEG", "ILSVRC2012_val_00000001.JPEG"], "auto", "folder or flat"),
        (["thumbs/1.JPEG", "1.JPEG"], "labels.csv", "folder or flat"),
        (["assets/logo.png", "shard.tar"], "auto", "folder or webdataset"),
        (["1.JPEG", "data/train.parquet", "0.tar"], "labels.csv", "parquet or webdataset or flat"),
    ],
)
def test_two_readings_are_an_error_that_asks_for_the_format(make, names, labels, formats):
    folder = make(*names)
    for table in folder.rglob("*.parquet"):
        image_table(table)
    for shard in folder.rglob("*.tar"):
        tar(shard, "1.jpg", "1.cls")
    with pytest.raises(LabelsimError, match=rf"dataset\.source: .*dataset\.format to {formats}\.") as error:
        open_source(folder, labels=labels)
    assert any(name in str(error.value) for name in names)


@pytest.mark.parametrize("format", ["parquet", "folder"])
def test_the_format_that_was_asked_for_is_taken(make, format):
    folder = make("assets/logo.png", "data/train.parquet")
    image_table(folder / "data/train.parquet")
    assert len(open_source(folder, format).list().samples) == (1 if format == "parquet" else 2)


def test_what_beside_the_images_is_no_dataset(make):
    """A table of labels, an archive of the images or of one class, and images without labels."""
    folder = make("cat/1.png", "dog/1.png", "cover.png")
    label_table(folder / "labels.parquet")
    tar(folder / "all.tar", "cat/1.png", "dog/1.png")
    tar(folder / "cat.tar", "1.png")
    assert detect(folder) == "folder"
    assert detect(make("flat/1.JPEG") / "flat", str(label_table(folder / "flat/labels.parquet"))) == "flat"


def test_what_img2dataset_writes(make):
    folder = make("00000_stats.json", "00001_stats.json")
    for shard in ("00000", "00001"):
        tar(folder / f"{shard}.tar", *(f"{shard}000{i}.{kind}" for i in range(3) for kind in ("jpg", "json", "txt")))
        parquet.write_table(pa.table({"url": ["https://example.org/1.jpg"], "key": ["0"]}), folder / f"{shard}.parquet")
    assert detect(folder) == detect(folder / "00000.tar") == "webdataset"


@pytest.mark.parametrize(
    "names", [["train/cat/1.png"], ["train/cat/1.png", "val/cat/1.png"], ["Training/1.png", "Testing/1.png", "x/1.png"]]
)
def test_folders_of_splits_are_no_classes(make, names):
    with pytest.raises(LabelsimError, match=r"dataset\.source: .*split.*dataset\.format: folder"):
        detect(make(*names))
    assert open_source(make(*names), "folder").list().classes == sorted({name.split("/")[0] for name in names})


def test_classes_that_are_called_as_a_split_is(make):
    assert detect(make("train/1.png", "bus/1.png", "test tube/1.png")) == "folder"


def test_a_file_of_another_kind_is_an_error(make):
    with pytest.raises(LabelsimError, match=r"dataset\.source: .*images\.zip"):
        detect(make("images.zip") / "images.zip")
    with pytest.raises(LabelsimError, match=r"broken\.tar is no tar archive"):
        detect(make("broken.tar") / "broken.tar")


def test_a_pattern_that_matches_nothing_is_an_error(tmp_path):
    with pytest.raises(LabelsimError, match=r"there is no .*\.tar"):
        detect(tmp_path / "*.tar")

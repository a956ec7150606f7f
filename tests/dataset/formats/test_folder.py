import os
import tempfile
from pathlib import Path

import pytest

from labelsim.dataset.formats.base import Listing, digest
from labelsim.dataset.imagenet import imagenet_names
from labelsim.dataset.manifest import SAMPLES
from labelsim.dataset.sources import open_source
from labelsim.errors import LabelsimError


def write(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def ids(listing: Listing) -> list[str]:
    return listing.samples["sample_id"].to_pylist()


def test_lists_classes_and_samples_sorted(tmp_path):
    write(tmp_path / "b" / "2.png", b"22")
    write(tmp_path / "b" / "10.png", b"")
    write(tmp_path / "a" / "deep" / "er" / "1", b"1")
    write(tmp_path / "a" / "z.txt", b"333")
    source = open_source(tmp_path, "auto")
    listing = source.list()
    assert listing.classes == ["a", "b"]
    assert listing.samples.schema == SAMPLES
    assert listing.samples.to_pydict() == {
        "sample_id": ["a/deep/er/1", "a/z.txt", "b/10.png", "b/2.png"],
        "class_index": [0, 0, 1, 1],
        "class_id": ["a", "a", "b", "b"],
        "path": ["a/deep/er/1", "a/z.txt", "b/10.png", "b/2.png"],
        "offset": [None] * 4,
        "bytes": [1, 3, 0, 2],
    }
    assert listing.skipped == {}
    assert [source.read(row) for row in listing.samples.to_pylist()] == [b"1", b"333", b"", b"22"]


def test_names_with_spaces_and_of_any_script(tmp_path):
    names = [
        "n01440764/img 1.JPEG",
        "Käse/a b/ü.png",
        "犬/柴犬 1.jpg",
        "quote'\"/line\nbreak",
        "c#%?/100%.png",
    ]
    for name in names:
        write(tmp_path / name, name.encode())
    source = open_source(str(tmp_path), "folder")
    listing = source.list()
    assert ids(listing) == sorted(names)
    assert listing.classes == sorted(name.split("/")[0] for name in names)
    assert [source.read(row).decode() for row in listing.samples.to_pylist()] == sorted(names)


def test_rows_are_in_the_order_of_their_ids_where_folders_nest(tmp_path):
    names = ["a/b.png", "a/b/c.png", "a/b-c/d.png", "a-b/x", "a/a", "a.b/y", "a0/z"]  # '-' < '.' < '/' < '0'
    for name in names:
        write(tmp_path / name, name.encode())
    source = open_source(tmp_path, "folder")
    listing = source.list()
    assert listing.classes == ["a", "a-b", "a.b", "a0"]
    assert ids(listing) == sorted(names) != sorted(names, key=Path)
    assert listing.samples["class_index"].to_pylist() == [1, 2, 0, 0, 0, 0, 3]
    assert [source.read(row).decode() for row in listing.samples.to_pylist()] == sorted(names)


def test_counts_what_it_skips(tmp_path):
    write(tmp_path / "a" / "1.png")
    write(tmp_path / "a" / ".DS_Store")
    write(tmp_path / "a" / ".thumbnails" / "1.png")
    write(tmp_path / ".git" / "config")
    write(tmp_path / "README.txt")
    write(tmp_path / "cover.png")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "itself").symlink_to(tmp_path / "itself")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "only hidden" / ".keep")
    os.mkfifo(tmp_path / "a" / "pipe")
    listing = open_source(tmp_path, "folder").list()
    assert listing.classes == ["a", "empty", "only hidden"]
    assert ids(listing) == ["a/1.png"]
    assert listing.skipped == {
        "broken links outside the class folders": 2,
        "entries that are not regular files": 1,
        "files outside the class folders": 2,
        "hidden files and folders": 4,
    }
    assert listing.notes == {"class folders are empty": 2}


def test_empty_class_keeps_its_index(tmp_path):
    (tmp_path / "a").mkdir()
    write(tmp_path / "b" / "1.png")
    assert open_source(tmp_path, "folder").list().samples["class_index"].to_pylist() == [1]


def test_only_empty_classes_give_an_empty_table(tmp_path):
    (tmp_path / "a").mkdir()
    listing = open_source(tmp_path, "folder").list()
    assert listing.classes == ["a"]
    assert listing.samples.schema == SAMPLES
    assert listing.samples.num_rows == 0


def suspicions(source: Path, caplog) -> list[str]:
    caplog.clear()
    open_source(source, "folder").list()
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_a_source_that_may_be_one_folder_too_high_is_a_warning(tmp_path, caplog):
    for name in (
        "data/ant/1.png",
        "data/bee/1.png",
        "data/bee/deep/2.png",
        "data/list.txt",
        "pk/ant/1.png",
        "pk/cat/1",
    ):
        write(tmp_path / name)
    (tmp_path / "empty").mkdir()
    (warning,) = suspicions(tmp_path, caplog)
    assert all(text in warning for text in ("2 classes", "data, pk", "data/ant, data/bee", str(tmp_path / "data")))


@pytest.mark.parametrize(
    "right",
    [
        ["ant/1.png", "bee/1.png"],
        ["ant/images/1.png", "bee/images/1.png"],  # Tiny ImageNet
        ["ant/left/1.png", "ant/right/1.png", "bee/1.png"],
        ["ant/1.png", "ant/left/1.png", "ant/right/1.png", "bee/left/1.png", "bee/right/1.png"],
    ],
)
def test_class_folders_with_folders_in_them_are_no_suspicion(tmp_path, caplog, right):
    for name in right:
        write(tmp_path / name)
    assert suspicions(tmp_path, caplog) == []


def test_follows_links(tmp_path):
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "root"
    write(elsewhere / "dogs" / "1.png", b"dog")
    write(elsewhere / "more" / "2.png")
    write(root / "cats" / "1.png")
    (root / "dogs").symlink_to(elsewhere / "dogs")
    (root / "cats" / "more").symlink_to("../../elsewhere/more")
    (root / "cats" / "link.png").symlink_to(elsewhere / "dogs" / "1.png")
    source = open_source(root, "folder")
    listing = source.list()
    assert ids(listing) == ["cats/1.png", "cats/link.png", "cats/more/2.png", "dogs/1.png"]
    assert listing.samples["bytes"].to_pylist() == [1, 3, 1, 3]
    assert source.read({"path": "dogs/1.png"}) == b"dog"
    assert listing.skipped == {}


def test_cycles_of_links_end(tmp_path):
    write(tmp_path / "a" / "deep" / "1.png")
    (tmp_path / "a" / "deep" / "to the class").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "to the source").symlink_to(tmp_path)
    (tmp_path / "the source itself").symlink_to(".")
    # two folders that hold a link to one another: each is seen once more from within the other
    write(tmp_path / "b" / "x" / "2.png")
    write(tmp_path / "b" / "y" / "3.png")
    (tmp_path / "b" / "x" / "y").symlink_to("../y")
    (tmp_path / "b" / "y" / "x").symlink_to("../x")
    listing = open_source(tmp_path, "folder").list()
    assert listing.classes == ["a", "b"]
    assert ids(listing) == ["a/deep/1.png", "b/x/2.png", "b/x/y/3.png", "b/y/3.png", "b/y/x/2.png"]
    assert listing.skipped == {"links back to a folder they are in": 5}


def test_broken_link_in_a_class_stays_a_sample(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    source = open_source(tmp_path, "folder")
    (row,) = source.list().samples.to_pylist()
    assert (row["sample_id"], row["bytes"]) == ("a/gone.png", 0)
    with pytest.raises(FileNotFoundError):
        source.read(row)


def test_names_that_are_not_utf8_are_counted(tmp_path):
    write(tmp_path / "a" / "1.png")
    try:
        write(tmp_path / "a" / os.fsdecode(b"\xff.png"))
        write(tmp_path / os.fsdecode(b"class \xe4") / "1.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    listing = open_source(tmp_path, "folder").list()
    assert listing.classes == ["a"]
    assert ids(listing) == ["a/1.png"]
    assert listing.skipped == {"names that are not valid UTF-8": 2}


@pytest.fixture
def unprivileged_folder():
    """Make a folder in which permissions count, even if the tests run as root."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        root = os.geteuid() == 0
        try:
            yield folder, lambda: os.seteuid(65534) if root else None
        finally:
            if root:
                os.seteuid(0)
            for path in [path for path in folder.iterdir() if not path.is_symlink()]:
                path.chmod(0o755)


def test_class_folder_that_cannot_be_listed_is_an_error(unprivileged_folder):
    folder, drop_privileges = unprivileged_folder
    write(folder / "a" / "1.png")
    write(folder / "b" / "1.png")
    (folder / "b").chmod(0)
    drop_privileges()
    with pytest.raises(LabelsimError, match=r"b cannot be listed: Permission denied"):
        open_source(folder, "folder").list()


def test_link_whose_target_cannot_be_looked_at_is_an_error(unprivileged_folder):
    folder, drop_privileges = unprivileged_folder
    write(folder / "locked" / "inner" / "1.png")
    (folder / "link").symlink_to(folder / "locked" / "inner")
    (folder / "locked").chmod(0)
    drop_privileges()
    with pytest.raises(LabelsimError, match=r"link cannot be looked at: Permission denied|locked cannot be"):
        open_source(folder, "folder").list()


def test_missing_source_is_an_error(tmp_path):
    source = open_source(tmp_path / "missing", "folder")
    assert source.state() == "missing"
    with pytest.raises(LabelsimError, match="missing cannot be listed: No such file or directory"):
        source.list()


def test_source_that_is_a_file_is_an_error(tmp_path):
    source = open_source(write(tmp_path / "images.tar"), "folder")
    assert source.state() == "missing"
    with pytest.raises(LabelsimError, match=r"images\.tar cannot be listed: Not a directory"):
        source.list()


def test_no_class_folders_is_an_error(tmp_path):
    write(tmp_path / "notes.txt")
    with pytest.raises(LabelsimError, match=rf"dataset\.source: .*class folders in {tmp_path}\.") as error:
        open_source(tmp_path, "folder").list()
    assert "dataset.format" not in str(error.value)


def test_images_without_class_folders_are_pointed_out(tmp_path):
    write(tmp_path / "b.JPEG")
    write(tmp_path / "a.png")
    write(tmp_path / "notes.txt")
    with pytest.raises(
        LabelsimError,
        match=r"dataset\.source: .* 2 images, such as a\.png\. .*dataset\.format: flat, and dataset\.labels",
    ):
        open_source(tmp_path, "folder").list()


def test_state_changes_when_images_come_or_go(tmp_path):
    (tmp_path / "outside").mkdir()
    root = tmp_path / "root"
    first = write(root / "a" / "1.png")
    (root / "linked").symlink_to(tmp_path / "outside")
    source = open_source(root, "folder")
    states = [source.state()]
    assert source.state() == states[0]
    for change in (
        lambda: write(root / "a" / "2.png"),
        lambda: first.unlink(),
        lambda: (root / "b").mkdir(),
        lambda: write(tmp_path / "outside" / "3.png"),
        lambda: (root / "b").rename(root / "c"),
    ):
        change()
        states.append(source.state())
    assert len(set(states)) == len(states)


def test_unsupported_format_names_what_is_supported(tmp_path):
    with pytest.raises(LabelsimError, match="'lmdb' is not supported; choose one of: auto, folder"):
        open_source(tmp_path, "lmdb")


def test_digest_is_blake2b_of_16_bytes():
    # known answer, from `printf abc | b2sum -l 128`
    assert digest(b"abc") == "cf4ab791c62b8d2b2109c90275287816"


def test_folders_that_are_numbers_of_imagenets_classes(tmp_path):
    """Folder 10 comes before folder 2, and its class after."""
    for number in (0, 2, 10, 999):
        write(tmp_path / f"{number}" / "1.png", str(number).encode())
    wnids = list(imagenet_names())
    source = open_source(tmp_path, labels="imagenet-1k")
    listing = source.list()
    assert listing.classes == [wnids[number] for number in (0, 2, 10, 999)]
    assert ids(listing) == [f"{wnid}/1.png" for wnid in listing.classes]
    assert listing.samples["path"].to_pylist() == ["0/1.png", "2/1.png", "10/1.png", "999/1.png"]
    assert listing.samples["class_index"].to_pylist() == [0, 1, 2, 3]
    assert [source.read(row) for row in listing.samples.to_pylist()] == [b"0", b"2", b"10", b"999"]
    for labels in ("auto", "as-is"):  # torchvision's order
        assert open_source(tmp_path, labels=labels).list().classes == ["0", "10", "2", "999"]


def test_a_thousand_folders_that_are_numbers_are_as_they_are(tmp_path):
    for number in range(1000):
        (tmp_path / f"{number}").mkdir()
    assert open_source(tmp_path).list().classes == sorted(map(str, range(1000)))


def test_labels_of_folders_from_a_file(tmp_path):
    for name in ("images/Hund/1.png", "images/Katze/x/1.png", "images/Katze/2.png", "images/Welpe/3.png"):
        write(tmp_path / name)
    (tmp_path / "images/Wolf").mkdir()
    file = write(tmp_path / "labels.csv", b"label,class_id\nHund,dog\nKatze,cat\nWelpe,dog\nWolf,wolf\nAffe,ape\n")
    listing = open_source(tmp_path / "images", labels=str(file)).list()
    assert listing.classes == ["cat", "dog", "wolf"]
    assert ids(listing) == ["cat/2.png", "cat/x/1.png", "dog/1.png", "dog/3.png"]
    assert listing.samples["path"].to_pylist() == ["Katze/2.png", "Katze/x/1.png", "Hund/1.png", "Welpe/3.png"]
    write(tmp_path / "images/Welpe/1.png")
    with pytest.raises(LabelsimError, match=r"dataset\.source: .*'dog/1\.png': Hund/1\.png and Welpe/1\.png"):
        open_source(tmp_path / "images", labels=str(file)).list()


@pytest.mark.parametrize("text", [None, "label,class_id\ncat,a\n", "image,class_id\n1.png,a\n"])
def test_labels_that_do_not_fit_the_folders_are_an_error(tmp_path, text):
    write(tmp_path / "images/cat/1.png")
    write(tmp_path / "images/dog/1.png")
    if text is not None:
        (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(LabelsimError, match=r"dataset\.labels: .*labels\.csv"):
        open_source(tmp_path / "images", labels=str(tmp_path / "labels.csv")).list()

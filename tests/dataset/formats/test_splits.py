"""Which files are taken together, by their names alone: split_files opens none."""

import re
from pathlib import Path

import pytest

from labelsim.dataset.formats.splits import find, split_files
from labelsim.errors import LabelsimError


@pytest.fixture
def make(tmp_path):
    def make(*names: str) -> Path:
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / f"{name}.parquet").touch()
        return tmp_path

    return make


def names(source: Path) -> list[str]:
    return [file.stem for file in split_files(source)]


SPLITS = [
    (["train-00000-of-00001", "validation-00000-of-00001", "test-00000-of-00001"], "train-00000-of-00001"),
    (["a-00000-of-00001", "b-00000-of-00002", "b-00001-of-00002"], "b-00000-of-00002 b-00001-of-00002"),
    (["train", "valid"], "train"),
    (["my_test_0", "my_test_1", "my_val_0"], "my_val_0"),
    (["x-train-0", "x-train-1", "x-eval"], "x-train-0 x-train-1"),
    (["train-00000-of-00001", "Validation"], "train-00000-of-00001"),
]


@pytest.mark.parametrize(("files", "one"), SPLITS)
def test_several_splits_are_an_error_that_names_both_ways_out(make, files, one):
    folder = make(*files)
    for source in (folder, folder / "*.parquet", folder / "*.p*"):
        with pytest.raises(LabelsimError, match=r"dataset\.source: .* more than one split") as error:
            split_files(source)
        pattern, braces = re.findall(rf"{folder}/[^ ;]*\.parquet[^ ;]*", str(error.value))[-2:]
        assert names(pattern) == one.split()
        assert names(braces) == sorted(files)


@pytest.mark.parametrize(
    ("files", "source"),
    [
        (["train/0000", "validation/0000"], "*/*.parquet"),
        (["train/data-00000-of-00001", "validation/data-00000-of-00001"], "*"),  # by their names they are one
        (["d/train2017/0", "d/train2017/1", "d/val2017/0"], "*/*/*.parquet"),
        (["set-train/a/0", "set-test/a/0"], "*/a/*.parquet"),
    ],
)
def test_splits_are_told_by_folders(make, files, source):
    folder = make(*files)
    with pytest.raises(LabelsimError, match=r"dataset\.source: .* more than one split") as error:
        split_files(folder / source)
    pattern, braces = re.findall(rf"{folder}/[^ ;]*\.parquet[^ ;]*", str(error.value))[-2:]
    assert 0 < len(names(pattern)) < len(files)
    assert names(braces) == [Path(file).name for file in sorted(files)]


def test_what_lies_above_all_files_tells_no_split(make):
    folder = make("train/a/test-0", "train/b/test-1", "val/c/0")
    assert names(folder / "train/*/*.parquet") == ["test-0", "test-1"]


@pytest.mark.parametrize("files", [files for files, _ in SPLITS])
def test_several_splits_may_be_named_with_braces(make, files):
    folder = make(*files)
    assert names(folder / f"{{{','.join(files)}}}.parquet") == sorted(files)


def test_each_expansion_of_the_braces_is_looked_at_by_itself(make):
    folder = make(*(f"{split}-0000{i}-of-00002" for split in ("train", "validation", "test") for i in range(2)))
    assert len(split_files(folder / "{train,validation}-*.parquet")) == 4
    with pytest.raises(LabelsimError, match="more than one split"):
        split_files(folder / "{t*,validation-*}.parquet")
    (folder / "validation-00001-of-00002.parquet").unlink()
    with pytest.raises(LabelsimError, match=r"validation-00001-of-00002\.parquet"):
        split_files(folder / "{train,validation}-*.parquet")


def test_splits_in_folders_of_their_own(make):
    folder = make("x/data/train-0", "y/val-0", "y/val-1")
    assert names(folder / "{x,y}") == ["train-0", "val-0", "val-1"]
    assert find(folder / "{x,y}") == split_files(folder / "{x,y}")
    with pytest.raises(LabelsimError, match=r"more than one split.*\{x/data/\*train\*\.parquet,y/\*val\*\.parquet\}$"):
        split_files(folder / "[xy]")


@pytest.mark.parametrize(
    "files",
    [
        ["train", "bus", "car"],  # vehicles
        ["test", "probe"],
        ["train-00000-of-00001", "extra"],
        ["part-0", "part-1"],
        ["cars_train", "train_of_cars"],
        [f"set-{number}-of-3" for number in range(3)],
    ],
)
def test_a_name_that_says_nothing_of_a_split_is_no_split(make, files):
    assert names(make(*files)) == sorted(files)


def test_many_names_in_braces(make):
    """More than a file name may have characters."""
    files = [f"train-{number:05d}-of-01024" for number in range(40)]
    assert names(make(*files) / f"{{{','.join(files)}}}.parquet") == files


def test_what_is_no_regular_file_is_an_error(make):
    (make("a") / "b.parquet").symlink_to("b.parquet")
    for source in ("b.parquet", "{a,b}.parquet", "missing.parquet", "a.parquet/b.parquet"):
        with pytest.raises(LabelsimError, match=r"dataset\.source: .*there is no .*\.parquet"):
            split_files(make() / source)


def test_a_brace_without_a_partner_is_an_error(make):
    with pytest.raises(LabelsimError, match=r"dataset\.source: .*train-\{0000"):
        split_files(make("train-0000") / "train-{0000.parquet")

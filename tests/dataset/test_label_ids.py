import random

import pyarrow as pa
import pytest
from pyarrow import parquet

from labelsim.dataset.classes import imagenet_names
from labelsim.dataset.sources.label_ids import class_ids
from labelsim.errors import LabelsimError

THOUSAND = random.Random(0).sample(range(1000), 1000)


@pytest.mark.parametrize("how", ["auto", "as-is"])
def test_numbers_come_in_their_order(how):
    ids = class_ids([10, 9, 10, -1, 100], how)
    assert list(ids.items()) == [(-1, "-1"), (9, "9"), (10, "10"), (100, "100")]
    assert list(class_ids(["10", "9", 100], how).items()) == [("9", "9"), ("10", "10"), (100, "100")]


def test_texts_are_sorted():
    assert list(class_ids(["snail", "Käse", "owl", "owl"], "auto").values()) == ["Käse", "owl", "snail"]
    # not one of these is a number as a number is written
    assert list(class_ids(["7", "07", " 7", "1_0", "٣", "-0", "9" * 5000], "auto").values()) == sorted(
        ["7", "07", " 7", "1_0", "٣", "-0", "9" * 5000]
    )


def test_a_number_and_its_text_are_one_label():
    ids = class_ids([5, "5"], "auto")
    assert ids == {5: "5", "5": "5"}


def test_no_labels():
    assert class_ids([], "auto") == {}


@pytest.mark.parametrize("labels", [THOUSAND, [str(label) for label in THOUSAND]])
def test_a_thousand_numbers_need_a_word(labels):
    with pytest.raises(LabelsimError, match=r"1,000 numbered classes.*dataset\.labels: imagenet-1k.*as-is.*label and"):
        class_ids(labels, "auto")
    assert list(class_ids(labels, "as-is").values()) == [str(i) for i in range(1000)]
    ids = class_ids(labels, "imagenet-1k")
    # the order of torchvision's and timm's networks: label i is the i-th of the sorted wnids
    assert list(ids.values()) == sorted(imagenet_names())
    one = type(labels[0])(1)
    assert ids[one] == "n01443537"


@pytest.mark.parametrize("labels", [range(999), range(1, 1001), [*range(1000), "owl"], range(1001)])
def test_other_numbers_are_taken_as_they_are(labels):
    assert set(class_ids(labels, "auto").values()) == {str(label) for label in labels}


def test_imagenet_labels_that_occur():
    assert list(class_ids([2, "0", 2], "imagenet-1k").items()) == [("0", "n01440764"), (2, "n01484850")]
    with pytest.raises(LabelsimError, match=r"dataset\.labels: .*: 1000, -1, 'owl' and 1 more$"):
        class_ids([3, 1000, -1, "owl", "07"], "imagenet-1k")


@pytest.mark.parametrize("kind", ["csv", "numbers.parquet", "texts.parquet"])
def test_file_of_numbers(tmp_path, kind):
    file = tmp_path / f"map.{kind}"
    labels, ids = [0, 10, 9, 3], ["zebra", "ant", "owl", "zebra"]
    if kind == "csv":
        rows = "".join(f"{label},{class_id},x\n" for label, class_id in zip(labels, ids, strict=True))
        file.write_text("label,class_id,more\n" + rows)
    else:
        column = labels if kind.startswith("numbers") else [str(label) for label in labels]
        parquet.write_table(pa.table({"label": column, "class_id": ids}), file)
    assert list(class_ids([10, 9, 0, 3], str(file)).items()) == [(0, "zebra"), (3, "zebra"), (9, "owl"), (10, "ant")]
    assert list(class_ids(["9", 0], str(file)).items()) == [(0, "zebra"), ("9", "owl")]
    with pytest.raises(LabelsimError, match=rf"labels that are not in the column label of {file}: 4, 'x'"):
        class_ids([10, 4, "x"], str(file))


def test_file_of_texts(tmp_path):
    file = tmp_path / "map.csv"
    file.write_text("label,class_id\nHund,dog\nKatze,cat\n007,spy\n")
    assert list(class_ids(["Hund", "007", "Katze"], str(file)).items()) == [
        ("Katze", "cat"),
        ("Hund", "dog"),
        ("007", "spy"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,name\n1,a\n", "must have the columns label and class_id"),
        ("label,class_id\n1,a\n1,b\n", "has a label more than once: 1"),
        ("label,class_id\n1,\n", "row 1 of .* lacks its label or its class_id"),
        (None, "cannot be read: .*with the columns label and class_id"),
    ],
)
def test_file_that_cannot_be_used(tmp_path, text, message):
    file = tmp_path / "map.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(LabelsimError, match=rf"dataset\.labels: .*{message}"):
        class_ids([1], str(file))


def test_empty_label_is_an_error():
    with pytest.raises(LabelsimError, match="empty label"):
        class_ids(["a", ""], "auto")

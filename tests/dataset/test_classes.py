import re

import pyarrow as pa
import pytest
from pyarrow import parquet

from labelsim.dataset.classes import class_names, find_class, imagenet_names, read_class_table
from labelsim.errors import LabelsimError

IDS = ["n01440764", "n02012849", "n03126707", "my class"]
NAMES = ["tench", "crane bird", "construction crane", "my class"]


def test_all_imagenet_names_are_unique_without_case():
    names = imagenet_names()
    assert len(names) == 1000
    assert all(re.fullmatch(r"n\d{8}", wnid) for wnid in names)
    assert len({name.casefold() for name in names.values()}) == 1000
    assert all(name == name.strip() != "" for name in names.values())


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
    with pytest.raises(LabelsimError, match=r"names none of the dataset's classes: .*'other'.*'n01440764'"):
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
        ("id,name\n1,one\n", "must have the columns class_id and name, once each; its columns are: id, name"),
        ("class_id,name,name\n1,one,two\n", "once each; its columns are: class_id, name, name"),
        ("class_id,name\n1,one\n2,two\n1,uno\n", "has a class_id more than once: 1$"),
        ("class_id,name\n1,one\n2, \n", "row 2 of .* lacks its class_id or its name"),
        ("class_id,name\n,one\n", "row 1 of .* lacks its class_id or its name"),
        ("class_id,name\n1,one,more\n", "cannot be read: .*Expected 2 columns, got 3"),
        ("", "cannot be read: .*Expected is a CSV or Parquet file"),
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
    with pytest.raises(LabelsimError, match=f"no class is called '{query}'; give a class's id"):
        find_class(query, IDS, NAMES)


def test_no_such_class_suggests_near_names():
    with pytest.raises(LabelsimError, match="did you mean: Baseball, basketball"):
        find_class("basbal", ["a", "b", "c"], ["Baseball", "basketball", "tench"])

import json
import os
import re

import pytest

from labelsim.errors import LabelsimError
from labelsim.storage.json_files import read_document, write_document

CONTENTS = {"name": "é日", "values": [1, None, 0.1, 1e-30, "line\u2028end"], "one": {"two": True}}


def test_a_document_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / "new folder" / "a.json"
    write_document(path, CONTENTS)
    assert read_document(path) == CONTENTS
    assert [file.name for file in path.parent.iterdir()] == ["a.json"]


def test_other_programs_find_the_contents_and_one_key_more(tmp_path):
    write_document(tmp_path / "a.json", CONTENTS)
    contents = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert len(contents.pop("checksum")) == 32
    assert contents == CONTENTS


def test_a_document_that_was_read_can_be_written_again(tmp_path):
    write_document(tmp_path / "a.json", CONTENTS)
    write_document(tmp_path / "b.json", read_document(tmp_path / "a.json"))
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_document_in_which_anything_changed_is_named(tmp_path):
    path = tmp_path / "results" / "toy" / "network.json"
    write_document(path, CONTENTS)
    whole = path.read_bytes()
    broken = [whole[:size] for size in range(len(whole))] + [whole + b"\n", bytes(len(whole)), b"[]", b"1"]
    for position in range(len(whole)):
        broken += [whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1 :] for bit in range(8)]
    for data in broken:
        path.write_bytes(data)
        with pytest.raises(LabelsimError, match=re.escape(f"{path} is damaged")) as caught:
            read_document(path)
        assert str(caught.value).endswith("snakemake [your options] --force results/toy/network.json")


def test_a_document_without_a_checksum_is_of_another_version(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(CONTENTS, indent=1) + "\n")
    with pytest.raises(LabelsimError, match="another version of labelsim"):
        read_document(tmp_path / "a.json")


def test_a_missing_document_is_named(tmp_path):
    with pytest.raises(LabelsimError, match="does not exist") as caught:
        read_document(tmp_path / "a.json")
    assert str(tmp_path / "a.json") in str(caught.value)


def test_a_document_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_document(path, {"old": 1})
    for value in ({"new": object()}, {"new": float("nan")}):
        with pytest.raises((TypeError, ValueError)):
            write_document(path, value)
    assert read_document(path) == {"old": 1}


def test_a_document_replaces_the_file_and_is_not_written_into_it(tmp_path):
    path, link = tmp_path / "a.json", tmp_path / "link.json"
    write_document(path, {"old": 1})
    os.link(path, link)  # whoever has the old file open keeps reading the old file
    write_document(path, {"new": 2})
    assert read_document(link) == {"old": 1}
    assert read_document(path) == {"new": 2}

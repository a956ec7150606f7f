from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from labelsim.analysis.reference import reference
from labelsim.analysis.wordnet import NOUNS
from labelsim.analysis.wordnet.build import build
from labelsim.analysis.wordnet.tables import BRANCHES, wordnet
from labelsim.dataset.imagenet import imagenet_names

SOURCE = Path("/usr/share/wordnet/data.noun")


@pytest.mark.skipif(not SOURCE.is_file(), reason="Debian's wordnet-base is not installed")
def test_the_table_is_what_the_script_makes():
    assert build(SOURCE).equals(parquet.read_table(NOUNS))


def test_the_table_holds_all_nouns_below_one_root():
    table = parquet.read_table(NOUNS).to_pydict()
    assert len(table["offset"]) == 82_115  # of the manual page wnstats
    assert table["offset"] == sorted(table["offset"])
    above, hyponyms = (dict(zip(table["offset"], table[name], strict=True)) for name in ("hypernyms", "hyponyms"))
    assert [offset for offset, hypernyms in above.items() if not hypernyms] == [1740]  # entity
    assert hyponyms[1740] == 82_114
    assert above[10954498] == [10428004]  # Einstein is a physicist, an instance
    assert table["lemmas"][table["offset"].index(2084071)] == ["dog", "domestic dog", "Canis familiaris"]
    assert all(table["lemmas"])
    assert not any("_" in word for words in table["lemmas"] for word in words)


def test_hyponyms_are_counted_once_and_instances_too(tmp_path):
    file = tmp_path / "data.noun"
    lines = [
        "  1 The licence",
        "00000010 03 n 01 thing 0 001 ~ 00000020 n 0000 | all there is",
        "00000020 03 n 0a a_b 0 B 1 c 0 d 0 e 0 f 0 g 0 h 0 i 0 j 0 002 @ 00000010 n 0000 + 00000099 v 0101 | ten",
        "00000030 03 n 01 other 0 001 @ 00000010 n 0000 | a kind",
        "00000040 03 n 01 both 0 002 @ 00000030 n 0000 @ 00000020 n 0000 | a kind of both",
        "00000050 03 n 01 Einstein 0 002 @i 00000040 n 0000 #p 00000020 n 0000 | an instance",
    ]
    file.write_text("\n".join(lines), encoding="ascii")
    assert build(file).to_pydict() == {
        "offset": [10, 20, 30, 40, 50],
        "lemmas": [["thing"], ["a b", "B", *"cdefghij"], ["other"], ["both"], ["Einstein"]],
        "hypernyms": [[], [10], [10], [30, 20], [40]],
        "hyponyms": [4, 2, 2, 1, 0],
    }


# In no order: screw, a name, tench, a number that is no offset, knot, goldfish, physicist, a verb's number.
IDS = ["n04153751", "cat", "n01440764", "n00000001", "n03627232", "n01443537", "n10428004", "v00001740"]
KNOWN = [0, 2, 4, 5, 6]


def run_tables(ids, pairs):
    """The columns that are read of a run's tables."""
    index = pa.array(range(len(ids)), pa.int32())
    classes = pa.table({"class_index": index, "class_id": pa.array(ids, pa.string()), "used": index})
    one, other = np.array(pairs, dtype=np.int32).reshape(-1, 2).T
    names = pa.array([f"name of {id_}" for id_ in ids], pa.string())
    return classes.append_column("class_name", names), pa.table({"class_index": one, "neighbor_index": other})


def test_words_and_pairs_of_the_classes_that_wordnet_knows():
    pairs = [(i, j) for i in range(8) for j in range(8) if i != j]
    np.random.default_rng(0).shuffle(pairs)
    found, of_pairs = wordnet(*run_tables(IDS, [*pairs, *pairs[:20]]))  # some by several methods
    assert found.column_names == ["class_index", "class_id", "class_name", "synonyms", "branch"]
    assert found["class_index"].to_pylist() == KNOWN
    assert found["class_name"].to_pylist() == [f"name of {IDS[i]}" for i in KNOWN]
    synonyms = [["screw"], ["tench", "Tinca tinca"], ["knot"], ["goldfish", "Carassius auratus"], ["physicist"]]
    assert found["synonyms"].to_pylist() == synonyms

    of_pairs = of_pairs.to_pylist()
    where = [(row["class_index"], row["neighbor_index"]) for row in of_pairs]
    assert where == [(i, j) for i in KNOWN for j in KNOWN if i != j]
    (wup,) = [matrix.rows(slice(0, 8)) for matrix in reference(IDS, None) if matrix.group == "wup"]
    np.testing.assert_array_equal(np.float32([row["wup"] for row in of_pairs]), wup[tuple(np.transpose(where))])
    named = {row["class_id"] + row["neighbor_id"]: (row["ancestor"], row["wup"]) for row in of_pairs}
    # Knot and screw are the 10th synset from the root, below fastener; both fishes are the 17th, below cyprinid.
    assert named["n04153751n03627232"] == named["n03627232n04153751"] == ("fastener", 9 / 10)
    assert named["n01440764n01443537"] == ("cyprinid", 16 / 17)
    assert named["n01440764n10428004"][0] == "organism"


def test_branches_are_named_after_their_roots():
    # Three dogs of different kinds, a cat, two screws.
    ids = ["n02085620", "n03627232", "n02099601", "n02123045", "n04153751", "n02110341"]
    found, pairs = wordnet(*run_tables(ids, []))
    branches = ["dog", "fastener", "dog", "tabby", "fastener", "dog"]
    assert found["branch"].to_pylist() == branches
    assert len(pairs) == 0


def test_branches_of_imagenet():
    found, _ = wordnet(*run_tables([*reversed(imagenet_names())], []))
    sizes = Counter(found["branch"].to_pylist())
    assert len(sizes) == BRANCHES
    assert sum(sizes.values()) == 1000
    # It has 118 breeds of dogs, and 59 birds.
    assert {name: sizes[name] for name in ("dog", "bird")} == {"dog": 118, "bird": 59}
    assert "other mammal" in sizes
    assert max(sizes.values()) < 4 * min(sizes.values())


@pytest.mark.parametrize("ids", [[], ["cat"], ["cat", "n00000001", "01440764"]])
def test_the_tables_are_empty_where_no_id_is_a_wnid(ids):
    pairs = [(i, j) for i in range(len(ids)) for j in range(len(ids)) if i != j]
    expected = wordnet(*run_tables(IDS, [(0, 2)]))
    for table, other in zip(wordnet(*run_tables(ids, pairs)), expected, strict=True):
        assert len(table) == 0
        assert table.schema == other.schema


def test_one_class_is_a_branch_of_its_own():
    found, pairs = wordnet(*run_tables(["n01440764"], []))
    assert found.to_pylist() == [
        {
            "class_index": 0,
            "class_id": "n01440764",
            "class_name": "name of n01440764",
            "synonyms": ["tench", "Tinca tinca"],
            "branch": "tench",
        }
    ]
    assert len(pairs) == 0

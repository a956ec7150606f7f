"""judgement, agreement and wordnet on the stores of a whole run: two of its classes are known to WordNet."""

import csv
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import toy
from stagewise import run_stages

from labelsim.config import load
from labelsim.run import open_run
from labelsim.stages.agreement import agreement
from labelsim.stages.judgement import judgement
from labelsim.stages.wordnet import wordnet
from labelsim.storage.digests import file_digest
from labelsim.storage.parquet import read_metadata, read_table


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = toy.write(tmp_path_factory.mktemp("reference") / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_stages(load(toy.config()))
    return open_run(folder / "results/toy")


def made(run, stage, file=None):
    output = Path(run.paths.analysis(stage.__name__))
    stage(Path(run.paths.similarity), Path(run.paths.neighbors), file, output)
    table = read_table(output)
    made_from = {"reference": file or "WordNet 3.0", "neighbors_digest": file_digest(Path(run.paths.neighbors))}
    assert read_metadata(table) == {**run.provenance(), **made_from}
    return table


def test_two_fishes_known_to_wordnet(run):
    rows = made(run, judgement).to_pylist()
    methods = [(row["method"], row["group"]) for row in rows[::3]]
    by_group = [(method, group) for method in ("welch", "gap") for group in ("all", "early", "late")]
    assert sorted(methods) == sorted([("hidden", "all"), *by_group])
    for row in rows:
        # Each is the only other class that WordNet knows. Both are the 17th synset from the root, below a cyprinid.
        expected = {"wup": 16 / 17, "path": 1 / 3, "lin": 0.763169498302}[row["measure"]]
        assert row["classes"] == 2
        assert [row[name] for name in ("mean", "random", "best")] == pytest.approx([expected] * 3, rel=1e-6)
        assert row["spearman"] is None
        if row["method"] != "hidden":
            assert (row["difference"], row["low"], row["high"]) == (0, 0, 0)


def test_a_reference_of_all_classes(run, tmp_path):
    ids = run.classes()["class_id"].to_pylist()
    random = np.random.default_rng(0)
    human = {pair: round(random.random(), 6) for pair in combinations(ids, 2)}
    with (tmp_path / "human.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["similarity", "class_id", "neighbor_id"])
        writer.writerows((value, a, b) for (a, b), value in human.items())
    both = {**human, **{(b, a): value for (a, b), value in human.items()}}
    found = {
        (row["method"], row["group"]): row for row in made(run, judgement, str(tmp_path / "human.csv")).to_pylist()
    }
    # The classes of the hidden state are those of the table of neighbors.
    rows = run.neighbors().to_pylist()
    by_class = {}
    for row in rows:
        if row["method"] == "hidden":
            by_class.setdefault(row["class_id"], []).append(both[row["class_id"], row["neighbor_id"]])
    hidden = found["hidden", "all"]
    assert hidden["k"] == 5
    assert hidden["classes"] == len(by_class) == 12  # the empty class has no similarity
    assert hidden["mean"] == pytest.approx(np.mean([np.mean(values) for values in by_class.values()]), rel=1e-6)
    assert found["welch", "all"]["classes"] == 11  # nor has the class of one image
    assert hidden["random"] < hidden["best"]


def test_each_two_matrices_of_the_run_and_of_the_reference(run):
    rows = made(run, agreement).to_pylist()
    assert len(rows) == math.comb(7 + 3, 2)
    of_reference = [row for row in rows if "reference" in (row["method_a"], row["method_b"])]
    assert {row["classes"] for row in of_reference} == {2}
    neighbors = {}
    for row in run.neighbors().to_pylist():
        neighbors.setdefault((row["method"], row["group"], row["class_id"]), set()).add(row["neighbor_id"])
    (hidden_gap,) = [row for row in rows if {("hidden", "all"), ("gap", "all")} == names(row)]
    shares = [
        len(found & neighbors["gap", "all", id_]) / 5
        for (method, _, id_), found in neighbors.items()
        if method == "hidden"
    ]
    assert hidden_gap["classes"] == len(shares) == 12
    assert hidden_gap["overlap"] == pytest.approx(np.mean(shares), rel=1e-12)
    assert hidden_gap["low"] <= hidden_gap["overlap"] <= hidden_gap["high"]


def names(row):
    return {(row[f"method_{side}"], row[f"group_{side}"]) for side in "ab"}


def test_the_neighbors_that_wordnet_knows(run):
    tables = [Path(run.paths.analysis(name)) for name in ("wordnet", "wordnet_pairs")]
    wordnet(Path(run.paths.classes), Path(run.paths.neighbors), *tables)
    classes, pairs = map(read_table, tables)
    for table in (classes, pairs):
        assert read_metadata(table) == {
            **run.provenance(),
            "neighbors_digest": file_digest(Path(run.paths.neighbors)),
        }
    names = dict(zip(*(run.classes()[name].to_pylist() for name in ("class_id", "class_name")), strict=True))
    fishes = ["n01440764", "n01443537"]
    assert classes["class_id"].to_pylist() == fishes
    assert classes["class_name"].to_pylist() == [names[fish] for fish in fishes]
    assert [words[0] for words in classes["synonyms"].to_pylist()] == ["tench", "goldfish"]
    assert classes["branch"].to_pylist() == ["cyprinid", "cyprinid"]
    expected = {
        (row["class_index"], row["neighbor_index"], row["class_id"], row["neighbor_id"])
        for row in run.neighbors().to_pylist()
        if row["class_id"] in fishes and row["neighbor_id"] in fishes
    }
    assert expected
    keys = ("class_index", "neighbor_index", "class_id", "neighbor_id")
    assert [tuple(row[key] for key in keys) for row in pairs.to_pylist()] == sorted(expected)
    assert {(row["ancestor"], row["wup"]) for row in pairs.to_pylist()} == {("cyprinid", 16 / 17)}

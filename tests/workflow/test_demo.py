"""The demo: the repository's own configuration, from training the network to the HTML report."""

import json
import re

import pytest
from PIL import Image
from pyarrow import parquet
from workflows import REPOSITORY

from labelsim.methods import METHODS


@pytest.fixture(scope="module")
def demo(tmp_path_factory, run):
    """The results of `make demo` where they are up to date, else of a run elsewhere."""
    if (REPOSITORY / "results").exists() and "Nothing to be done" in run(REPOSITORY, "--dry-run").output:
        return REPOSITORY / "results"
    folder = tmp_path_factory.mktemp("demo")
    outcome = run(folder)
    assert outcome.code == 0, outcome.output
    return folder / "results"


def test_network_recognizes_digits(demo):
    metrics = json.loads((demo / "demo-data/resnet18.json").read_text(encoding="utf-8"))
    assert metrics["accuracy"] >= 0.95


def test_run_has_several_shards(demo):
    index = json.loads((demo / "demo/shards/index.json").read_text(encoding="utf-8"))
    assert len(index["shards"]) >= 2
    assert sum(shard["images"] for shard in index["shards"]) == index["images"] == 901


def test_classes(demo):
    classes = parquet.read_table(demo / "demo/classes.parquet").to_pydict()
    assert classes["class_id"] == [str(digit) for digit in range(10)]
    assert classes["rejected"] == [0] * 10
    right = sum(used * top1 for used, top1 in zip(classes["used"], classes["top1"], strict=True))
    assert right / sum(classes["used"]) >= 0.95


def test_every_digit_has_neighbors_by_every_method(demo):
    rows = parquet.read_table(demo / "demo/neighbors.parquet").to_pylist()
    assert {row["method"] for row in rows} == set(METHODS)
    assert {row["group"] for row in rows} == {"all", "layer1", "layer2", "layer3", "layer4"}
    for method in METHODS:
        for digit in range(10):
            found = [
                row for row in rows if (row["method"], row["group"], row["class_name"]) == (method, "all", str(digit))
            ]
            assert [row["rank"] for row in found] == [1, 2, 3]
            assert len({row["neighbor_index"] for row in found} - {digit}) == 3


def test_every_analysis_has_rows(demo):
    tables = {path.stem: parquet.read_table(path) for path in (demo / "demo/analysis").glob("*.parquet")}
    expected = {"stability", "class_stability", "judgement", "agreement", "examples", "evidence_images", "map", "tree"}
    assert expected <= set(tables)
    empty = {name for name, table in tables.items() if not len(table)}
    assert empty == {"wordnet", "wordnet_pairs"}  # the ids are digits, not wnids


def test_figures(demo):
    figures = {path.relative_to(demo / "demo/report").as_posix() for path in demo.glob("demo/report/*/*")}
    expected = {f"neighbors/{digit}.png" for digit in (3, 7, 8)} | {f"heatmaps/{method}.png" for method in METHODS}
    assert expected <= figures  # more if other classes were drawn before
    for figure in expected:
        with Image.open(demo / "demo/report" / figure) as image:
            assert image.format == "PNG"
            assert all(300 <= pixels <= 6000 for pixels in image.size)


def test_second_run_has_nothing_to_do(demo, run):
    outcome = run(demo.parent, "--dry-run")  # the demo may be that of the repository, where somebody works
    assert outcome.code == 0
    assert outcome.jobs == []


def test_report(demo, tmp_path, run):
    page = tmp_path / "report.html"
    outcome = run(demo.parent, "--report", str(page))
    assert outcome.code == 0, outcome.output
    html = page.read_text(encoding="utf-8")
    for name in ("3.png", "welch.png", "Similar labels", "Similarity matrices"):
        assert name in html


def test_the_graph_of_rules_in_the_documents_is_that_of_snakemake(demo, run):
    drawn = run(demo.parent, "--rulegraph", "mermaid-js").output
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", drawn))
    edges = {(names[a], names[b]) for a, b in re.findall(r"(id\d+) --> (id\d+)", drawn)}
    page = (REPOSITORY / "docs/rules.md").read_text(encoding="utf-8")
    lines = re.findall(r"^    (\w+) --> (.*)$", page, re.MULTILINE)
    listed = {(rule, after) for rule, others in lines for after in others.split(" & ")}
    assert listed == {(rule, after) for rule, after in edges if after != "all"}


@pytest.mark.parametrize(("page", "number"), [("README.md", 4), ("docs/analysis.md", 12)])
def test_python_of_the_documents_runs(demo, monkeypatch, capsys, page, number):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == number
    monkeypatch.chdir(demo.parent)
    names: dict = {}  # the blocks of a page follow one another
    for block in blocks:
        exec(compile(block, page, "exec"), names)
        assert capsys.readouterr().out.strip()

"""What runs again after a change of labelsim's own code."""

import ast
import shutil

import pytest
from small import each, since

OTHERS = (".*", "tests", "docs", "benchmarks", "results", "__pycache__", "*.egg-info")


@pytest.fixture
def workflow(rerun, tmp_path):
    """The folder `workflow` of another checkout of the repository, which is what runs, to be edited."""
    checkout = tmp_path / "checkout"
    # Copied without the files' times: all of them are newer than the run.
    options = {"symlinks": True, "ignore": shutil.ignore_patterns(*OTHERS), "copy_function": shutil.copyfile}
    rerun.repository = shutil.copytree(rerun.repository, checkout, **options)
    return checkout / "workflow"


def edit(workflow, module):
    with (workflow / "labelsim" / f"{module}.py").open("a", encoding="utf-8") as file:
        file.write("\nEDITED = 1\n")


def reword(text):
    """Other comments, docstrings, errors and log lines, and another layout."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) or (isinstance(node, ast.Expr) and ast.unparse(node).startswith("logger.")):
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    part.value = f"Reworded. {part.value}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            node.body[0].value = ast.Constant("Reworded.")
    return f"# A comment.\n{ast.unparse(tree)}\n"


def test_a_fresh_checkout_and_other_words_rerun_nothing(rerun, workflow):
    assert rerun.jobs() == []
    for path in workflow.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(reword(text), encoding="utf-8")
        assert path.read_text(encoding="utf-8") != text
    assert rerun.jobs() == []


@pytest.mark.parametrize(
    ("module", "jobs"),
    [
        ("stages/scan", ["scan", "shard"]),
        ("stages/shard", ["shard"]),
        ("stages/network", ["network"]),
        ("stages/preflight", ["preflight"]),
        ("network/layer_groups", ["preflight", *since("similarity")]),  # which two stages import
    ],
)
def test_checkpoints_come_out_the_same_and_rerun_nothing_else(rerun, workflow, module, jobs):
    edit(workflow, module)
    assert rerun.jobs() == sorted(jobs)


@pytest.mark.parametrize(
    ("module", "jobs"),
    [
        ("stages/extract", ["extract", "moments", *since("merge")]),
        ("stages/moments", ["moments", *since("merge")]),
        ("stages/merge", since("merge")),
        ("stages/welch", since("welch")),
        ("stages/similarity", since("similarity")),
        ("stages/neighbors", since("neighbors")),
        ("stages/class_figure", ["class_figure bee"]),
        ("stages/heatmap", ["heatmap welch"]),
    ],
)
def test_an_edit_reruns_the_stages_that_import_the_module(rerun, workflow, module, jobs):
    edit(workflow, module)
    of_shards = [job for job in jobs if job in ("extract", "moments")]
    expected = sorted([*each(rerun.shards(), *of_shards), *(job for job in jobs if job not in of_shards)])
    assert rerun.planned() == expected


def test_an_edit_of_the_explorers_assets_writes_the_page_again(rerun, workflow):
    rerun.configure("report.explorer", {"enabled": True})
    assert rerun.jobs() == ["explorer"]
    with (workflow / "labelsim/report/explorer/assets/explorer.css").open("a", encoding="utf-8") as file:
        file.write("/* edited */\n")
    assert rerun.planned() == ["explorer"]
    rerun.configure("report.explorer", {"enabled": True, "thumbnails": 0})
    assert rerun.jobs() == ["explorer"]

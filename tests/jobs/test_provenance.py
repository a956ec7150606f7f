import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import analyses
import pytest

import labelsim
from labelsim.config import load
from labelsim.jobs import provenance
from labelsim.jobs.provenance import code, identity, version

PACKAGE = Path(labelsim.__file__).parent
ANALYSES = tuple(analyses.SWITCHED)
STATISTICS = ("moments", "merge", "welch", "conformal", "head", "similarity", "neighbors")
STAGES = ("scan", "shard", "network", "extract", *STATISTICS, *ANALYSES)
PICTURES = ("class_figure", "heatmap", "explorer")

FINGERPRINTS = """
import json, sys
import labelsim
from labelsim.jobs.provenance import code
print(json.dumps([labelsim.__file__, {stage: code(stage) for stage in sys.argv[1:]}]))
"""


class Copy:
    """A copy of the package, to be edited."""

    def __init__(self, folder: Path) -> None:
        self.package = folder / "labelsim"
        shutil.copytree(PACKAGE, self.package, ignore=shutil.ignore_patterns("__pycache__"))
        self.before = {stage: code(stage) for stage in (*STAGES, *PICTURES)}  # of the original

    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of every stage, taken by the copy's own code in a process of its own."""
        environment = {**os.environ, "PYTHONPATH": str(self.package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-c", FINGERPRINTS, *STAGES, *PICTURES]
        output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        file, found = json.loads(output)
        assert Path(file).is_relative_to(self.package)
        return found

    def append(self, module: str, text: str) -> None:
        with (self.package / module).open("a", encoding="utf-8") as file:
            file.write(text)

    def changed(self) -> set[str]:
        """Stages whose fingerprint is not that of the copy before it was edited."""
        after = self.fingerprints()
        return {stage for stage in after if after[stage] != self.before[stage]}


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path)


def test_fingerprints_are_those_of_the_installed_package(copy):
    assert copy.fingerprints() == copy.before
    assert len(set(copy.before.values())) == len(copy.before)
    assert all(len(fingerprint) == 32 for fingerprint in copy.before.values())


def test_comments_docstrings_and_line_breaks_do_not_count(copy):
    for path in copy.package.rglob("*.py"):
        lines = path.read_text(encoding="utf-8").split("\n")
        # Every docstring and comment reworded, blank lines added between top-level statements.
        text = "\n".join(
            f"\n\n{line}" if line.startswith(("def ", "class ")) and "@" not in line else line for line in lines
        )
        text = text.replace('"""', '"""Reworded. ', 1).replace("# ", "# Reworded: ")
        path.write_text(text + "\n\n# The end.\n", encoding="utf-8")
    module = copy.package / "storage" / "zarr_store.py"
    text = module.read_text(encoding="utf-8")
    broken = text.replace(
        "def attributes(path: Path) -> dict[str, Any]:", "def attributes(\n    path: Path\n) -> dict[str, Any]:"
    )
    broken = broken.replace('    """Attributes of a', '    """Another way to say attributes of a')
    assert broken.count("\n") == text.count("\n") + 2
    module.write_text(broken, encoding="utf-8")
    assert copy.changed() == set()


def test_an_edit_changes_the_stages_that_import_the_module_and_no_other(copy):
    copy.append("stages/welch.py", "\nEDITED = 1\n")
    assert copy.changed() == {"welch"}
    copy.append("statistics/significance.py", "\nEDITED = 1\n")
    assert copy.changed() == {"welch", "significance"}
    copy.append("statistics/welch.py", "\nEDITED = 1\n")
    assert copy.changed() == {"welch", "significance", "similarity", "stability", "evidence"}
    copy.append("statistics/moments.py", "\nEDITED = 1\n")
    changed = {"moments", "merge", "welch", "significance", "similarity", "stability", "evidence", "examples"}
    assert copy.changed() == changed


def test_an_edit_inside_a_function_counts(copy):
    module = copy.package / "statistics" / "similarity.py"
    text = module.read_text(encoding="utf-8")
    assert text.count("-1.0") == 1
    module.write_text(text.replace("-1.0", "-1.5"), encoding="utf-8")
    assert copy.changed() == {"similarity", "stability", "evidence"}


def test_a_module_imported_inside_a_function_counts(copy):
    # Not for extract: it holds every image against its row's size and digest, wherever the bytes came from.
    copy.append("dataset/formats/folder.py", "\nEDITED = 1\n")
    assert copy.changed() == {"scan", "class_figure", "explorer"}


def test_what_the_network_is_made_by_counts_for_network_and_extract(copy):
    copy.append("network/probes.py", "\nEDITED = 1\n")
    assert copy.changed() == {"network", "extract", "head"}


def test_what_no_number_depends_on_starts_no_extraction(copy):
    paths = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")]
    not_needed = {"statistics", "storage", "report", "jobs", "stages", "cli.py", "check.py", "run.py", "config.py"}
    needed = {"extract", "compiled", "underflow", "__init__"}
    for path in paths:
        if path.parts[0] in not_needed and path.stem not in needed:
            copy.append(str(path), "\nEDITED = 1\n")
    changed = copy.changed()
    assert "extract" not in changed
    assert {"welch", "similarity", *PICTURES} <= changed


def test_edits_of_the_machinery_around_the_stages_change_none(copy):
    machinery = {"storage", "jobs", "cli.py", "check.py", "run.py", "config.py", "errors.py", "__init__.py"}
    for path in [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")]:
        if path.parts[0] in machinery:
            copy.append(str(path), "\nEDITED = 1\n")
    assert copy.changed() == set()
    copy.append("report/figures.py", "\nEDITED = 1\n")
    assert copy.changed() == {"class_figure", "heatmap"}


class Reworded(ast.NodeTransformer):
    """Says every error and every log line in other words."""

    def visit_Raise(self, node):
        return self.reworded(node)

    def visit_Expr(self, node):
        return self.reworded(node) if ast.unparse(node).startswith("logger.") else self.generic_visit(node)

    def reworded(self, node):
        for part in ast.walk(node):
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                part.value = f"In other words: {part.value}"
        return node


def test_reworded_errors_and_log_lines_change_none(copy):
    edited = set()
    for path in copy.package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(ast.unparse(Reworded().visit(ast.parse(text))), encoding="utf-8")
        if "In other words" in path.read_text(encoding="utf-8"):
            edited.add(path.relative_to(copy.package).parts[0])
    assert {"dataset", "images", "network", "storage", "stages"} <= edited
    assert copy.changed() == set()


def test_reworded_sentences_count_only_where_they_are_stored(copy):
    for path in copy.package.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                node.value = node.value.replace(" is ", " would be ")
        path.write_text(ast.unparse(tree), encoding="utf-8")
    assert copy.changed() == {"neighbors", *PICTURES}


def test_the_package_is_imported_by_full_names():
    # `code` follows those only: a relative import would go unseen.
    relative = [path for path in PACKAGE.rglob("*.py") if "from ." in path.read_text(encoding="utf-8")]
    assert relative == []


def test_version_is_that_of_the_citation():
    citation = (PACKAGE.parents[1] / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {version()}\n" in citation


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A configuration whose files are all there, in the working directory."""
    monkeypatch.chdir(tmp_path)
    image = tmp_path / "images" / "tench" / "1.png"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"1")
    for folder in (image.parent, image.parents[1]):
        os.utime(folder, (0, 0))  # long ago, so that a change now is seen however coarse the clock is
    Path("weights.pth").write_bytes(b"weights")
    Path("names.csv").write_text("class_id,name\ntench,Tench\n")
    Path("outputs.csv").write_text("class_id,name\ntench,Tench\n")
    Path("networks.py").write_text('"""Networks."""\n\ndef small():\n    """A network."""\n    return 1  # one\n')
    return load(
        {
            "run": "test",
            "dataset": {"source": "images", "class_names": "names.csv"},
            "model": {
                "name": "networks.py:small",
                "weights": "weights.pth",
                "transform": "networks.py:small",
                "classes": "outputs.csv",
            },
        }
    )


def changed_by(config: dict, change) -> set[str]:
    """Stages whose identity changes when something is done."""
    before = {stage: identity(stage, config) for stage in STAGES}
    change()
    return {stage for stage in STAGES if identity(stage, config) != before[stage]}


@pytest.mark.parametrize(
    ("section", "key", "value", "stages"),
    [
        ("extract", "batch_size", 3, set()),
        ("extract", "workers", 0, set()),
        ("extract", "device", "cuda:1", set()),
        ("report", "classes", ["tench"], set()),
        ("neighbors", "k", 5, {"neighbors"}),
        ("similarity", "methods", ["gap"], {"similarity"}),
        ("similarity", "layer_groups", {"a": ["layer1.*"]}, {"similarity"}),
        ("extract", "precision", "bfloat16", {"extract"}),
        ("store", "dtype", "float16", {"extract"}),
        ("extract", "images_per_shard", 64, {"shard"}),
        ("extract", "max_reject_fraction", 0.5, {"merge"}),
        ("dataset", "images_per_class", 5, {"scan"}),
        ("dataset", "content_digest", True, {"scan"}),
        ("dataset", "columns", {"image": "img", "label": "label"}, {"scan"}),
        ("dataset", "class_names", "auto", {"shard"}),
        ("probe", "at", "batch_norm", {"network", "neighbors", "significance"}),
        ("probe", "layers", ["layer1.*"], {"network", "neighbors", "significance"}),
        ("model", "name", "resnet18", {"network", "neighbors", "significance"}),
        ("model", "weights", None, {"network", "neighbors", "significance"}),
        ("model", "transform", "auto", {"network", "neighbors", "significance"}),
        ("analysis", "evidence", {"enabled": True, "channels": 3}, {"evidence"}),
        ("analysis", "significance", {"enabled": True, "channels": 3, "alternative": "less"}, {"significance"}),
        ("analysis", "examples", {"enabled": True, "images": 1, "images_per_channel": 3}, {"examples"}),
        ("model", "classes", "dataset", {"moments", "neighbors", "significance"}),
    ],
)
def test_a_key_of_the_configuration_is_part_of_these_identities(config, section, key, value, stages):
    assert changed_by(config, lambda: config[section].update({key: value})) == stages


@pytest.mark.parametrize(
    ("file", "stages"), [("weights.pth", {"network"}), ("names.csv", {"shard"}), ("outputs.csv", {"moments"})]
)
def test_a_file_replaced_at_the_same_path_changes_the_identity(config, file, stages):
    path = Path(file)
    contents = path.read_bytes()
    assert changed_by(config, lambda: path.write_bytes(contents[::-1])) == stages
    assert changed_by(config, lambda: path.unlink()) == stages
    path.write_bytes(contents)
    before = identity("network", config)
    os.utime(path, (0, 0))
    assert identity("network", config) == before  # its time does not count


@pytest.mark.parametrize("stage", ["judgement", "agreement"])
def test_the_reference_of_an_analysis_is_part_of_its_identity(config, stage):
    file = Path("human.csv")
    file.write_text("class_id,neighbor_id,similarity\n")
    default = identity(stage, config)
    config["analysis"]["reference"]["file"] = str(file)
    empty = identity(stage, config)
    file.write_text("class_id,neighbor_id,similarity\na,b,1\n")
    assert len({default, empty, identity(stage, config)}) == 3
    reading = [name for name in STAGES if "human.csv" in identity(name, config)]
    assert set(reading) == {"judgement", "agreement"}


@pytest.mark.parametrize("stage", ["judgement", "agreement", "wordnet"])
def test_the_table_of_wordnet_is_part_of_the_identity(config, tmp_path, monkeypatch, stage):
    before = identity(stage, config)
    other = tmp_path / "nouns.parquet"
    other.write_bytes(provenance.NOUNS.read_bytes() + b"more")
    monkeypatch.setattr(provenance, "NOUNS", other)
    assert identity(stage, config) != before


def test_the_code_of_a_callable_changes_the_identity_and_its_comments_do_not(config):
    path = Path("networks.py")
    reworded = '"""Some networks."""\n\n\ndef small():\n    """Small."""\n    return (\n        1\n    )\n'
    assert changed_by(config, lambda: path.write_text(reworded)) == set()
    assert changed_by(config, lambda: path.write_text(reworded.replace("1", "2"))) == {"network"}
    assert changed_by(config, lambda: path.write_text("def small(:")) == {"network"}  # for the stage to complain of


def test_the_code_of_an_importable_callable_changes_the_identity(config, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    config["model"]["name"] = "networks:small"
    path = Path("networks.py")
    assert changed_by(config, lambda: path.write_text(path.read_text() + "# a comment\n")) == set()
    assert changed_by(config, lambda: path.write_text(path.read_text().replace("return 1", "return 2"))) == {"network"}


@pytest.mark.parametrize("name", ["no_such_package.module:small", "no_such_file.py:small", ":small"])
def test_a_callable_that_is_not_there_is_left_to_the_stage(config, name):
    config["model"]["name"] = name
    assert json.loads(identity("network", config))["files"]["model.name"] == "missing"


@pytest.mark.parametrize("name", ["images/tench/2.png", "images/carp/1.png"])
def test_an_image_or_class_that_was_added_changes_the_scan(config, name):
    def add():
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(b"2")

    assert changed_by(config, add) == {"scan"}


def test_an_identity_is_json_with_sorted_keys(config):
    for stage in STAGES:
        text = identity(stage, config)
        assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
        assert text == identity(stage, config)


def test_no_identity_holds_a_path_of_this_machine(config, tmp_path):
    assert not [stage for stage in STAGES if str(tmp_path) in identity(stage, config)]

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import matrices
import numpy as np
import pyarrow as pa
import pytest
import running
from typer.testing import CliRunner

from labelsim import __version__, cli
from labelsim.dataset.classes import class_names
from labelsim.run import Paths
from labelsim.storage.parquet import read_table, write_table

# id, name; the similarity of two classes is minus the distance of their places here, over 10
CLASSES = [
    ("n01440764", "tench"),
    ("n02799071", "baseball"),
    ("n02802426", "basketball"),
    ("n04409515", "tennis ball [yellow]"),
    ("Straße", "Straße"),
]


@pytest.fixture
def run(tmp_path) -> str:
    return write_run(tmp_path / "run", CLASSES, notes=["", "", "", "", "no usable image: in no matrix"])


def write_run(root: Path, classes: list[tuple[str, str]], notes: list[str]) -> str:
    """The tables of a run; a class that has a note has no neighbours."""
    rows = []
    for method, group in (("gap", "all"), ("gap", "layer1"), ("hidden", "all"), ("welch", "all"), ("welch", "layer1")):
        for i, (id_, name) in enumerate(classes):
            if notes[i]:
                continue
            near = sorted((j for j in range(len(classes)) if j != i), key=lambda j: (abs(i - j), j))
            if group == "layer1":
                near = near[::-1]
            for rank, j in enumerate(near[:3], start=1):
                neighbor_id, neighbor_name = classes[j]
                row = {"method": method, "group": group, "class_index": i, "class_id": id_, "class_name": name}
                row |= {"rank": rank, "neighbor_index": j, "neighbor_id": neighbor_id, "neighbor_name": neighbor_name}
                rows.append(row | {"similarity": -abs(i - j) / 10})
    paths = Paths(str(root))
    write_table(pa.Table.from_pylist(rows), Path(paths.neighbors), {})
    ids, names = zip(*classes, strict=True)
    write_table(pa.table({"class_id": ids, "class_name": names, "notes": notes}), Path(paths.classes), {})
    return paths.root


def top(*arguments: str) -> list[str]:
    """Lines that `labelsim top` prints."""
    result = CliRunner().invoke(cli.app, ["top", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output.splitlines()


def table(lines: list[str]) -> list[list[str]]:
    """Cells of the lines that begin with a rank."""
    cells = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in lines if line.startswith("│")]
    return [row for row in cells if row[0].isdigit()]


def failing(arguments: list[str], monkeypatch, capsys) -> str:
    """The message with which the command ends."""
    monkeypatch.setattr(sys, "argv", ["labelsim", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err


@pytest.mark.parametrize("query", ["baseball", "BaseBall", "n02799071", "baseb"])
def test_top_by_name_id_or_part_of_a_name(run, query):
    lines = top(query, "--run", run)
    assert lines[0] == "Most similar to baseball (n02799071)"
    ranked = ["-0.100  tench", "-0.100  basketball", "-0.200  tennis ball [yellow]"]
    assert table(lines) == [[str(rank), cell, cell, cell] for rank, cell in enumerate(ranked, start=1)]


def test_top_shows_the_methods_in_their_order(run):
    (header,) = [line for line in top("tench", "--run", run) if line.startswith("┃")]
    assert re.findall(r"\w+", header) == ["welch", "hidden", "gap"]
    for names in (["gap"], ["P"], ["P", "gap"]):
        chosen = [option for name in names for option in ("--method", name)]
        (header,) = [line for line in top("tench", "--run", run, *chosen) if line.startswith("┃")]
        assert re.findall(r"\w+", header) == ["gap"]


def test_names_are_not_wrapped_where_there_is_no_terminal(run):
    paths = Paths(run)
    name = "a name of many words, " * 20
    rows = [row | {"neighbor_name": name} for row in read_table(Path(paths.neighbors)).to_pylist()]
    write_table(pa.Table.from_pylist(rows), Path(paths.neighbors), {})
    lines = top("tench", "--run", run)
    assert table(lines)[0] == ["1", *[f"-0.100  {name.strip()}"] * 3]


def test_top_shows_at_most_k(run):
    assert len(table(top("tench", "--run", run, "-k", "2"))) == 2
    assert len(table(top("tench", "--run", run, "-k", "99"))) == 3


def test_top_of_a_layer_group_shows_the_hidden_state_too(run):
    (first, *_) = table(top("tench", "--run", run, "--group", "layer1"))
    assert first == ["1", "-0.400  Straße", "-0.100  baseball", "-0.400  Straße"]
    notes = [line for line in top("tench", "--run", run, "--group", "layer1") if line.startswith("note: ")]
    assert [note for note in notes if "layer groups" in note] == [note for note in notes if "hidden" in note] != []


def test_top_of_several_classes(run):
    titles = [line for line in top("tench", "basket", "yellow", "--run", run) if line.startswith("Most similar to")]
    assert titles == [
        "Most similar to tench (n01440764)",
        "Most similar to basketball (n02802426)",
        "Most similar to tennis ball [yellow] (n04409515)",
    ]


def test_top_says_why_a_class_has_no_neighbours(run):
    lines = top("straße", "--run", run)
    assert lines[0] == "Most similar to Straße"
    assert table(lines) == []
    assert lines[-1] == "note: no usable image: in no matrix"


def test_top_shows_the_stability_where_it_is_known(run):
    paths = Paths(run)
    table = read_table(Path(paths.neighbors))
    size = len(table)
    columns = {"stderr": [0.031, None] * (size // 2), "folds_in_top_k": [7] * size, "folds": [8] * size}
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    write_table(table, Path(paths.analysis("stability")))
    first, second, *_ = re.findall(r"[+-]0\.\d{3}[^│]*", "".join(top("tench", "--run", run, "--method", "gap")))
    assert re.match(r"-0\.100 ± 0\.031  7/8  \w", first)
    assert re.match(r"-0\.200  \w", second)
    # A table of other neighbors is outdated.
    write_table(table.slice(0, size - 1), Path(paths.analysis("stability")))
    assert "±" not in "".join(top("tench", "--run", run))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["ball"], r"'ball' .*baseball \[n02799071\], basketball \[n02802426\], "),
        (["basebal1"], "'basebal1'.* baseball"),
        (["tench", "--method", "cosine"], "--method: .*'cosine'.* welch, hidden, gap"),
        (["tench", "--group", "layer9"], "--group: .*'layer9'.* all, layer1"),
        (["tench", "--group", "layer1", "--method", "hidden"], "--group: hidden has no layer groups"),
    ],
)
def test_top_of_what_is_not_there_ends_with_a_message(run, arguments, named, monkeypatch, capsys):
    assert re.search(named, failing(["top", *arguments, "--run", run], monkeypatch, capsys))


@pytest.fixture
def namesakes_run(tmp_path) -> str:
    """Classes of ImageNet that are easily mistaken for one another, under the names that they get in a run."""
    ids = ["n01440764", "n02012849", "n03126707", "n03710637", "n03710721", "n03773504", "n04008634"]
    ids += ["n04355933", "n04356056"]
    return write_run(tmp_path / "namesakes", list(zip(ids, class_names(ids), strict=True)), notes=[""] * len(ids))


def test_top_asks_which_class_is_meant(namesakes_run, monkeypatch, capsys):
    for query, candidates in (
        ("crane", "crane bird [n02012849], construction crane [n03126707]"),
        ("maillot", "maillot [n03710637], maillot, tank suit [n03710721]"),
        ("missile", "missile [n03773504], projectile [n04008634]"),
    ):
        message = failing(["top", query, "--run", namesakes_run], monkeypatch, capsys)
        assert message.startswith(repr(query))
        assert message.endswith(f" {candidates}\n")


def test_top_tells_classes_of_like_names_apart(namesakes_run):
    queries = ["n02012849", "construction crane", "tank suit", "n03773504", "projectile", "sunglass", "Tinca tinca"]
    titles = [line for line in top(*queries, "--run", namesakes_run) if line.startswith("Most similar to")]
    assert titles == [
        "Most similar to crane bird (n02012849)",
        "Most similar to construction crane (n03126707)",
        "Most similar to maillot, tank suit (n03710721)",
        "Most similar to missile (n03773504)",
        "Most similar to projectile (n04008634)",
        "Most similar to sunglass (n04355933)",
        "Most similar to tench (n01440764)",
    ]


def test_top_without_a_run_ends_with_a_message(run, monkeypatch, capsys):
    message = failing(["top", "tench", "--run", f"{run}/no"], monkeypatch, capsys)
    assert message.startswith(f"{run}/no ")
    Path(run, "neighbors.parquet").unlink()
    message = failing(["top", "tench", "--run", run], monkeypatch, capsys)
    assert message.startswith(f"{run}/neighbors.parquet ")


def test_the_command_itself(run):
    command = Path(sys.executable).with_name("labelsim")
    done = subprocess.run([command, "top", "ball", "--run", run], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("'ball' ")
    assert "Traceback" not in done.stderr


def test_top_does_without_torch():
    look = "import sys, labelsim.cli; print([name for name in ('torch', 'zarr', 'xarray') if name in sys.modules])"
    output = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout
    assert output == "[]\n"


def test_status_of_a_run(tmp_path):
    result = CliRunner().invoke(cli.app, ["status", unfinished(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "is at the stage extract\n" in result.output
    assert "512 of 1,400" in result.output
    assert "\x1b" not in result.output  # plain text where there is no terminal


def test_status_without_a_run_ends_with_a_message(tmp_path, monkeypatch, capsys):
    assert str(tmp_path / "no") in failing(["status", str(tmp_path / "no")], monkeypatch, capsys)


def test_a_watch_of_a_run_ends_with_an_interrupt_and_no_traceback(tmp_path):
    ours, theirs = pty.openpty()
    command = [Path(sys.executable).with_name("labelsim"), "status", unfinished(tmp_path), "--watch"]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        drawn = read_until("512 of 1,400", ours)
        process.send_signal(signal.SIGINT)
        drawn += read_until("", ours)
    os.close(ours)
    assert process.returncode == 0
    assert "Traceback" not in drawn
    assert "Abort" not in drawn


def unfinished(folder: Path) -> str:
    """A run of which two chunks are extracted."""
    paths = Paths(str(folder / "run"))
    running.cut(paths, {"a" * 16: 1000, "b" * 16: 400})
    notes = [running.note(i, 1000, time.time(), running.seconds(1.0, network=1.0 + i)) for i in range(2)]
    running.record(paths, "a" * 16, 1000, notes)
    return paths.root


def read_until(text: str, terminal: int) -> str:
    """What a program writes to a terminal until it has written some text or, if that is empty, has ended."""
    read = ""
    with suppress(OSError):  # Linux says so when the program has ended
        while not text or text not in read:
            read += os.read(terminal, 65_536).decode(errors="replace")
    return read


def test_layers_of_resnet34(tmp_path):
    configfile = tmp_path / "config.yaml"
    configfile.write_text("run: a\ndataset: {source: nowhere}\nmodel: {name: resnet34, weights: null}\n")
    result = CliRunner().invoke(cli.app, ["layers", "--configfile", str(configfile)], catch_exceptions=False)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    numbers = re.findall(r"\d[\d,]*", lines[-1])
    assert numbers == ["36", "8,512", "512", "1,000", "3", "224", "224"]
    rows = [re.findall(r"[\w.,]+", line) for line in lines if line.startswith("│")]
    assert len(rows) == 36
    assert rows[0] == ["conv1", "64"]
    assert ["layer4.0.downsample.0", "512"] in rows
    assert sum(int(channels.replace(",", "")) for _, channels in rows) == 8512


def test_layers_of_a_vision_transformer(tmp_path):
    configfile = tmp_path / "config.yaml"
    configfile.write_text("run: a\ndataset: {source: nowhere}\nmodel: {name: 'timm:test_vit', weights: null}\n")
    result = CliRunner().invoke(cli.app, ["layers", "--configfile", str(configfile)], catch_exceptions=False)
    assert result.exit_code == 0
    assert re.search(r"^left out: patch_embed\.proj: .*16 x 16 pixels", result.output, re.MULTILINE)
    assert re.search(r"^note: .*similarity\.methods: \[hidden\]", result.output, re.MULTILINE)
    assert re.findall(r"\d[\d,]*", result.output.splitlines()[-1])[:4] == ["0", "0", "64", "1,000"]


def test_layers_of_a_configuration_that_is_not_there_or_wrong(tmp_path, monkeypatch, capsys):
    configfile = tmp_path / "config.yaml"
    arguments = ["layers", "--configfile", str(configfile)]
    assert failing(arguments, monkeypatch, capsys).startswith(f"{configfile} ")
    configfile.write_text("run: a\ndataset: {source: nowhere}\nmodel: {nam: resnet34}\n")
    assert "model.nam: " in failing(arguments, monkeypatch, capsys)
    configfile.write_text("run: a\ndataset: {source: nowhere}\nmodel: {name: resnet35}\n")
    assert "resnet35" in failing(arguments, monkeypatch, capsys)


@pytest.fixture
def images(tmp_path, monkeypatch) -> Path:
    """Class folders of wnids and a name, one of them empty; the current folder is the one above."""
    for folder, number in (("n01440764", 3), ("n02799071", 2), ("Straße", 1), ("empty", 0)):
        (tmp_path / "images" / folder).mkdir(parents=True)
        for i in range(number):
            (tmp_path / "images" / folder / f"{i}.png").write_bytes(b"any")
    (tmp_path / "images" / "list.txt").touch()
    (tmp_path / "network.py").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "images"


def configured(report: str) -> list[str]:
    """Write a configuration; the arguments of `labelsim classes`."""
    model = "{name: 'network.py:build', transform: 'network.py:transform'}"
    dataset = "{source: images, images_per_class: 2}"
    Path("config.yaml").write_text(f"run: a\ndataset: {dataset}\nmodel: {model}\nreport: {{classes: {report}}}\n")
    return ["classes", "--configfile", "config.yaml"]


def test_classes_of_a_dataset_before_a_run(images):
    before = sorted(images.parent.rglob("*"))
    result = CliRunner().invoke(cli.app, configured("[tench, n02799071, STRASSE]"), catch_exceptions=False)
    assert result.exit_code == 0
    assert sorted(images.parent.rglob("*")) == sorted([*before, images.parent / "config.yaml"])
    lines = result.output.splitlines()
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    assert cells == [
        ["Straße", "Straße", "1"],
        ["empty", "empty", "0"],
        ["n01440764", "tench", "2"],
        ["n02799071", "baseball", "2"],
    ]
    drawn = [line.partition(": ")[2] for line in lines if line.startswith("report.classes: ")]
    assert drawn == [
        "'tench' is tench (n01440764)",
        "'n02799071' is baseball (n02799071)",
        "'STRASSE' is Straße",
    ]
    assert re.findall(r"\d+", lines[-1]) == ["4", "5"]
    assert [line for line in lines if line.startswith("note: ")] == [
        "note: ignored 1 files outside the class folders",
        "note: 1 class folders are empty",
    ]


def test_classes_to_draw_that_are_not_there_are_named_before_a_run(images, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["labelsim", *configured("[tensh, baseball, e]")])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    output, errors = capsys.readouterr()
    assert "report.classes: 'baseball' is " in output
    assert re.search("report.classes: .*'tensh'.*did you mean tench", errors)
    assert re.search("report.classes: 'e' may mean 4 classes", errors)


def test_classes_of_a_source_that_is_not_there(images, monkeypatch, capsys):
    arguments = configured("[]")
    images.rename("elsewhere")
    assert "dataset.source: " in failing(arguments, monkeypatch, capsys)
    assert failing(["classes", "--configfile", "no.yaml"], monkeypatch, capsys).startswith("no.yaml ")


@pytest.fixture
def two_runs(tmp_path):
    """Runs with classes in another order, and one more in the second; its methods have their places exchanged."""
    ids = [f"class {i}" for i in range(12)]
    random = np.random.default_rng(0)
    first = {name: matrices.symmetric(random, 12) for name in ("welch", "hidden")}
    order = [*random.permutation(12)]
    second = {name: np.pad(first[name][np.ix_(order, order)], (0, 1)) for name in first}
    second["hidden"] = matrices.symmetric(random, 13)
    for name, names, values in (("a", ids, first), ("b", [*(ids[i] for i in order), "more"], second)):
        values["welch"] = values["welch"][np.newaxis]
        matrices.write(Path(Paths(str(tmp_path / name)).similarity), names, values)
    return [str(tmp_path / "a"), str(tmp_path / "b")]


def test_compare_two_runs(two_runs):
    result = CliRunner().invoke(cli.app, ["compare", *two_runs, "-k", "3"], catch_exceptions=False)
    assert result.exit_code == 0
    lines = [line for line in result.output.splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines]
    assert cells[0] == ["welch", "all", "12", "1.000", "1.000  (1.000 to 1.000)"]
    assert cells[1][:3] == ["hidden", "all", "12"]
    assert float(cells[1][3]) < 0.5


def test_compare_as_json(two_runs):
    result = CliRunner().invoke(cli.app, ["compare", *two_runs, "--json"], catch_exceptions=False)
    found = json.loads(result.output)
    assert [found["run_a"], found["run_b"], found["k"]] == [*two_runs, 9]
    assert found["agreement"][0] == {
        **{"method": "welch", "group": "all", "classes": 12, "spearman": pytest.approx(1)},
        **{"overlap": 1, "low": 1, "high": 1},
    }


def test_compare_what_is_no_run(two_runs, monkeypatch, capsys):
    assert "no run" in failing(["compare", two_runs[0], "no run"], monkeypatch, capsys)


def test_the_version():
    assert CliRunner().invoke(cli.app, ["--version"]).output == f"labelsim {__version__}\n"


def test_classes_that_tie_are_said_to_be_in_the_order_of_the_dataset(run):
    paths = Paths(run)
    table = read_table(Path(paths.neighbors))
    assert "order" not in "".join(top("tench", "--run", run))
    column = table.schema.get_field_index("similarity")
    same = pa.array([0.5] * len(table), table.schema.field(column).type)
    write_table(table.set_column(column, table.schema.field(column), same), Path(paths.neighbors), {})
    (note,) = [line for line in top("tench", "--run", run) if line.startswith("note: welch, hidden, gap: ")]
    assert "order" in note

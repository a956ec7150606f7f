"""`labelsim evidence` and `labelsim channels`."""

import re
import shutil
import sys
from pathlib import Path

import planted
import pytest
from planted import ALONE, LAYERS, MANY
from pyarrow import parquet
from stagewise import analyze
from typer.testing import CliRunner

from labelsim import cli


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A run; not to be changed."""
    run = planted.plant(tmp_path_factory.mktemp("planted"), methods=("hidden", "welch", "gap", "gap_centered"))
    run.config["analysis"]["stability"]["enabled"] = False
    analyze(run.paths, run.config)
    return run


@pytest.fixture(scope="module")
def root(base):
    return base.paths.root


def printed(*arguments: str) -> list[str]:
    """Lines that a command prints."""
    result = CliRunner().invoke(cli.app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.output.splitlines()


def tables(lines: list[str]) -> list[list[list[str]]]:
    """Cells of the rows of each table that was printed."""
    found: list[list[list[str]]] = []
    for line in lines:
        cells = [cell.strip() for cell in re.split("[│┃]", line)[1:-1]]
        if line.startswith("┃"):
            found.append([])
        elif line.startswith("│"):
            found[-1].append(cells)
    return found


def failing(arguments: list[str], monkeypatch, capsys) -> str:
    """The message with which the command ends."""
    monkeypatch.setattr(sys, "argv", ["labelsim", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    return capsys.readouterr().err


def rows_of(base, name, **where):
    table = parquet.read_table(base.paths.analysis(name)).to_pandas()
    for key, value in where.items():
        table = table[table[key] == value]
    return table


@pytest.mark.parametrize(("method", "group"), [("welch", "all"), ("gap", "late"), ("gap_centered", "all")])
def test_evidence_of_a_neighbor_is_that_of_the_tables(base, root, method, group):
    where = {"method": method, "group": group, "class_index": 10, "rank": 2}
    expected, by_layer = (rows_of(base, name, **where) for name in ("evidence", "evidence_layers"))
    neighbor = expected["neighbor_name"].iloc[0]
    options = (
        ["--method", method, "--group", group] if method != "welch" else []
    )  # the first of those that compare channels
    lines = printed("evidence", "class 10", neighbor, *options, "--run", root)
    assert lines[0].startswith(f"{method} ")
    assert lines[0].endswith(f" {expected['similarity'].iloc[0]:+.3f}")
    channels, layers = tables(lines)
    for row, cells in zip(expected.to_dict("records"), channels, strict=True):
        assert cells[:3] == [str(row["channel_rank"]), row["layer"], str(row["layer_channel"])]
        numbers = [row["contribution"], 100 * row["share"], row["class_value"], row["neighbor_value"]]
        # Printed with three digits or more.
        assert [float(cell.strip("% ")) for cell in cells[3:]] == pytest.approx(numbers, rel=5e-3, abs=0.06)
    assert [row[1] for row in layers] == by_layer["layer"].tolist()
    assert [float(row[2]) for row in layers] == pytest.approx(by_layer["contribution"].tolist(), abs=6e-5)


def test_evidence_of_any_pair_with_images(base, root):
    near = set(rows_of(base, "evidence", method="welch", group="all", class_index=10)["neighbor_index"])
    far = min(set(range(50)) - near - {10, planted.EMPTY, ALONE})
    channels, layers, images = tables(printed("evidence", "10", str(far), "-k", "3", "--images", "2", "--run", root))
    assert [row[0] for row in channels] == ["1", "2", "3"]
    assert [row[1] for row in layers] == list(LAYERS)
    starts = dict(zip(LAYERS, (0, 1000, 1025), strict=True))
    for i, (_, layer, channel, *_) in enumerate(channels):
        values = base.features["gap"][:, starts[layer] + int(channel)]
        for column, c in ((3, 10), (4, far)):
            best = sorted((n for n in range(len(values)) if base.labels[n] == c), key=lambda n: (-values[n], n))[:2]
            listed = [row[column].split()[0] for row in images[2 * i : 2 * i + 2]]
            assert listed == [base.samples[n] for n in best]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["10", str(ALONE)], f"class {ALONE} .*welch"),
        (["10", "12", "--method", "hidden"], "--method: .*'hidden'.* welch, gap"),
        (["10", "12", "--group", "middle"], "--group: .*'middle'.* all, first, late"),
        (["10", "12", "--method", "gap_centered", "--group", "late"], "--group: gap_centered has no layer groups"),
        (["10", "no such class"], "'no such class'"),
    ],
)
def test_evidence_of_what_is_not_there_ends_with_a_message(root, arguments, named, monkeypatch, capsys):
    message = failing(["evidence", *arguments, "--run", root], monkeypatch, capsys)
    assert re.search(named, message)
    assert "Traceback" not in message


def test_evidence_needs_a_method_that_compares_channels(tmp_path, monkeypatch, capsys):
    run = planted.plant(tmp_path, methods=("hidden",))
    message = failing(["evidence", "10", "12", "--run", run.paths.root], monkeypatch, capsys)
    assert "similarity.methods" in message


def significant(base, index):
    (row,) = rows_of(base, "class_significance", class_index=index).to_dict("records")
    return [int(row[name]) for name in ("channels", "up", "down")]


def test_channels_of_a_class(base, root):
    lines = printed("channels", "class 10", "--run", root, "-k", "7")
    (rows,) = tables(lines)
    expected = rows_of(base, "channels", class_index=10).head(7).to_dict("records")
    for row, cells in zip(expected, rows, strict=True):
        assert cells[:3] == [str(row["rank"]), row["layer"], str(row["layer_channel"])]
        numbers = [row[name] for name in ("t", "log10_q", "effect_size", "mean", "mean_rest")]
        assert [float(cell) for cell in cells[3:]] == pytest.approx(numbers, rel=5e-3, abs=0.06)
    all_, up, down = significant(base, 10)
    assert [int(n.replace(",", "")) for n in re.findall(r"\d[\d,]*", lines[-1])[2:]] == [up + down, all_, up, down]
    assert printed("channels", "10", "--run", root, "-k", "1000")[-1].startswith("note: ")


def test_channels_of_a_class_against_another(root):
    (rows,) = tables(printed("channels", "10", "--reference", str(MANY), "--run", root, "-k", "30"))
    assert [row[0] for row in rows] == [str(rank) for rank in range(1, 31)]
    clear = [row for row in rows if row[1:3] == ["conv1", str(planted.CLEAR)]]
    assert clear[0][0] == "1"
    # Means of 1 and 2, by a tenth of a thousandth.
    assert [float(cell) for cell in clear[0][6:]] == [1, 2]


@pytest.mark.parametrize("command", [["evidence", "10", "class 10"], ["channels", "10", "--reference", "class 10"]])
def test_a_class_is_not_compared_with_itself(root, monkeypatch, capsys, command):
    assert "class 10" in failing([*command, "--run", root], monkeypatch, capsys)


def test_channels_of_what_is_not_there_ends_with_a_message(base, tmp_path, monkeypatch, capsys):
    root = str(shutil.copytree(base.paths.root, tmp_path / "run"))
    for arguments in (["class 40"], ["10", "--reference", "class 40"], ["class 40", "--reference", "10"]):
        message = failing(["channels", *arguments, "--run", root], monkeypatch, capsys)
        assert "class 40" in message
        assert "Traceback" not in message
    Path(root, "analysis/channels.parquet").unlink()
    message = failing(["channels", "10", "--run", root], monkeypatch, capsys)
    assert message.startswith(f"{root}/analysis/channels.parquet ")

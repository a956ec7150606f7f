"""`labelsim check` on a run that its stages made, intact, damaged and unfinished."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from random import Random

import pytest
import toy
from stagewise import run_stages
from typer.testing import CliRunner

from labelsim import cli
from labelsim.check import Findings, check
from labelsim.config import load
from labelsim.report.explorer.page import packed, write_page
from labelsim.run import Paths, committed, open_run
from labelsim.stages.heatmap import heatmap
from labelsim.stages.scan import scan
from labelsim.stages.shard import shard
from labelsim.stages.stability import stability
from labelsim.storage.json_files import write_document
from labelsim.storage.parquet import read_table, write_table

RUN = Path("results/toy")
PATHS = Paths(str(RUN))


def scan_and_shard(config: dict) -> None:
    scan(config["dataset"], Path(PATHS.manifest))
    shard(Path(PATHS.manifest), 60, "auto", Path(PATHS.index))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with a finished run; not to be changed."""
    folder = toy.write(tmp_path_factory.mktemp("check") / "base")
    config = load(toy.config())
    with chdir(folder):
        run_stages(config)
        for method in config["similarity"]["methods"]:
            heatmap(Path(PATHS.similarity), method, Path(PATHS.heatmap(method)))
    return folder


@pytest.fixture
def copy(base, tmp_path, monkeypatch):
    """A copy of the run in the current folder, to damage."""
    shutil.copytree(base / "results", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names() -> list[str]:
    return open_run(RUN).shards()


def stores() -> list[Path]:
    return sorted(root.parent for root in RUN.rglob("*.zarr/zarr.json"))


def protected() -> list[Path]:
    """Every file of the run's stores, tables, documents and pictures."""
    files = {path for store in stores() for path in store.rglob("*") if path.is_file()}
    return sorted(files.union(*(RUN.rglob(f"*.{ending}") for ending in ("parquet", "json", "png"))))


def flip(path: Path, random: Random) -> None:
    data = bytearray(path.read_bytes())
    data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, random: Random) -> None:
    os.truncate(path, random.randrange(path.stat().st_size))


def delete(path: Path, random: Random) -> None:
    path.unlink()


DAMAGES = [flip, truncate, delete]


def named(findings: Findings) -> set[Path]:
    """The files that are damaged or missing, each at the beginning of a line of its own."""
    lines = findings.lines()[: len(findings.damaged) + len(findings.missing)]
    assert lines[: len(findings.damaged)] == [line for _, line in findings.damaged]
    assert len(set(lines)) == len(lines)
    return {Path(line.split(" ")[0]) for line in lines}


def target(findings: Findings) -> str:
    """What the report says to force, separated by spaces."""
    (line,) = [line for line in findings.lines() if "--force" in line]
    return line.partition("--force ")[2]


def test_a_finished_run_is_intact(copy):
    findings = check(RUN)
    assert findings.ok
    assert (findings.shards, findings.images) == (3, 170)
    assert (findings.files, findings.size) == (len(protected()), sum(path.stat().st_size for path in protected()))
    (line,) = findings.lines()
    assert all(part in line for part in (f"{findings.files} files", f"{findings.size / 1e6:.1f} MB", "3 shards"))


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("part", ["*/c/**/*", "*/zarr.json"], ids=["chunks", "metadata of arrays"])
def test_every_file_inside_a_store_is_verified(copy, damage, part):
    # All at once: no file of one store hides what is wrong with another.
    random = Random(f"{damage.__name__} {part}")
    files = {path for store in stores() for path in store.glob(part) if path.is_file()}
    assert len(files) > 50
    for path in sorted(files):
        damage(path, random)
    assert named(check(RUN)) == files


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_other_file_is_verified(copy, damage):
    random = Random(damage.__name__)
    final = {Path(path) for path in (PATHS.neighbors, PATHS.classes, PATHS.summary)}
    # Nothing records which pictures the configuration asks for, or that t was computed on the way.
    unrecorded = {*RUN.rglob("*.png"), Path(PATHS.welch, "zarr.json")}
    files = {path for path in protected() if ".zarr/" not in str(path)} | {store / "zarr.json" for store in stores()}
    for path in sorted(files - unrecorded if damage is delete else files):
        intact = path.read_bytes()
        damage(path, random)
        findings = check(RUN)
        assert not findings.ok
        if damage is delete and path in final:
            assert findings.unmade == [str(path)]
        else:
            assert named(findings) == {path.parent if damage is delete and path.name == "zarr.json" else path}
        assert not findings.outdated
        path.write_bytes(intact)


def test_without_t_the_similarities_are_out_of_date(copy):
    Path(committed(PATHS.welch)).unlink()
    findings = check(RUN)
    assert [str(path) for path, _ in findings.outdated] == [PATHS.similarity]
    assert target(findings) == committed(PATHS.similarity)  # which makes t first


@pytest.mark.parametrize("seed", range(12))
def test_damage_anywhere_is_named(copy, seed):
    random = Random(seed)
    path = random.choice([path for path in protected() if path.suffix != ".png"])
    random.choice([flip, truncate])(path, random)
    assert named(check(RUN)) == {path}


def test_analyses_of_other_neighbors_are_out_of_date_and_half_of_one_is_missing(copy):
    both = [Path(PATHS.analysis(name)) for name in ("stability", "class_stability")]
    stability(Path(PATHS.neighbors), {"moments": Path(PATHS.moments)}, *both)
    assert check(RUN).ok
    both[1].unlink()
    assert check(RUN).missing == [both[1]]
    both[0].rename(both[1])
    assert check(RUN).missing == [both[0]]
    both[1].rename(both[0])
    shutil.copy(both[0], both[1])
    table = read_table(Path(PATHS.neighbors))
    write_table(table.slice(0, len(table) - 1), Path(PATHS.neighbors))
    assert sorted(path for path, _ in check(RUN).outdated) == sorted(both)


@pytest.mark.parametrize("damage", DAMAGES)
def test_outputs_that_no_stage_of_today_writes_are_verified(copy, damage):
    # As a stage that is added later would write them: nothing tells the check of it.
    (folder := RUN / "analysis").mkdir()
    shutil.copy(PATHS.neighbors, folder / "later.parquet")
    shutil.copy(PATHS.summary, folder / "later.json")
    shutil.copytree(PATHS.welch, folder / "stability.zarr")
    assert check(RUN).ok
    files = [folder / name for name in ("later.parquet", "later.json", "stability.zarr/t/c/0/0")]
    for path in files if damage is not delete else files[2:]:
        intact = path.read_bytes()
        damage(path, Random(damage.__name__))
        assert named(check(RUN)) == {path}
        path.write_bytes(intact)
    write_table(read_table(files[0]), files[0], {"dataset_digest": "of other images"})
    write_document(files[1], {"weights_digest": "of other weights"})
    findings = check(RUN)
    assert [path for path, _ in findings.outdated] == files[1::-1]
    assert not findings.damaged


def test_one_command_makes_all_damaged_files_again(copy):
    first, second, _ = names()
    for path in (PATHS.shard(first), f"{PATHS.features(second)}/gap/c/0/0", f"{PATHS.features(second)}/gap/c/1/0"):
        Path(path).unlink()
    targets = [committed(PATHS.features(second)), f"{PATHS.root}/shards/index.json"]
    assert sorted(target(check(RUN)).split()) == sorted(targets)


def test_without_the_index_all_else_is_verified(copy):
    Path(PATHS.index).unlink()
    flip(Path(PATHS.moments, "count/c/0/0"), Random(0))
    findings = check(RUN)
    assert named(findings) == {Path(PATHS.index), Path(PATHS.moments, "count/c/0/0")}
    assert target(findings) == f"{committed(PATHS.moments)} {PATHS.index}"


def test_a_run_is_found_from_anywhere(copy, monkeypatch):
    delete(Path(PATHS.network), Random())
    for here, there in (("/", copy / RUN), ("results", "toy"), ("results/toy/shards", ".."), (RUN, ".")):
        monkeypatch.chdir(copy / here)
        findings = check(Path(there))
        assert findings.missing == [Path(f"{there}/network.json")]
        assert target(findings) == "results/toy/network.json"


def exchange(one: str, other: str) -> None:
    Path(one).rename("aside")
    Path(other).rename(one)
    Path("aside").rename(other)


def test_a_sound_chunk_in_a_place_not_its_own_is_named(copy):
    store = PATHS.features(names()[0])
    exchange(f"{store}/gap/c/0/0", f"{store}/gap/c/1/0")
    assert [line for _, line in check(RUN).damaged] == [f"{store}/gap/c/{i}/0 was changed" for i in (0, 1)]


@pytest.mark.parametrize("kind", ["shard", "features"])
def test_sound_files_of_another_shard_are_named(copy, kind):
    first, second = (getattr(PATHS, kind)(name) for name in names()[:2])
    exchange(first, second)
    findings = check(RUN)
    assert {Path(first), Path(second)} <= {path for path, _ in findings.damaged}


def test_moments_of_other_shards_are_out_of_date(copy):
    exchange(*(PATHS.shard_moments(name) for name in names()[:2]))
    findings = check(RUN)
    assert not findings.damaged
    assert [str(path) for path, _ in findings.outdated] == [PATHS.moments]
    assert findings.lines()[0].startswith(f"{PATHS.moments} ")
    assert target(findings) == committed(PATHS.moments)


def test_outputs_of_another_network_are_out_of_date(copy):
    network = open_run(RUN).network()
    write_document(Path(PATHS.network), network | {"weights_digest": "another"})
    findings = check(RUN)
    assert not findings.damaged
    expected = [*map(PATHS.features, names()), PATHS.neighbors, PATHS.classes, PATHS.summary]
    assert sorted(str(path) for path, _ in findings.outdated) == sorted(expected)


def test_a_picture_cut_short_is_named_with_its_own_target(copy):
    path = Path(PATHS.heatmap("gap"))
    truncate(path, Random(1))
    assert target(check(RUN)) == str(path)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("as_folder", [False, True], ids=["file", "folder"])
def test_every_file_of_the_explorer_is_verified(copy, damage, as_folder):
    before, page = check(RUN), Path(PATHS.explorer)
    write_page({f"part/{i}": packed(b"of the data" * i) for i in range(3)}, "Ünïcode 猫", page, as_folder)
    files = [page, *(path for path in page.with_suffix("").rglob("*") if path.is_file())]
    after = check(RUN)
    assert after.ok
    assert after.files - before.files == len(files) == (5 if as_folder else 1)
    assert after.size - before.size == sum(path.stat().st_size for path in files)
    # Nothing records whether the configuration asks for a page.
    for path in files[1:] if damage is delete else files:
        intact = path.read_bytes()
        damage(path, Random(str(path)))
        findings = check(RUN)
        assert named(findings) == {page}
        assert target(findings) == str(page)
        path.write_bytes(intact)


STAGES: list[tuple[str, Callable[[], list[str]]]] = [
    ("report", lambda: [f"{RUN}/report"]),
    ("neighbors", lambda: [PATHS.neighbors, PATHS.classes, PATHS.summary]),
    ("similarity", lambda: [PATHS.similarity]),
    ("welch", lambda: [PATHS.welch]),
    ("merge", lambda: [PATHS.moments]),
    ("moments", lambda: [PATHS.shard_moments(names()[0])]),
]


def remove(path: str) -> None:
    shutil.rmtree(path) if Path(path).is_dir() else Path(path).unlink()


def test_a_run_that_is_not_finished_is_not_damaged(copy):
    for stage, outputs in STAGES:
        for path in outputs():
            remove(path)
        findings = check(RUN)
        assert findings.ok == (stage == "report")
        assert not findings.damaged + findings.missing + findings.outdated
    # An extraction in work: its root is not written, its journal is.
    Path(committed(PATHS.features(names()[0]))).unlink()
    findings = check(RUN)
    assert not findings.damaged + findings.missing + findings.outdated
    shards = [f"{RUN}/{kind}/*.zarr (1 of 3)" for kind in ("features", "moments")]
    others = [PATHS.moments, PATHS.similarity, PATHS.neighbors, PATHS.classes, PATHS.summary]
    assert findings.unmade == [*shards, *others]
    assert all(name in "\n".join(findings.lines()) for name in findings.unmade)


def test_a_run_that_has_only_begun_is_not_damaged(copy):
    for path in (*RUN.glob("[fmnrwcs]*"),):
        if path.name not in ("manifest.parquet", "network.json"):
            remove(str(path))
    findings = check(RUN)
    assert not findings.ok
    assert not findings.damaged + findings.missing + findings.outdated
    Path(PATHS.manifest).unlink()
    findings = check(RUN)
    assert not findings.damaged + findings.missing + findings.outdated


def test_new_images_put_the_moments_out_of_date(copy, base):
    images = shutil.copytree(base / "images", copy / "images")
    shutil.copy(next((images / "owl").iterdir()), images / "owl" / "new.png")
    before = names()
    scan_and_shard(load(toy.config()))
    (former,) = set(before) - set(names())
    findings = check(RUN)
    assert not findings.damaged + findings.missing
    outdated = [PATHS.moments, PATHS.classes, PATHS.neighbors, PATHS.summary]
    assert sorted(str(path) for path, _ in findings.outdated) == sorted(outdated)
    assert f"{RUN}/features/*.zarr (1 of 3)" in findings.unmade
    # The files of the former shard are counted, and nothing else is said of them.
    left = [path for path in RUN.rglob("*") if path.is_file() and former in str(path)]
    assert sorted(findings.former) == sorted(left)
    size = f"{sum(path.stat().st_size for path in left) / 1e6:.1f} MB"
    assert f"{len(left)} files ({size})" in findings.lines()[-1]
    delete(left[0], Random())
    assert len(check(RUN).former) == len(left) - 1


def test_clean_lists_the_files_of_outdated_shards_and_deletes_them_when_told(copy, base, monkeypatch, capsys):
    images = shutil.copytree(base / "images", copy / "images")
    next((images / "owl").iterdir()).unlink()
    Path(PATHS.rejects("0123456789abcdef")).touch()  # of a shard that was never finished
    before = names()
    scan_and_shard(load(toy.config()))
    (shard_before,) = set(before) - set(names())
    left = {path for path in RUN.rglob("*") if path.is_file()}
    gone = {path for path in left if shard_before in str(path) or "0123456789abcdef" in str(path)}
    assert len({path.parts[2] for path in gone}) == 3  # shards, features and moments
    monkeypatch.setenv("LABELSIM_CLAIM", "")  # so that it is taken back after the test

    result = CliRunner().invoke(cli.app, ["clean", str(RUN)], catch_exceptions=False)
    assert result.exit_code == 0
    for name in (PATHS.features(shard_before), PATHS.shard(shard_before), PATHS.rejects("0123456789abcdef")):
        assert name in result.output
    assert f"{sum(path.stat().st_size for path in gone) / 1e6:.1f} MB" in result.output.splitlines()[-1]
    assert {path for path in RUN.rglob("*") if path.is_file()} == left

    # A process that works on the run keeps them.
    work = "import sys; from pathlib import Path; from labelsim.storage.locks import claim_run; "
    work += "claim_run(Path(sys.argv[1])); print(flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", work, str(RUN)], **pipes) as worker:
        worker.stdout.readline()
        monkeypatch.setattr(sys, "argv", ["labelsim", "clean", str(RUN), "--yes"])
        with pytest.raises(SystemExit):
            cli.main()
        assert f"process {worker.pid} " in capsys.readouterr().err
        assert left <= set(RUN.rglob("*"))
        worker.communicate()

    result = CliRunner().invoke(cli.app, ["clean", str(RUN), "--yes"], catch_exceptions=False)
    assert result.exit_code == 0
    kept = {path for path in RUN.rglob("*") if path.is_file() and path.name != ".labelsim.lock"}
    assert kept == left - gone
    assert check(RUN).former == []
    assert not [path for path in RUN.rglob("*") if shard_before in path.name]
    result = CliRunner().invoke(cli.app, ["clean", str(RUN), "--yes"], catch_exceptions=False)
    assert str(RUN) in result.output


@pytest.mark.parametrize("folder", ["nowhere", "results", "results/toy/network.json"])
def test_clean_of_what_is_no_run_ends_with_a_message(copy, folder, monkeypatch, capsys):
    for arguments in (["clean", folder], ["clean", folder, "--yes"]):
        monkeypatch.setattr(sys, "argv", ["labelsim", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        assert caught.value.code == 1
        output, error = capsys.readouterr()
        assert output == ""
        assert error.startswith(folder)


def test_a_scan_that_no_cut_followed_puts_the_index_out_of_date(copy, base):
    images = shutil.copytree(base / "images", copy / "images")
    next((images / "owl").iterdir()).unlink()
    scan(load(toy.config())["dataset"], Path(PATHS.manifest))
    findings = check(RUN)
    assert not findings.damaged
    assert [str(path) for path, _ in findings.outdated] == [PATHS.index]


def test_the_command(copy):
    result = CliRunner().invoke(cli.app, ["check", str(RUN)], catch_exceptions=False)
    assert result.exit_code == 0
    assert result.output.splitlines() == check(RUN).lines()
    flip(Path(PATHS.moments, "count/c/0/0"), Random(0))
    result = CliRunner().invoke(cli.app, ["check", str(RUN)], catch_exceptions=False)
    assert result.exit_code == 1
    assert result.output.startswith(f"{PATHS.moments}/count/c/0/0 ")
    assert f" --force {committed(PATHS.moments)}\n" in result.output


@pytest.mark.parametrize("folder", ["nowhere", "results", "results/toy/shards", "results/toy/network.json"])
def test_the_command_on_what_is_no_run_ends_with_a_message(copy, folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["labelsim", "check", folder])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    output, error = capsys.readouterr()
    assert output == ""
    assert error.startswith(f"{folder} ")
    assert "Traceback" not in error


def test_a_check_reads_and_changes_nothing(copy):
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in RUN.rglob("*")}
    check(RUN)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in RUN.rglob("*")} == before

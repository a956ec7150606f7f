"""`labelsim check` on a run that its stages made, whole, damaged and unfinished."""

import os
import shutil
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
from labelsim.run import Paths, committed, open_run
from labelsim.stages.heatmap import heatmap
from labelsim.stages.scan import scan
from labelsim.stages.shard import shard

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
    """The files that are said to be damaged, each at the beginning of a line of its own."""
    lines = [line for _, line in findings.damaged]
    assert findings.lines()[: len(lines)] == lines
    assert len(set(lines)) == len(lines)
    return {Path(line.split(" ")[0]) for line in lines}


def test_a_finished_run_is_whole(copy):
    findings = check(RUN)
    assert findings.whole
    assert (findings.shards, findings.extracted, findings.averaged, findings.images) == (3, 3, 3, 170)
    assert (findings.files, findings.size) == (len(protected()), sum(path.stat().st_size for path in protected()))
    size = f"{findings.size / 1e6:.1f} MB"
    assert findings.lines() == [f"All is well: 3 shards of 170 images; {findings.files} files, {size} verified."]


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
    final = [PATHS.neighbors, PATHS.classes, PATHS.summary, *map(PATHS.heatmap, ("welch", "hidden", "gap"))]
    files = {path for path in protected() if ".zarr/" not in str(path)}
    for path in sorted([*files, *(store / "zarr.json" for store in stores())]):
        whole = path.read_bytes()
        damage(path, random)
        findings = check(RUN)
        assert not findings.whole
        if damage is delete and str(path) in final:
            # The workflow's own targets: it makes them again when it is run.
            assert findings.missing == [path]
            assert f"Not there yet: {path}." in findings.lines()
        else:
            assert named(findings) == {path}
            assert not findings.missing
        assert not findings.outdated
        path.write_bytes(whole)


@pytest.mark.parametrize("seed", range(12))
def test_damage_anywhere_is_named(copy, seed):
    random = Random(seed)
    path = random.choice([path for path in protected() if path.suffix != ".png"])
    random.choice(DAMAGES)(path, random)
    findings = check(RUN)
    assert named(findings) | set(findings.missing) == {path}


def test_one_command_makes_everything_anew(copy):
    first, second, _ = names()
    for path in (PATHS.shard(first), f"{PATHS.features(second)}/gap/c/0/0", f"{PATHS.features(second)}/gap/c/1/0"):
        Path(path).unlink()
    lines = check(RUN).lines()
    targets = [f"{PATHS.root}/shards/index.json", committed(PATHS.features(second))]
    expected = ["Make anew what is damaged or missing, where the workflow was run:"]
    expected += [f"  snakemake [your options] --force {' '.join(sorted(targets, reverse=True))}"]
    assert lines[3:6] == ["", *expected]


def test_without_the_index_it_is_made_anew_first(copy):
    Path(PATHS.index).unlink()
    flip(Path(PATHS.moments, "count/c/0/0"), Random(0))
    assert check(RUN).lines()[:5] == [
        f"{PATHS.index} is missing",
        "Without the index of the shards no more can be said.",
        "",
        "Make anew what is damaged or missing, where the workflow was run:",
        f"  snakemake [your options] --force {PATHS.index}",
    ]


def test_a_run_is_found_from_anywhere(copy, monkeypatch):
    delete(Path(PATHS.network), Random())
    expected = "  snakemake [your options] --force results/toy/network.json"
    for here, there in (("/", copy / RUN), ("results", "toy"), ("results/toy/shards", ".."), (RUN, ".")):
        monkeypatch.chdir(copy / here)
        lines = check(Path(there)).lines()
        assert lines[0] == f"{there}/network.json is missing"
        assert expected in lines


def exchange(one: str, other: str) -> None:
    Path(one).rename("aside")
    Path(other).rename(one)
    Path("aside").rename(other)


def test_a_sound_chunk_in_a_place_not_its_own_is_named(copy):
    store = PATHS.features(names()[0])
    exchange(f"{store}/gap/c/0/0", f"{store}/gap/c/1/0")
    assert [line for _, line in check(RUN).damaged] == [f"{store}/gap/c/{i}/0 was changed" for i in (0, 1)]


@pytest.mark.parametrize("kind", ["shard", "features", "rejects"])
def test_sound_files_of_another_shard_are_named(copy, kind):
    first, second = (getattr(PATHS, kind)(name) for name in names()[:2])
    exchange(first, second)
    findings = check(RUN)
    assert {Path(first), Path(second)} <= named(findings)


def test_moments_of_other_features_are_out_of_date(copy):
    first, second = (PATHS.shard_moments(name) for name in names()[:2])
    exchange(first, second)
    findings = check(RUN)
    assert not findings.damaged
    assert [str(path) for path, _ in findings.outdated] == [first, second, PATHS.moments]
    lines = findings.lines()
    assert lines[0] == f"{first} was not made from {PATHS.features(names()[0])} as it is there"
    targets = " ".join(committed(path) for path in (first, second, PATHS.moments))
    assert f"  snakemake [your options] --force {targets}" in lines


def test_a_picture_cut_short_is_named_with_its_own_target(copy):
    path = Path(PATHS.heatmap("gap"))
    truncate(path, Random(1))
    assert f"  snakemake [your options] --force {path}" in check(RUN).lines()


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
    for _, outputs in STAGES:
        for path in outputs():
            remove(path)
        findings = check(RUN)
        assert not findings.whole
        assert not findings.damaged
        assert not findings.outdated
    # An extraction in work: its root is not written, its journal is.
    Path(committed(PATHS.features(names()[0]))).unlink()
    findings = check(RUN)
    assert not findings.damaged
    missing = ", ".join([PATHS.moments, PATHS.welch, PATHS.similarity, PATHS.neighbors, PATHS.classes, PATHS.summary])
    assert findings.lines()[:5] == [
        "",
        "The run is not finished: 2 of 3 shards extracted, 2 of 3 shards averaged.",
        f"Not there yet: {missing}.",
        "Run the workflow to its end:",
        "  snakemake [your options]",
    ]


def test_a_run_that_has_only_begun_is_not_damaged(copy):
    for path in (*RUN.glob("[fmnrwcs]*"),):
        if path.name not in ("manifest.parquet", "network.json"):
            remove(str(path))
    findings = check(RUN)
    assert not findings.damaged
    assert findings.lines()[:2] == ["", "The run is not finished."]
    Path(PATHS.manifest).unlink()
    assert not check(RUN).damaged


def test_new_images_put_the_moments_out_of_date(copy, base):
    images = shutil.copytree(base / "images", copy / "images")
    shutil.copy(next((images / "owl").iterdir()), images / "owl" / "new.png")
    before = names()
    scan_and_shard(load(toy.config()))
    (new,) = set(names()) - set(before)
    (former,) = set(before) - set(names())
    findings = check(RUN)
    assert not findings.damaged
    assert [str(path) for path, _ in findings.outdated] == [PATHS.moments]
    assert "2 of 3 shards extracted" in "\n".join(findings.lines())
    # What the former shard left is told, and in no one's way.
    left = [path for path in RUN.rglob("*") if path.is_file() and former in str(path)]
    assert (findings.former, findings.former_size) == (len(left), sum(path.stat().st_size for path in left))
    assert findings.lines()[-1].startswith(f"{len(left)} files of former shards lie behind (")
    delete(left[0], Random())
    assert check(RUN).former == len(left) - 1
    assert Path(PATHS.features(new)) in findings.missing


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
    assert result.output.startswith("All is well: 3 shards of 170 images; ")
    flip(Path(PATHS.moments, "count/c/0/0"), Random(0))
    result = CliRunner().invoke(cli.app, ["check", str(RUN)], catch_exceptions=False)
    assert result.exit_code == 1
    assert result.output.startswith(f"{PATHS.moments}/count/c/0/0 was changed")
    assert f"  snakemake [your options] --force {committed(PATHS.moments)}\n" in result.output


@pytest.mark.parametrize("folder", ["nowhere", "results", "results/toy/shards", "results/toy/network.json"])
def test_the_command_on_what_is_no_run_ends_with_a_message(copy, folder, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["labelsim", "check", folder])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    assert capsys.readouterr() == ("", f"{folder} is not the folder of a run; expected one such as results/demo\n")


def test_a_check_reads_and_changes_nothing(copy):
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in RUN.rglob("*")}
    check(RUN)
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in RUN.rglob("*")} == before

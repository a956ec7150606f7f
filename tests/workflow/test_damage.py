"""Files damaged after they were written stop the workflow, and the command in the message makes them again."""

import re
import shlex
from pathlib import Path

from labelsim.check import check
from labelsim.run import Paths, committed, open_run


def contents(folder: Path) -> dict[str, bytes]:
    """All files that hold results, by their paths; not the statistics of the extraction."""
    results = folder / "results/toy"
    files = [*results.rglob("*.parquet"), *results.glob("*.json"), *results.glob("shards/*.json")]
    files += [path for path in results.rglob("*.zarr/**/*") if path.is_file()]
    return {str(path.relative_to(results)): path.read_bytes() for path in [*files, *results.rglob("*.png")]}


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def options(text: str) -> list[str]:
    """What the command says that a message names, as arguments."""
    (command,) = re.findall(r"snakemake \[your options\] (--force .*)", text)
    return shlex.split(command)


def test_damaged_features_are_never_averaged(base, copy, run):
    shard = open_run(copy / "results/toy").shards()[1]
    paths = Paths("results/toy")
    flip(copy / paths.features(shard) / "gap/c/1/0")
    outcome = run(copy, "--forcerun", "moments")
    assert outcome.code == 1
    assert f"{paths.features(shard)} is damaged: gap " in outcome.output
    assert "Traceback" not in outcome.output
    assert not (copy / committed(paths.shard_moments(shard))).exists()
    assert "rule merge" not in outcome.output
    command = set(re.findall(r"snakemake \[your options\] --force .*", outcome.output))
    assert command == {f"snakemake [your options] --force {paths.features(shard)}/zarr.json"}
    outcome = run(copy, *options(command.pop()))
    assert outcome.code == 0
    assert outcome.jobs == [f"extract {shard}"]
    assert "resumed" in outcome.output  # all chunks but one
    assert run(copy, "--forcerun", "moments").code == 0
    assert contents(copy) == contents(base)


def test_one_command_makes_all_damaged_files_again(base, copy, run):
    results = copy / "results/toy"
    first, second, third = open_run(results).shards()
    paths = Paths(str(results))
    for path in (
        *(paths.shard(first), paths.network, f"{paths.features(second)}/hidden/zarr.json"),
        *(f"{paths.features(first)}/class_id/zarr.json", f"{paths.shard_moments(third)}/zarr.json"),
        *(f"{paths.moments}/count/c/0/0", paths.manifest, paths.classes, paths.heatmap("gap")),
    ):
        flip(Path(path))
    for path in (paths.shard(second), paths.index, paths.rejects(third), f"{paths.features(third)}/logits/c/0/0"):
        Path(path).unlink()
    findings = check(results)
    # Which shards there are is not known without the index: the table and the rejects that are gone are made with it.
    assert {*(str(path) for path, _ in findings.damaged), *map(str, findings.missing)} == {
        *(paths.manifest, paths.network, paths.index, paths.shard(first), *map(paths.features, (first, second, third))),
        *(paths.shard_moments(third), paths.moments, paths.classes, paths.heatmap("gap")),
    }
    outcome = run(copy, *options("\n".join(findings.lines())))
    assert outcome.code == 0, outcome.output
    assert check(results).ok
    assert contents(copy) == contents(base)

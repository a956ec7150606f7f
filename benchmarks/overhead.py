"""What the workflow itself costs: finding that nothing is to do, and each job that is run.

The index of a thousand shards is made by the stages, and so are the features of some shards. The other files are empty:
Snakemake looks at files' times and digests, not into stores. It is told that all is done by `--touch`, which writes
down what it would have written down had it run the jobs, and then asked what is to do. What a job costs is what each
further `moments` job adds to a run, less the time of its stage when called in a process that has its imports.

Times are of the processor, Snakemake's and its jobs', which other work on the machine changes least.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import pipeline
import results
import yaml

from labelsim.jobs.provenance import identity
from labelsim.run import Paths, committed
from labelsim.stages.extract import extract
from labelsim.stages.moments import moments
from labelsim.stages.network import network
from labelsim.stages.preflight import preflight
from labelsim.stages.scan import scan
from labelsim.stages.shard import shard
from labelsim.storage.json_files import read_document

REPOSITORY = Path(__file__).resolve().parents[1]
IMAGES, CLASSES, IMAGES_PER_SHARD = 3_014, 10, 4  # gives about 1,000 shards
JOBS, REPEATS = 6, 3
STAGES = dict.fromkeys(("scan", "shard", "moments", "merge", "welch", "similarity", "neighbors"), "<= 1")
STAGES["heatmap"] = ""  # which waits for Matplotlib
EXTRACTION = {  # what an extraction does before its first image, one after the other
    "import torch": "import torch",
    "import all else": "import labelsim.jobs.log, labelsim.stages.extract",
    "import torchvision": "import labelsim.network.torchvision_models",
    "build ResNet34 and digest its weights": "built = labelsim.network.builder.build('resnet34', None)",
    "dry run": "labelsim.network.probes.Probes(built.module, torch.zeros(1, 3, 224, 224))",
    "load Numba and compiled resizing": "import numpy; labelsim.images.resize.resize_part("
    "numpy.zeros((50, 50, 3), 'uint8'), (32, 32), (0, 0, 32, 32), 2)",
    "try the transform's parts": "labelsim.images.transform.split_transform(built.transform)",
}


def main() -> None:
    """Make the run, time Snakemake on it, and write the table."""
    with tempfile.TemporaryDirectory() as name, _inside(Path(name)):
        paths, shards = _run()
        _touch()
        idle = [_nothing_to_do() for _ in range(REPEATS)]
        own = [_own_work(paths, name) for name in shards[:JOBS]]
        few, many = ([_jobs(paths, shards[:number]) for _ in range(REPEATS)] for number in (1, JOBS))
    added = (median(many) - median(few)) / (JOBS - 1) - median(own)
    of = results.Result.of
    results.write(
        "overhead",
        [
            of(f"nothing to do, {len(shards):,} shards", median(idle), "CPU s", "<= 10"),
            of("added to a job by Snakemake, Python and imports", added, "CPU s", "<= 5"),
            *(
                of(f"{stage}: from start to work", median(_starts(stage)), "CPU s", goal)
                for stage, goal in STAGES.items()
            ),
            *(of(f"extract, before its first image: {part}", took, "CPU s") for part, took in _extraction_starts()),
        ],
    )


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _run() -> tuple[Paths, list[str]]:
    """Make a run's files; its paths and the names of its shards."""
    pipeline.plant(Path(), IMAGES, CLASSES, channels=4, hidden=4)
    given = pipeline.config(Path(), IMAGES_PER_SHARD)
    given["extract"]["workers"] = 0
    switches = [section for section in given["analysis"].values() if "enabled" in section]
    for section in (*switches, given["report"]["explorer"]):
        section["enabled"] = False  # their jobs do not grow with the shards
    Path("config.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
    paths = Paths(f"results/{given['run']}")
    manifest, index, made = Path(paths.manifest), Path(paths.index), Path(paths.network)
    scan(given["dataset"], manifest)
    shard(manifest, IMAGES_PER_SHARD, "auto", index)
    network(given["model"], given["probe"], identity("network", given), made)
    preflight(made, index.parent, given, Path(paths.preflight))
    shards = [entry["name"] for entry in read_document(index)["shards"]]
    for name in shards[:JOBS]:
        files = (paths.shard(name), made, paths.features(name), paths.rejects(name), paths.stats(name))
        extract(*map(Path, files), given, "", 1)
    for file in _outputs(paths, given, shards):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()
    return paths, shards


def _outputs(paths: Paths, given: dict[str, Any], shards: Sequence[str]) -> Iterator[str]:
    """What the rules declare after the checkpoints."""
    for name in shards:
        yield from (committed(paths.features(name)), paths.rejects(name), paths.stats(name))
        yield committed(paths.shard_moments(name))
    yield from map(committed, (paths.moments, paths.welch, paths.similarity))
    yield from (paths.neighbors, paths.classes, paths.summary)
    yield from map(paths.heatmap, given["similarity"]["methods"])


def _touch() -> None:
    """Have Snakemake take the files for what it made, without the tenth of a second that it waits for each job."""
    code = "from snakemake.executors.touch import Executor; Executor.SLEEPING_TIME = 0; "
    code += "import snakemake.cli; snakemake.cli.main()"
    _snakemake("--touch", "--forceall", program=("-c", code))


def _nothing_to_do() -> float:
    """Seconds of a dry run."""
    output, took = _snakemake("--dry-run")
    if "Nothing to be done" not in output:
        raise RuntimeError(output)
    return took


def _own_work(paths: Paths, name: str) -> float:
    """Seconds of the moments of a shard, once everything is imported."""
    output = Path(paths.shard_moments(name))
    return _cpu(lambda: moments(Path(paths.features(name)), Path(paths.network), None, "auto", output))


def _jobs(paths: Paths, shards: Sequence[str]) -> float:
    """Seconds of a run that makes the moments of some shards."""
    wanted = [committed(paths.shard_moments(name)) for name in shards]
    for file in wanted:
        Path(file).unlink()
    output, took = _snakemake(*wanted)
    if f"{len(wanted)} of {len(wanted)} steps (100%) done" not in output:
        raise RuntimeError(output)
    return took


def _starts(stage: str) -> list[float]:
    """Seconds that a process needs before a stage can begin."""
    code = f"import labelsim.jobs.log, labelsim.stages.{stage}"
    return [_process("-c", code)[1] for _ in range(REPEATS)]


def _extraction_starts() -> Iterator[tuple[str, float]]:
    """Parts of the start of an extraction, and the seconds that each needs."""
    code = "import time\n" + "".join(f"{work}\nprint(time.process_time())\n" for work in EXTRACTION.values())
    clocks = [[0.0, *map(float, _process("-c", code)[0].split())] for _ in range(REPEATS)]
    for number, part in enumerate(EXTRACTION):
        yield part, median(clock[number + 1] - clock[number] for clock in clocks)


def _snakemake(*options: str, program: Sequence[str] = ("-m", "snakemake")) -> tuple[str, float]:
    """What Snakemake says, and the seconds that it and its jobs took."""
    where = ("--snakefile", str(REPOSITORY / "Snakefile"), "--configfile", "config.yaml")
    return _process(*program, *where, "--cores", "1", *options)


def _process(*arguments: str) -> tuple[str, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "workflow"), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise RuntimeError(done.stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _cpu(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()

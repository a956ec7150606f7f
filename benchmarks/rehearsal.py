"""A rehearsal of ImageNet: its shape with generated photos, the real workflow, and results compared with an oracle's.

Three parts: 1,000 numbered classes and a network of ResNet34's shape, killed once on the way; the same classes in
every form; 21,841 classes whose names are in no order. Any wrong result is an error, at the first one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: its threads must not spin beside others

import many_classes
import oracle
import psutil
import results
import yaml
from many_classes import FORMS, GROUPS, NARROW, WIDE, Photo
from results import Result

from labelsim.methods import METHODS

REPOSITORY = Path(__file__).parents[1]
STATISTICS = ("moments", "merge", "welch", "conformal", "head", "similarity", "neighbors")
ANALYSES = {
    "stability": ["stability", "class_stability"],
    "evidence": ["evidence", "evidence_layers"],
    "significance": ["channels", "class_significance"],
    "judgement": ["judgement"],
    "agreement": ["agreement"],
    "examples": ["examples", "evidence_images"],
    "wordnet": ["wordnet", "wordnet_pairs"],
    "map": ["map", "tree"],
}
STAGES = ("scan", "network", "shard", "extract", *STATISTICS, *ANALYSES, "report")
MEMORY, DISK = 6, 16  # GB that are needed
EVERY = 0.2  # seconds between two looks at the processes
LARGEST = 10**6  # bytes of a file that Snakemake still compares by content

# What each stage writes below the run's folder.
WRITTEN = {
    "scan": ["manifest.parquet"],
    "network": ["network.json"],
    "shard": ["shards"],
    "extract": ["features"],
    "moments": ["moments"],
    "merge": ["moments.zarr"],
    "welch": ["welch.zarr"],
    "conformal": ["conformal.zarr"],
    "head": ["head.zarr"],
    "similarity": ["similarity.zarr"],
    "neighbors": ["neighbors.parquet", "classes.parquet", "summary.json"],
    **{name: [f"analysis/{table}.parquet" for table in tables] for name, tables in ANALYSES.items()},
    "report": ["report"],
}
# What Snakemake compares by content. The names of the classes are in shards/classes.json, which no rule declares.
COMPARED = ("network.json", "shards/index.json", "shards/class_ids.json", "*.zarr/zarr.json", "*/*.zarr/zarr.json")


class Workflow:
    """The workflow in a folder, and what its processes took.

    Attributes
    ----------
    seconds : dict of str to float
        Of each stage, the time in which one of its jobs was there.
    memory : dict of str to float
        Of each stage, the most memory that one of its jobs held, with its workers, in MB.
    total : float
        Seconds of all runs of Snakemake.
    """

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        self.folder = folder
        self.root = folder / "results" / config["run"]
        self.seconds: dict[str, float] = defaultdict(float)
        self.memory: dict[str, float] = defaultdict(float)
        self.total = 0.0
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")

    def run(self, *options: str, kill_when: Callable[[], bool] | None = None) -> str:
        """Run Snakemake in a process group of its own, to its end or until it is to be killed; its output."""
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
        command += ["--directory", str(self.folder), "--configfile", str(self.folder / "config.yaml"), "--cores", "all"]
        log = self.folder / "snakemake.log"
        began = last = time.perf_counter()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command, *options], stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        killed = False
        try:
            while process.poll() is None:
                time.sleep(EVERY)
                now = time.perf_counter()
                for stage, memory in jobs(process.pid).items():
                    self.seconds[stage] += now - last
                    self.memory[stage] = max(self.memory[stage], memory)
                last = now
                if kill_when is not None and kill_when():
                    killed = True
                    break
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.total += time.perf_counter() - began
        output = log.read_text(encoding="utf-8")
        if process.returncode and not killed:
            raise SystemExit(f"{output}\nThe workflow failed: see {log}")
        if kill_when is not None and not killed:
            raise SystemExit("The workflow ended before it was killed")
        return output

    def finish(self, *targets: str) -> None:
        """Run to the end; then there is nothing more to do, and what Snakemake compares is small."""
        self.run(*targets)
        total = self.total
        output = self.run("--dry-run", *targets)
        self.total = total
        if "Nothing to be done" not in output:
            raise SystemExit(f"{output}\nA second run would do something")
        for pattern in COMPARED:
            paths = list(self.root.glob(pattern))
            assert paths, f"there is no {pattern} in {self.root}"
            for path in paths:
                assert path.stat().st_size < LARGEST, f"{path} has {path.stat().st_size} bytes, {LARGEST} or more"

    def table(self, part: str) -> list[Result]:
        """Time, memory and bytes written of each stage."""
        found = []
        for stage in STAGES:
            if not self.seconds[stage]:
                continue
            found += [
                Result.of(f"{part}, {stage}: time", self.seconds[stage], "s"),
                Result.of(f"{part}, {stage}: memory", self.memory[stage], "MB"),
                Result.of(f"{part}, {stage}: written", size(self.root, WRITTEN[stage]) / 1e6, "MB"),
            ]
        analyses = sum(self.seconds[stage] for stage in ANALYSES)
        found.append(Result.of(f"{part}, all analyses: time", analyses, "s", "<= 300"))
        return [*found, Result.of(f"{part}, all: time", self.total, "s")]

    def half_done(self, least: int) -> bool:
        """Whether so many chunks are written, the last of them of a shard that is not finished."""
        chunks = {path: path.read_bytes().count(b"\n") - 1 for path in self.root.glob("features/*.journal")}
        begun = [n for path, n in chunks.items() if not path.with_suffix(".zarr").joinpath("zarr.json").exists()]
        return sum(chunks.values()) >= least and max(begun, default=0) > 1

    def stats(self) -> list[dict[str, Any]]:
        """How the extraction of each shard went."""
        paths = sorted(self.root.glob("features/*.stats.json"))
        return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def jobs(snakemake: int) -> dict[str, float]:
    """Stages that jobs are running of, and the memory that the largest of each holds, in MB."""
    found: dict[str, float] = {}
    try:
        children = psutil.Process(snakemake).children(recursive=True)
    except psutil.NoSuchProcess:
        return found
    for child in children:
        try:
            script = next((part for part in child.cmdline()[:2] if ".snakemake/scripts/" in part), None)
            # A worker is forked, so it has its job's command line.
            if script is None or script in child.parent().cmdline():
                continue
            stage = Path(script).stem.split(".", 1)[1]
            family = [child, *child.children(recursive=True)]
            # What processes share counts once.
            memory = sum(process.memory_full_info().pss for process in family) / 1e6
        except (psutil.NoSuchProcess, psutil.ZombieProcess, AttributeError):
            continue
        stage = stage if stage in STAGES else "report"
        found[stage] = max(found.get(stage, 0), memory)
    return found


def size(root: Path, names: Sequence[str]) -> int:
    """Bytes of some files, and of all files in some folders."""
    paths = [path for name in names for path in [root / name, *(root / name).rglob("*")]]
    return sum(path.stat().st_size for path in paths if path.is_file())


def config(dataset: dict[str, Any], model: dict[str, Any], source: str, images_per_shard: int) -> dict[str, Any]:
    """Configuration of a run."""
    return {
        "run": "rehearsal",
        "dataset": dataset,
        "model": model,
        "extract": {"images_per_shard": images_per_shard, "device": "cpu"},
        "similarity": {"layer_groups": GROUPS[source]},
    }


def expected(
    photos: Sequence[Photo], names: Sequence[str], source: str, order: Sequence[str], outputs: Sequence[str]
) -> oracle.Expected:
    """What is known of a run's images."""
    class_of = {f"{names[photo.label]}/{photo.name}": names[photo.label] for photo in photos}
    return oracle.Expected(class_of, order, outputs, GROUPS[source])


def like_imagenet(folder: Path, classes: int, per_class: int) -> list[Result]:
    """Numbered classes, shuffled in WebDataset's shards; killed in the middle of the extraction."""
    names = [str(number) for number in range(classes)]
    with logged(f"{classes:,} classes, {per_class} photos each: making them"):
        photos = many_classes.photos([per_class] * classes, side=64)
        model = many_classes.plant_network(folder, WIDE, classes, 64, photos[: 16 * classes])
        dataset = FORMS["webdataset"].write(folder / "images", photos, names)
    images = len(photos)
    given = config(dataset, outputs(folder, model, names), WIDE, max(images // 8, 256))
    given["similarity"]["methods"] = list(METHODS)
    given["analysis"] = {"reference": {"file": _reference(folder, names)}}
    workflow = Workflow(folder, given)
    with logged("  workflow, killed in the middle of extract"):
        workflow.run(kill_when=lambda: workflow.half_done(images // 256 // 2))
        workflow.run("--unlock")
    with logged("  workflow, run to its end"):
        workflow.finish()
    stats = workflow.stats()
    assert len(stats) > 3, f"{len(stats)} shards: several are what this is about"
    assert any(one["images_resumed"] for one in stats), "nothing was kept of the shard that was killed"
    with logged("  results compared with the oracle"):
        oracle.check(workflow.root, expected(photos, names, WIDE, names, names))
        some = {f"{photo.label}/{photo.name}": photo.data for photo in photos[:500]}
        oracle.check_features(workflow.root, folder, some)
    part = f"{classes:,} classes"
    computed = sum(one["images"] - one["images_resumed"] for one in stats)
    busy = sum(one["seconds"] - one["seconds_by_part"]["starting"] for one in stats)
    return [
        *workflow.table(part),
        Result.of(f"{part}, extract: images in all its time", images / workflow.seconds["extract"], "images/s"),
        Result.of(f"{part}, extract: images once it has started", computed / busy, "images/s"),
    ]


def _reference(folder: Path, names: Sequence[str]) -> str:
    """Write a reference: classes whose numbers are close are similar."""
    rows = ["class_id,neighbor_id,similarity"]
    rows += [f"{a},{b},{1 / (1 + b - a):.4f}" for a in range(len(names)) for b in range(a + 1, len(names))]
    (folder / "reference.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return "reference.csv"


def in_every_form(folder: Path, classes: int, per_class: int) -> list[Result]:
    """The same photos in every form: each as the oracle has it, and the same neighbours."""
    names = [str(number) for number in range(classes)]
    photos = many_classes.photos([per_class] * classes, side=64, seed=1)
    model = outputs(folder, many_classes.plant_network(folder, WIDE, classes, 64, photos), names)
    found = []
    first = None
    for number, (name, form) in enumerate(FORMS.items()):
        here = folder / f"form-{number}"
        here.mkdir()
        for file in ("network.py", "weights.pth", "outputs.csv"):
            shutil.copy(folder / file, here)
        with logged(f"{classes:,} classes, {per_class} photos each, {name}"):
            dataset = form.write(here / "images", photos, names)
            workflow = Workflow(here, config(dataset, model, WIDE, max(len(photos) // 4, 256)))
            workflow.finish("tables")
            order = sorted(names) if form.by_string else names
            oracle.check(workflow.root, expected(photos, names, WIDE, order, names))
            first = first or workflow.root
            oracle.check_same_neighbors(first, workflow.root)
        found.append(Result.of(f"{classes:,} classes, {per_class} photos each, {name}: time", workflow.total, "s"))
        for path in here.glob("results/*/**/*.zarr"):  # the tables are still to be compared
            shutil.rmtree(path, ignore_errors=True)
    return found


def like_imagenet_21k(folder: Path, classes: int, per_class: int) -> list[Result]:
    """Classes whose names are in no order, from tables whose rows are in none."""
    names = many_classes.class_labels(classes)
    with logged(f"{classes:,} classes, {per_class} photos each: making them"):
        photos = many_classes.photos([per_class] * classes, side=16)
        model = many_classes.plant_network(folder, NARROW, 10, 16, photos[:5000])
        dataset = many_classes.parquet_tables(folder / "images", photos, names)
    given = config(dataset, model, NARROW, max(len(photos) // 4, 256))
    # These two read all pairs of classes several times, and would take longer than all else.
    given["analysis"] = {name: {"enabled": False} for name in ("stability", "agreement")}
    workflow = Workflow(folder, {**given, "report": {"classes": names[:2]}})
    with logged("  workflow"):
        workflow.finish()
    with logged("  results compared with the oracle"):
        oracle.check(workflow.root, expected(photos, names, NARROW, names, []))
        some = {f"{names[photo.label]}/{photo.name}": photo.data for photo in photos[:500]}
        oracle.check_features(workflow.root, folder, some)
    return workflow.table(f"{classes:,} classes")


def outputs(folder: Path, model: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The model whose outputs are some classes, in an order of its own."""
    rows = "".join(f"{name},{name}\n" for name in names)
    (folder / "outputs.csv").write_text(f"class_id,name\n{rows}", encoding="utf-8")
    return {**model, "classes": "outputs.csv"}


@contextmanager
def logged(what: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    print(what, end=" ... ", flush=True)
    began = time.perf_counter()
    yield
    print(f"{time.perf_counter() - began:.0f} s", flush=True)


def main() -> None:
    """Run the parts, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the classes; the table is kept for 1 only")
    parser.add_argument("--keep", type=Path, help="a new folder to work in, and to keep")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS), help="which parts; all by default")
    given = parser.parse_args()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="labelsim-rehearsal-"))
    folder.mkdir(parents=True, exist_ok=given.keep is None)
    began = time.perf_counter()
    try:
        check_room(folder, given.scale)
        found = []
        for name in given.parts:
            part, classes, per_class = PARTS[name]
            (folder / name).mkdir()
            try:
                found += part(folder / name, max(round(classes * given.scale), 70), per_class)
            except AssertionError as error:
                raise SystemExit(f"\nWrong: {error}") from None
            if given.keep is None:
                shutil.rmtree(folder / name)
    finally:
        if given.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    print("Every result is the oracle's.")
    found.append(Result.of("the whole rehearsal: time", time.perf_counter() - began, "s", "<= 1200"))
    results.write("rehearsal", found) if given.scale == 1 and given.parts == list(PARTS) else results.show(found)


PARTS: dict[str, tuple[Callable[[Path, int, int], list[Result]], int, int]] = {
    "imagenet": (like_imagenet, 1000, 128),
    "forms": (in_every_form, 1000, 16),
    "imagenet-21k": (like_imagenet_21k, 21841, 3),
}


def check_room(folder: Path, scale: float) -> None:
    """Say what is needed, and stop where it is not there."""
    disk, memory = shutil.disk_usage(folder).free / 1e9, psutil.virtual_memory().available / 1e9
    print(f"Needs {DISK * scale:.0f} GB of disk in {folder} ({disk:.0f} are free; --keep takes another folder) and")
    print(f"{MEMORY} GB of memory ({memory:.0f} are available).")
    if disk < DISK * scale or memory < MEMORY:
        raise SystemExit("There is too little room.")


if __name__ == "__main__":
    main()

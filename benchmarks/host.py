"""The host's side of an extraction, measured without a GPU: the real stage, with a network that costs almost nothing.

The network is one convolution of 1 x 1 on the mean pixel of an image, to 8,512 channels; the first 512 of them are
the hidden state of a linear head with 1,000 outputs: 10,024 values of float32 an image, as from ResNet34. As many
workers decode as there are cores, as beside a GPU. The stage runs over:

- features in memory: nothing is read, decoded or computed. Batches of pixels and their features are made beforehand,
  about a tenth of them zeros, and handed to the stage: what is measured is its loop, and all it does to store them;
- 64-pixel photos in tars, in batches of 256: reading, decoding, normalising, the network above, storing;
- the same photos through the rehearsal's network, which has ResNet34's channels, with `extract`'s defaults;
- full-size photos: the first network, with JPEG files of ImageNet's usual size. The front-end alone is measured too.

Each is measured with the code of an earlier commit and with the code here, in turn, in a process for each. A rate is
the number of images divided by the wall time of the whole stage, both less those of a run over a few images: this
leaves out the start. The first round is thrown away: it meets cold caches, and memory that nobody has touched.

    python benchmarks/host.py                    # compared with the commit before the extraction was rewritten
    python benchmarks/host.py --before HEAD~1
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the Snakefile has it; it counts when torch is loaded

import many_classes
import numpy as np
import photos
import results
import torch

import labelsim
from labelsim.config import load
from labelsim.jobs.provenance import identity
from labelsim.stages.extract import extract
from labelsim.stages.network import network
from labelsim.stages.scan import scan
from labelsim.stages.shard import shard
from labelsim.storage.parquet import read_metadata, read_table, write_table

REPOSITORY = Path(__file__).parents[1]
BEFORE = "243f455"  # the last commit before the extraction was rewritten
REPEATS = 5
CLASSES, CHANNELS, HIDDEN, OUTPUTS = 64, 8512, 512, 1000
CORES = os.cpu_count() or 1
HEAP = dict.fromkeys(("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"), str(1 << 32))  # as the Snakefile has it now

MEMORY, TARS, PHOTOS = "features in memory", "64-pixel photos in tars", "full-size photos"
REHEARSAL = "64-pixel photos in tars, the rehearsal's network"
IMAGES = {MEMORY: 8_192, TARS: 4_096, REHEARSAL: 4_096, PHOTOS: 1_024}
FEW = {MEMORY: 256, TARS: 512, REHEARSAL: 512, PHOTOS: 256}
BATCH = {MEMORY: 256, TARS: 256, PHOTOS: 64}  # so that there are several batches for each worker
SIDES = {MEMORY: (8, 8), TARS: (64, 64), PHOTOS: (256, 224)}  # to which images are resized and cropped

_SOURCE = f"""
from torch import nn
from torchvision import transforms


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.pool, self.conv, self.relu = nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, {CHANNELS}, 1), nn.ReLU()
        self.fc = nn.Linear({HIDDEN}, {OUTPUTS})
        nn.init.normal_(self.conv.weight, 0, 0.3)
        nn.init.normal_(self.conv.bias, 0.7, 0.3)

    def forward(self, images):
        return self.fc(self.relu(self.conv(self.pool(images))).flatten(1)[:, :{HIDDEN}])


def transform():
    scale = transforms.ToTensor(), transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    return transforms.Compose([transforms.Resize(RESIZED), transforms.CenterCrop(CROPPED), *scale])
"""


def main() -> None:
    """Measure and write the table; or work for the process that does."""
    options = _options()
    if options.measure is not None:
        serve(options.measure, options.folder)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        code = {"before": unpacked(options.before, folder), "now": REPOSITORY / "workflow"}
        rates = {what: measure(plant(folder, what), what, code) for what in IMAGES}
    results.write("host", table(rates, options.before))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", default=BEFORE, help="the commit to compare with")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def unpacked(commit: str, folder: Path) -> Path:
    """Unpack the package as it was at a commit; the folder to import it from."""
    archive = folder / "before.tar"
    subprocess.run(["git", "archive", "--output", archive, commit, "workflow"], cwd=REPOSITORY, check=True)
    with tarfile.open(archive) as files:
        files.extractall(folder / "before", filter="data")
    return folder / "before" / "workflow"


def plant(folder: Path, what: str) -> Path:
    """Write the images, the network and the configuration of one measurement into a folder of its own."""
    folder = folder / what
    folder.mkdir()
    if what == REHEARSAL:
        return _plant_rehearsal(folder)
    resized, cropped = SIDES[what]
    (folder / "network.py").write_text(f"RESIZED, CROPPED = {resized}, {cropped}\n{_SOURCE}", encoding="utf-8")
    per_class = [IMAGES[what] // CLASSES] * CLASSES
    if what == MEMORY:  # rows without an image that is worth reading
        rows = [many_classes.Photo(number % CLASSES, f"{number}.jpg", b"nothing") for number in range(IMAGES[what])]
        dataset = many_classes.parquet_tables(folder / "images", rows, None)
    elif what == TARS:
        dataset = many_classes.webdataset(folder / "images", many_classes.photos(per_class, resized), [])
    else:
        dataset = {"source": str(photos.class_folders(folder, IMAGES[what], CLASSES))}
    config = {
        "run": "benchmark",
        "dataset": dataset,
        "model": {"name": f"{folder}/network.py:Network", "transform": f"{folder}/network.py:transform"},
        "extract": {"images_per_shard": 1_000_000, "device": "cpu", "batch_size": BATCH[what], "workers": CORES},
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def _plant_rehearsal(folder: Path) -> Path:
    side, per_class = 64, [IMAGES[REHEARSAL] // CLASSES] * CLASSES
    images = many_classes.photos(per_class, side)
    model = many_classes.plant_network(folder, many_classes.WIDE, CLASSES, side, images[: 16 * CLASSES])
    config = {
        "run": "benchmark",
        "dataset": many_classes.webdataset(folder / "images", images, []),
        "model": {key: f"{folder}/{value}" for key, value in model.items()},
        "extract": {"images_per_shard": 1_000_000, "device": "cpu"},
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def measure(folder: Path, what: str, code: dict[str, Path]) -> dict[str, list[float]]:
    """Images a second of each round: of the stage `before` and `now`, and of the `front-end` of now."""
    few, many = FEW[what], IMAGES[what]
    rates: dict[str, list[float]] = {name: [] for name in (*code, *(["front-end"] if what == PHOTOS else []))}
    with ExitStack() as stack:
        workers = {side: stack.enter_context(worker(path, what, folder, side == "now")) for side, path in code.items()}
        for _ in range(1 + REPEATS):
            for name, found in rates.items():
                work, process = ("stage", workers[name]) if name in workers else ("front-end", workers["now"])
                start, whole = (asked(process, work, images) for images in ("few", "many"))
                found.append((many - few) / (whole - start))
    return {name: found[1:] for name, found in rates.items()}


def worker(code: Path, what: str, folder: Path, keeps_heap: bool) -> subprocess.Popen[str]:
    """Start a process that imports the package from a folder, and does what it is asked for."""
    command = [sys.executable, __file__, "--measure", what, "--folder", str(folder)]
    environment = os.environ | {"PYTHONPATH": str(code)} | (HEAP if keeps_heap else {})
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def asked(process: subprocess.Popen[str], work: str, images: str) -> float:
    """Seconds that a process says it needed."""
    assert process.stdin is not None
    assert process.stdout is not None
    print(work, images, sep=",", file=process.stdin, flush=True)
    answer = process.stdout.readline()
    if not answer:
        raise SystemExit("The process that measures ended before its time: see above")
    return float(answer)


def serve(what: str, folder: Path) -> None:
    """Read from the standard input what to do with how many images, do it, and write the seconds."""
    if not Path(labelsim.__file__).is_relative_to(os.environ["PYTHONPATH"]):
        raise SystemExit(f"The package was imported from {labelsim.__file__}")
    config = load(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    with tempfile.TemporaryDirectory(dir=folder) as name:
        files = _prepare(Path(name), config, FEW[what])
        if what == MEMORY:
            _hand_over()
        works = {"stage": partial(_stage, files, config), "front-end": partial(_front_end, files, config)}
        for line in sys.stdin:
            work, images = line.strip().split(",")
            print(results.seconds(partial(works[work], images)), flush=True)


def _prepare(folder: Path, config: dict[str, Any], few: int) -> dict[str, Path]:
    """Do what comes before the extraction, and make a shard of a few of the images."""
    scan(config["dataset"], folder / "manifest.parquet")
    index = folder / "shards" / "index.json"
    shard(folder / "manifest.parquet", 1_000_000, "auto", index)
    (entry,) = json.loads(index.read_text(encoding="utf-8"))["shards"]
    files = {"many": index.parent / f"{entry['name']}.parquet", "few": folder / "few.parquet"}
    rows = read_table(files["many"])
    write_table(rows.slice(0, few), files["few"], read_metadata(rows))
    network(config["model"], config["probe"], identity("network", config), folder / "network.json")
    return {**files, "network": folder / "network.json"}


def _stage(files: dict[str, Path], config: dict[str, Any], images: str) -> None:
    """Run the extract stage over the shard of a few or of many images; what it wrote is deleted."""
    folder = files["network"].parent / images
    folder.mkdir()
    rejects = folder / "rejects.parquet"
    extract(files[images], files["network"], folder / "x.zarr", rejects, folder / "stats.json", config, "", CORES)
    if len(read_table(rejects)):
        raise SystemExit(f"{len(read_table(rejects))} images could not be used: {read_table(rejects)['reason'][0]}")
    shutil.rmtree(folder)


def _front_end(files: dict[str, Path], config: dict[str, Any], images: str) -> None:
    """Read, decode and transform the images as the stage does, without a network."""
    from labelsim.dataset.sources import open_source
    from labelsim.images.loader import Images, batches
    from labelsim.images.transform import split_transform
    from labelsim.network.builder import build

    rows = read_table(files[images])
    parts = split_transform(build(config["model"]["name"], None, config["model"]["transform"]).transform)
    side = SIDES[PHOTOS][1]
    source = open_source(config["dataset"]["source"], read_metadata(rows)["format"])
    decoded = Images(source, rows, parts.image, (3, side, side), parts.dtype)
    size = BATCH[PHOTOS]
    cuts = [range(start, min(start + size, len(rows))) for start in range(0, len(rows), size)]
    niceness = 19  # that of the stage on a CPU: other programs slow down both
    for _ in batches(decoded, cuts, CORES, False, niceness):
        pass


def _hand_over() -> None:
    """Have the stage take batches of pixels and their features from memory, in place of the front-end's and network's.

    There are more of them than the processor's caches hold.
    """
    from labelsim.images import loader
    from labelsim.network.model import Model
    from labelsim.network.probes import Features
    from labelsim.stages import extract as stage

    rng = np.random.default_rng(0)

    def features() -> Features:
        values = rng.normal(0.5, 0.4, (BATCH[MEMORY], CHANNELS + HIDDEN + OUTPUTS)).astype(np.float32)
        values[:, : CHANNELS + HIDDEN].clip(min=0, out=values[:, : CHANNELS + HIDDEN])
        parts = np.split(values, [CHANNELS, CHANNELS + HIDDEN], axis=1)
        return Features(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))

    ready = cycle([features() for _ in range(8)])
    side = SIDES[MEMORY][1]
    pixels = torch.from_numpy(rng.integers(0, 256, (BATCH[MEMORY], 3, side, side), np.uint8))

    # earlier code takes pairs
    batch = getattr(loader, "Batch", lambda pixels, reasons, seconds: (pixels, reasons))

    def batches(images: object, rows: Sequence[Sequence[int]], *others: object) -> Iterator[Any]:
        return (batch(pixels[: len(cut)], [""] * len(cut), {"decoding": 1.0}) for cut in rows)

    def from_memory(model: Model, batch: torch.Tensor) -> Features:
        return Features(*(part[: len(batch)] for part in next(ready)))

    stage.batches = batches
    Model.features = from_memory


def table(rates: dict[str, dict[str, list[float]]], before: str) -> list[results.Result]:
    """Medians of the rounds, and what the goals are about."""
    of, ratio = results.Result.of, results.ratio
    found = []
    for what, rate in rates.items():
        found += [
            of(f"{what}: stage at {before}", median(rate["before"]), "images/s"),
            of(f"{what}: stage", median(rate["now"]), "images/s", ">= 10000" if what == MEMORY else ""),
            of(
                f"{what}: stage against the earlier one",
                ratio(rate["now"], rate["before"]),
                "x",
                ">= 2.5" if what in (TARS, REHEARSAL) else "",
            ),
        ]
    alone = rates[PHOTOS]["front-end"]
    against = ratio(rates[PHOTOS]["now"], alone)
    return [
        *found,
        of(f"{PHOTOS}: front-end alone", median(alone), "images/s"),
        of(f"{PHOTOS}: stage against the front-end alone", against, "x", ">= 0.95"),
    ]


if __name__ == "__main__":
    main()

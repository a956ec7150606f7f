"""Precision: what computing or storing in fewer bits, or compiling, saves, and what it changes in the results.

Every stage up to the neighbours runs in each precision on the same images, and each is compared with float32: the rate
of the extraction; the bytes that an image takes in the store; the change of Welch's t, |t - t32| / (|t32| + 1), over
all classes and channels; and the share of the nine nearest classes in float32 that are still among the nine nearest.

    python benchmarks/precision.py                  # ResNet18, random weights, generated photographs
    python benchmarks/precision.py --images FOLDER --network efficientnet_b0 --weights DEFAULT --transform auto

With random weights all classes look much alike to the network, so that their order is easily upset.
"""

from __future__ import annotations

import copy
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pipeline
import pyarrow as pa
import results
import subject
from numpy.typing import NDArray

from labelsim.network.device import exclusive_device
from labelsim.run import Paths, Run
from labelsim.storage.json_files import read_document

CLASSES, IMAGES_PER_CLASS, NEIGHBOURS = 40, 4, 9
METHODS = ("welch", "hidden", "gap")
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {  # sections of the configuration
    "float32": {},
    "tf32": {"extract": {"precision": "tf32"}},
    "bfloat16": {"extract": {"precision": "bfloat16"}},
    "float16": {"extract": {"precision": "float16"}},
    "compiled": {"extract": {"compile": True}},
    "stored as float16": {"store": {"dtype": "float16"}},
}


@dataclass(frozen=True)
class Outcome:
    """What one run gave.

    Attributes
    ----------
    rate : float
        Images a second of the extraction, without its start.
    size : float
        Bytes an image in the store of features.
    rejected : int
        Images whose features were not finite.
    t : (class, channel) array
        Welch's t.
    neighbours : dict of str to set
        By method, pairs of a class and one of its nearest.
    """

    rate: float
    size: float
    rejected: int
    t: NDArray[np.float64]
    neighbours: dict[str, set[tuple[int, int]]]


def main() -> None:
    """Run all, compare and write the table."""
    parser = subject.options(__doc__, "resnet18", IMAGES_PER_CLASS)
    parser.add_argument("--repeats", type=int, default=3, help="rounds, for the rates")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS)[1:], default=list(VARIANTS)[1:])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = subject.config(options, folder, CLASSES)
        with exclusive_device(options.device) as device:
            kind = device.type
        variants = {name: VARIANTS[name] for name in ("float32", *options.variants)}
        if kind == "cpu" and variants.pop("tf32", None):
            print("tf32: left out, a CPU has none")
        rounds: dict[str, list[Outcome]] = {}
        for number in range(options.repeats):
            for variant in list(variants):
                try:
                    found = outcome(folder / "run", config, variants[variant], options.threads)
                except RuntimeError as error:  # PyTorch, where the device cannot compute in a precision
                    print(f"{variant}: left out, {str(error).splitlines()[0]}")
                    del variants[variant]
                    continue
                rounds.setdefault(variant, []).append(found)
                print(f"round {number + 1}, {variant}: {found.rate:.1f} images/s", flush=True)
    network = subject.short(options.network)
    some = [] if len(options.variants) == len(VARIANTS) - 1 else options.variants
    results.write("-".join(["precision", network, *some]).replace(" ", "_"), table(network, rounds), kind)


def outcome(folder: Path, config: dict[str, Any], variant: dict[str, dict[str, Any]], threads: int) -> Outcome:
    """Run all stages in a folder, which is deleted again."""
    given = copy.deepcopy(config)
    for section, options in variant.items():
        given[section] |= options
    given["neighbors"]["k"] = NEIGHBOURS
    paths = Paths(str(folder))
    pipeline.network(given, paths)
    for stage in pipeline.STAGES:
        shard = pipeline.shards(paths)[0] if stage in pipeline.PER_SHARD else None
        pipeline.WORK[stage](given, paths, shard, threads)
    (shard,) = pipeline.shards(paths)
    run = Run(folder)
    stats = read_document(Path(paths.stats(shard)))
    found = Outcome(
        stats["images"] / (stats["seconds"] - stats["seconds_by_part"]["starting"]),
        sum(file.stat().st_size for file in Path(paths.features(shard)).rglob("*") if file.is_file()) / stats["images"],
        stats["images_rejected"],
        run.welch()["t"].values,
        {method: _pairs(run.neighbors(), method) for method in METHODS},
    )
    shutil.rmtree(folder)
    return found


def _pairs(table: pa.Table, method: str) -> set[tuple[int, int]]:
    """Every class with each of its nearest, over all layers."""
    rows = table.to_pylist()
    return {
        (row["class_index"], row["neighbor_index"]) for row in rows if row["method"] == method and row["group"] == "all"
    }


def change(t: NDArray[np.float64], exact: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much t changed where both are finite: in parts of itself where it is large, as it is where it is small."""
    both = np.isfinite(t) & np.isfinite(exact)
    return np.abs(t[both] - exact[both]) / (np.abs(exact[both]) + 1)


def table(network: str, rounds: dict[str, list[Outcome]]) -> list[results.Result]:
    """Every precision against float32."""
    of = results.Result.of
    exact = rounds["float32"]
    rates = {variant: [one.rate for one in found] for variant, found in rounds.items()}
    found = [
        of(f"{network}, float32: extraction", float(np.median(rates["float32"])), "images/s"),
        of(f"{network}, float32: size in the store", exact[0].size, "B/image"),
    ]
    for variant, outcomes in rounds.items():
        if variant == "float32":
            continue
        name, one = f"{network}, {variant}", outcomes[0]
        changes = change(one.t, exact[0].t)
        found += [
            of(f"{name}: rate against float32's", results.ratio(rates[variant], rates["float32"]), "x"),
            of(f"{name}: size in the store", one.size, "B/image"),
            of(f"{name}: images rejected, as not finite", one.rejected, "images"),
            of(f"{name}: change of t, median", float(np.median(changes)), ""),
            of(f"{name}: change of t, largest", float(changes.max()), ""),
        ]
        for method in METHODS:
            pairs = exact[0].neighbours[method]
            kept = len(one.neighbours[method] & pairs) / len(pairs)
            found.append(of(f"{name}: the {NEIGHBOURS} nearest that stay, {method}", kept, "of 1"))
    return found


if __name__ == "__main__":
    main()

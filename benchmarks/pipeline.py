"""The stages of a run, one after the other, each in a process of its own that is timed and whose memory is watched.

The images are tiny and the network is one convolution with as many channels as asked for: the features are as large as
a real network's, and hardly anything is spent on making them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import results
from PIL import Image
from pyarrow import parquet

from labelsim.analysis.wordnet import NOUNS
from labelsim.config import load
from labelsim.jobs.provenance import identity
from labelsim.run import Paths
from labelsim.storage.parquet import read_table

__all__ = ["ANALYSES", "PER_SHARD", "STAGES", "WORK", "config", "network", "plant", "run", "shards"]

STAGES = ("scan", "shard", "extract", "moments", "merge", "welch", "similarity", "neighbors")
ANALYSES = ("stability", "evidence", "significance", "agreement", "judgement", "examples", "wordnet", "map")
PER_SHARD = ("extract", "moments")
SIDE = 4  # pixels

_SOURCE = """
import numpy as np
import torch
from torch import nn


def network():
    layers = [nn.Conv2d(3, CHANNELS, 1, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(CHANNELS, HIDDEN), nn.Linear(HIDDEN, 10))


def transform():
    return lambda image: torch.from_numpy(np.array(image.resize((SIDE, SIDE)))).permute(2, 0, 1) / 255
"""


def plant(folder: Path, images: int, classes: int, channels: int = 8512, hidden: int = 512) -> None:
    """Write images in class folders that are named as nouns of WordNet are, and the network."""
    rng = np.random.default_rng(0)
    nouns = parquet.read_table(NOUNS, columns=["offset"])["offset"].to_pylist()
    for class_, noun in enumerate(nouns[:: len(nouns) // classes][:classes]):
        path = folder / "images" / f"n{noun:08d}"
        path.mkdir(parents=True)
        colour = rng.integers(0, 128, 3)
        for image in range(class_, images, classes):
            pixels = colour + rng.integers(0, 128, (SIDE, SIDE, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(path / f"{image}.bmp")
    sizes = {"CHANNELS": channels, "HIDDEN": hidden, "SIDE": SIDE}
    source = "".join(f"{name} = {size}\n" for name, size in sizes.items()) + _SOURCE
    (folder / "network.py").write_text(source, encoding="utf-8")


def config(folder: Path, images_per_shard: int = 16_384) -> dict[str, Any]:
    """Configuration of a run over what `plant` wrote."""
    return load(
        {
            "run": "benchmark",
            "dataset": {"source": str(folder / "images")},
            "model": {
                "name": f"{folder}/network.py:network",
                "weights": None,
                "transform": f"{folder}/network.py:transform",
            },
            "extract": {"images_per_shard": images_per_shard, "device": "cpu"},
        }
    )


def run(
    folder: Path, given: dict[str, Any], threads: int, stages: Sequence[str] = STAGES
) -> dict[str, tuple[float, float]]:
    """Run some stages in order, each in a process of its own: the seconds and MB of each.

    Returns
    -------
    dict of str to (float, float)
        For extract and moments, the seconds of all shards and the most memory that one of them held.
    """
    paths = Paths(str(folder / "run"))
    found: dict[str, tuple[float, float]] = {}
    results.measured(network, given, paths)
    for name in stages:
        names = shards(paths) if name in PER_SHARD else [None]
        parts = [results.measured(WORK[name], given, paths, shard, threads)[1:] for shard in names]
        found[name] = sum(seconds for seconds, _ in parts), max(memory for _, memory in parts)
    return found


def shards(paths: Paths) -> list[str]:
    """Names of the shards, in order, once they are cut."""
    return [shard["name"] for shard in json.loads(Path(paths.index).read_text(encoding="utf-8"))["shards"]]


def network(given: dict[str, Any], paths: Paths) -> None:
    """Describe the network, as the stages after `shard` need it."""
    from labelsim.stages.network import network as describe

    describe(given["model"], given["probe"], identity("network", given), Path(paths.network))


def _scan(given: dict[str, Any], paths: Paths, shard: None, threads: int) -> None:
    from labelsim.stages.scan import scan

    scan(given["dataset"], Path(paths.manifest))


def _shard(given: dict[str, Any], paths: Paths, shard: None, threads: int) -> None:
    from labelsim.stages.shard import shard as cut

    aim = given["extract"]["images_per_shard"]
    cut(Path(paths.manifest), aim, "auto", Path(paths.index))


def _extract(given: dict[str, Any], paths: Paths, shard: str, threads: int) -> None:
    from labelsim.stages.extract import extract

    files = (paths.shard(shard), paths.network, paths.features(shard), paths.rejects(shard), paths.stats(shard))
    extract(*map(Path, files), given, "", threads)


def _moments(given: dict[str, Any], paths: Paths, shard: str, threads: int) -> None:
    from labelsim.stages.moments import moments

    output = Path(paths.shard_moments(shard))
    moments(Path(paths.features(shard)), Path(paths.network), None, given["model"]["classes"], output)


def _merge(given: dict[str, Any], paths: Paths, shard: None, threads: int) -> None:
    from labelsim.stages.merge import merge_shards

    names = shards(paths)
    stores = [Path(paths.shard_moments(name)) for name in names]
    rejects = [Path(paths.rejects(name)) for name in names]
    merge_shards(stores, rejects, Path(paths.index), 1.0, Path(paths.moments))


def _welch(given: dict[str, Any], paths: Paths, shard: None, threads: int) -> None:
    from labelsim.stages.welch import welch_statistics

    welch_statistics(Path(paths.moments), Path(paths.welch))


def _similarity(given: dict[str, Any], paths: Paths, shard: None, threads: int) -> None:
    from labelsim.stages.similarity import similarities

    similarities(
        {"moments": Path(paths.moments), "welch": Path(paths.welch)},
        ["welch", "hidden", "gap"],
        {},
        Path(paths.similarity),
    )


def _neighbors(given: dict[str, Any], paths: Paths, shard: None, threads: int) -> None:
    from labelsim.stages.neighbors import neighbor_tables

    stores = (paths.similarity, paths.moments, paths.network)
    outputs = (paths.neighbors, paths.classes, paths.summary)
    neighbor_tables(*map(Path, stores), given, "0", *map(Path, outputs))


def _stability(given: dict[str, Any], paths: Paths, shard: None, threads: int) -> None:
    from labelsim.stages.stability import stability

    outputs = (paths.analysis("stability"), paths.analysis("class_stability"))
    stability(Path(paths.neighbors), {"moments": Path(paths.moments)}, *map(Path, outputs))


def _evidence(given: dict[str, Any], paths: Paths, shard: None, threads: int) -> None:
    from labelsim.stages.evidence import evidence

    stores = {"moments": Path(paths.moments), "welch": Path(paths.welch)}
    outputs = (paths.analysis("evidence"), paths.analysis("evidence_layers"))
    evidence(Path(paths.neighbors), stores, given["analysis"]["evidence"]["channels"], *map(Path, outputs))


def _significance(given: dict[str, Any], paths: Paths, shard: None, threads: int) -> None:
    from labelsim.stages.significance import significance

    inputs = (paths.welch, paths.moments, paths.network)
    outputs = (paths.analysis("channels"), paths.analysis("class_significance"))
    significance(*map(Path, inputs), given, "0", *map(Path, outputs))


def _compared(name: str, given: dict[str, Any], paths: Paths, shard: None, threads: int) -> None:
    """Judgement or agreement, with a reference by which classes of close indices are similar."""
    classes = read_table(Path(paths.classes))["class_id"].to_pylist()
    reference = Path(paths.root) / "reference.csv"
    rows = [f"{a},{b},{1 / (j - i)}" for i, a in enumerate(classes) for j, b in enumerate(classes) if j > i]
    reference.write_text("\n".join(["class_id,neighbor_id,similarity", *rows]) + "\n", encoding="utf-8")
    stage = getattr(import_module(f"labelsim.stages.{name}"), name)
    stage(Path(paths.similarity), Path(paths.neighbors), str(reference), Path(paths.analysis(name)))


def _examples(given: dict[str, Any], paths: Paths, shard: None, threads: int) -> None:
    from labelsim.stages.examples import examples

    features = [Path(paths.features(name)) for name in shards(paths)]
    inputs = (Path(paths.moments), Path(paths.neighbors), Path(paths.analysis("evidence")))
    outputs = (Path(paths.analysis("examples")), Path(paths.analysis("evidence_images")))
    examples(features, *inputs, given["analysis"]["examples"], *outputs)


def _wordnet(given: dict[str, Any], paths: Paths, shard: None, threads: int) -> None:
    from labelsim.stages.wordnet import wordnet

    outputs = (paths.analysis("wordnet"), paths.analysis("wordnet_pairs"))
    wordnet(Path(paths.classes), Path(paths.neighbors), *map(Path, outputs))


def _map(given: dict[str, Any], paths: Paths, shard: None, threads: int) -> None:
    from labelsim.stages.map import maps

    inputs, outputs = (paths.similarity, paths.neighbors), (paths.analysis("map"), paths.analysis("tree"))
    maps(*map(Path, inputs), *map(Path, outputs))


WORK: dict[str, Callable[..., None]] = {
    "scan": _scan,
    "shard": _shard,
    "extract": _extract,
    "moments": _moments,
    "merge": _merge,
    "welch": _welch,
    "similarity": _similarity,
    "neighbors": _neighbors,
    "stability": _stability,
    "evidence": _evidence,
    "significance": _significance,
    "agreement": partial(_compared, "agreement"),
    "judgement": partial(_compared, "judgement"),
    "examples": _examples,
    "wordnet": _wordnet,
    "map": _map,
}

"""The statistics of classes: t against scanpy and SciPy, and the stages at the sizes of ImageNet and ImageNet-21k.

All data are random, made when they are needed. What would take minutes is timed on a few classes, and says so.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import results
from numpy.typing import NDArray
from pipeline import config
from scipy import stats

from labelsim.methods import SPREADS
from labelsim.stages.moments import FOLDS, moments
from labelsim.stages.neighbors import neighbor_tables
from labelsim.stages.similarity import similarities
from labelsim.stages.welch import welch_statistics
from labelsim.statistics.group_moments import of_groups
from labelsim.statistics.welch import welch
from labelsim.storage.json_files import write_document
from labelsim.storage.moment_store import CHANNELS_PER_CHUNK, CLASSES_PER_CHUNK, arrays
from labelsim.storage.zarr_store import Array, Writer, blocks, load, open_store

IMAGES, CHANNELS, HIDDEN, OUTPUTS, CLASSES = 10_000, 8512, 512, 1000, 200
SHARD, CHUNK = 16_384, 256  # images
REPEATS = 3
FEW, MANY = 1, 10  # classes that the others are timed on


def against_others() -> list[results.Result]:
    """Welch's t from features in memory."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, CLASSES, IMAGES)
    features = rng.random((CLASSES, CHANNELS), dtype=np.float32)[classes]
    features += np.abs(rng.standard_normal(features.shape, dtype=np.float32))
    ours = welch(of_groups(features, classes, CLASSES)).t  # once beforehand, as imports are not timed either
    seconds = median(results.seconds(lambda: welch(of_groups(features, classes, CLASSES))) for _ in range(5 * REPEATS))
    found = [results.Result.of(f"t of {CLASSES} classes, {CHANNELS:,} channels, {IMAGES:,} images", seconds, "s")]
    wide = features.astype(np.float64)  # as SciPy would compute in float32
    theirs: dict[int, NDArray[np.float64]] = {}

    def by_scipy(count: int) -> None:
        for c in range(count):
            mine = classes == c
            theirs[c] = stats.ttest_ind(wide[mine], wide[~mine], equal_var=False).statistic

    took = whole(by_scipy)
    found += compared("scipy.stats.ttest_ind", took, seconds, ">= 1000", difference(ours, theirs))
    try:
        import anndata
        import pandas as pd
        import scanpy as sc
    except ImportError:
        print("without scanpy: pip install 'labelsim[bench]'")
        return found
    data = anndata.AnnData(features)
    data.obs["class"] = pd.Categorical([f"{c:03d}" for c in classes])

    def by_scanpy(count: int) -> None:
        groups = [f"{c:03d}" for c in range(count)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that X are no logarithms: the t statistic does not ask
            sc.settings.verbosity = 0
            sc.tl.rank_genes_groups(
                data, "class", groups=groups, method="t-test", use_raw=False, n_genes=CHANNELS, reference="rest"
            )

    took = whole(by_scanpy)
    ranked = data.uns["rank_genes_groups"]
    theirs = {}
    for c in range(MANY):
        theirs[c] = np.empty(CHANNELS)
        theirs[c][ranked["names"][f"{c:03d}"].astype(int)] = ranked["scores"][f"{c:03d}"]
    return found + compared("scanpy's rank_genes_groups", took, seconds, ">= 50", difference(ours, theirs))


def whole(work: Callable[[int], None]) -> float:
    """Seconds for all classes, from those for few and for some more: every further class takes as long."""
    work(FEW)  # once beforehand, as ours is
    rounds = [[results.seconds(lambda n=n: work(n)) for n in (FEW, MANY)] for _ in range(REPEATS)]
    few, many = (median(seconds) for seconds in zip(*rounds, strict=True))
    return many + (CLASSES - MANY) * (many - few) / (MANY - FEW)


def difference(ours: NDArray[np.float64], theirs: dict[int, NDArray[np.float64]]) -> float:
    """Largest difference in units of the larger of 1 and t."""
    return max(float((np.abs(ours[c] - t) / np.maximum(np.abs(t), 1)).max()) for c, t in theirs.items())


def compared(name: str, took: float, seconds: float, goal: str, worst: float) -> list[results.Result]:
    """Rows of a comparison."""
    return [
        results.Result.of(f"the same by {name}, from {FEW} and {MANY} classes", took, "s"),
        results.Result.of(f"labelsim against {name}", took / seconds, "x", goal),
        results.Result.of(f"largest difference of t to {name}, relative where t > 1", worst, "", "<= 1e-5"),
    ]


def plant_features(folder: Path, images: int, classes: int) -> None:
    """Write features as `extract` would of images sorted by class."""
    rng = np.random.default_rng(0)
    member = np.sort(np.arange(images) % classes)
    widths = {"gap": ("channel", CHANNELS), "hidden": ("unit", HIDDEN), "logits": ("output", OUTPUTS)}
    specs = {
        name: Array(("sample", dim), (images, width), "float32", (CHUNK, width))
        for name, (dim, width) in widths.items()
    }
    labels = {
        "class_id": ("sample", [f"n{c:08d}" for c in member]),
        "sample_id": ("sample", [f"n{c:08d}/{i}" for i, c in enumerate(member)]),
        "layer": ("channel", ["conv"] * CHANNELS),
    }
    specs |= {name: Array((dim,), (len(values),), "str", coordinate=True) for name, (dim, values) in labels.items()}
    specs["layer_channel"] = Array(("channel",), (CHANNELS,), "int32", coordinate=True)
    specs["class_index"] = Array(("sample",), (images,), "int32", coordinate=True)
    writer = Writer(folder / "features.zarr", specs, "")
    offset = rng.random((classes, CHANNELS), dtype=np.float32)
    for i, rows in enumerate(blocks(images, CHUNK)):
        for name, (_, width) in widths.items():
            values = np.abs(rng.standard_normal((rows.stop - rows.start, width), dtype=np.float32))
            writer.put(name, (i, 0), values + offset[member[rows]] if name == "gap" else values)
    for name, (_, values) in labels.items():
        writer.put_whole(name, np.array(values, dtype=object))
    writer.put_whole("layer_channel", np.arange(CHANNELS))
    writer.put_whole("class_index", member)
    writer.commit({"rejected": 0, "underflow": {}, "computed_by": []})
    write_document(folder / "network.json", {"outputs": OUTPUTS, "information": {"labels": None}})


def read(folder: Path) -> None:
    """Read and decompress what the stage moments reads."""
    dataset = open_store(folder / "features.zarr")
    for rows in blocks(dataset.sizes["sample"], CHUNK):
        for name in ("gap", "hidden", "logits"):
            load(dataset, name, sample=rows)


def stage_moments(folder: Path) -> None:
    """The stage moments."""
    moments(folder / "features.zarr", folder / "network.json", None, "auto", folder / "moments.zarr")


def rates() -> list[results.Result]:
    """The stage moments against reading alone, of shards as of ImageNet's training and validation images."""
    found = []
    for classes in (13, 330):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            plant_features(folder, SHARD, classes)
            rounds = [(results.measured(read, folder), results.measured(stage_moments, folder)) for _ in range(REPEATS)]
        reading, summing = ([one[i][1] for one in rounds] for i in (0, 1))
        memory = max(one[1][2] for one in rounds)
        what = f"moments of {SHARD:,} images of {classes} classes"
        found += [
            results.Result.of(f"{what}: images a second", SHARD / median(summing), "1/s"),
            results.Result.of(
                f"{what}: rate against that of reading alone", results.ratio(reading, summing), "x", ">= 0.8"
            ),
            results.Result.of(f"{what}: memory", memory, "MB", "<= 1024"),
        ]
    return found


def plant_moments(folder: Path, classes: int, channels: int, hidden: int) -> None:
    """Write moments as `merge` would, the class means random and the folds alike."""
    rng = np.random.default_rng(0)
    widths = {"gap": channels, "hidden": hidden, "probability": 1}  # of which these methods need nothing
    specs = arrays(FOLDS, classes, widths)
    specs["class_name"] = Array(("class",), (classes,), "str", coordinate=True)
    specs["rejected"] = Array(("class",), (classes,), "int64")
    writer = Writer(folder / "moments.zarr", specs, "")
    for name, width in widths.items():
        for j, part in enumerate(blocks(width, CHANNELS_PER_CHUNK)):
            shape = (FOLDS, CLASSES_PER_CHUNK, part.stop - part.start)
            spread = 60 + rng.random(shape, dtype=np.float32)
            for i, rows in enumerate(blocks(classes, CLASSES_PER_CHUNK)):
                means = rng.random(shape[1:], dtype=np.float32) + spread / 100
                writer.put(f"{name}_mean", (0, i, j), means[:, : rows.stop - rows.start])
                if name in SPREADS:
                    writer.put(f"{name}_m2", (0, i, j), spread[:, : rows.stop - rows.start])
    writer.put_whole("count", np.full((FOLDS, classes), 80))
    for name in ("top1", "top5", "output_index"):
        writer.put_whole(name, np.full(classes, -1))
    writer.put_whole("rejected", np.zeros(classes, dtype=np.int64))
    for name in ("class_id", "class_name"):
        writer.put_whole(name, np.array([f"n{c:08d}" for c in range(classes)], dtype=object))
    writer.put_whole("layer", np.array(["conv"] * channels, dtype=object))
    writer.put_whole("layer_channel", np.arange(channels))
    writer.commit({"dataset_digest": "", "underflow": {}, "computed_by": []})
    information = {"labels": None, "published_top1": None}
    network = {"outputs": OUTPUTS, "layers": [["conv", channels]], "hidden_units": hidden, "weights_digest": ""}
    network["information"] = information
    write_document(folder / "network.json", network)


def stage_welch(folder: Path, methods: Sequence[str]) -> None:
    """The stage welch."""
    welch_statistics(folder / "moments.zarr", folder / "welch.zarr")


def stage_similarity(folder: Path, methods: Sequence[str]) -> None:
    """The stage similarity."""
    similarities(
        {name: folder / f"{name}.zarr" for name in ("moments", "welch")}, methods, {}, folder / "similarity.zarr"
    )


def stage_neighbors(folder: Path, methods: Sequence[str]) -> None:
    """The stage neighbors."""
    given = config(folder)
    given["similarity"]["methods"] = list(methods)
    stores = (folder / name for name in ("similarity.zarr", "moments.zarr", "network.json"))
    outputs = (folder / name for name in ("neighbors.parquet", "classes.parquet", "summary.json"))
    neighbor_tables(*stores, given, "0", *outputs)


def stages(classes: int, channels: int, hidden: int, methods: Sequence[str]) -> list[results.Result]:
    """The stages that work on all classes at once."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "images").mkdir()
        results.measured(plant_moments, folder, classes, channels, hidden)
        parts = {
            work.__name__.removeprefix("stage_"): results.measured(work, folder, methods)[1:]
            for work in (stage_welch, stage_similarity, stage_neighbors)
        }
    size = f"{classes:,} classes, {channels:,} channels, {hidden} hidden units, {' and '.join(methods)}"
    found = []
    for stage, (seconds, memory) in parts.items():
        found.append(results.Result.of(f"{stage}, {size}: time", seconds, "s"))
        found.append(results.Result.of(f"{stage}, {size}: memory", memory, "MB", "<= 3072"))
    total = sum(seconds for seconds, _ in parts.values())
    return [*found, results.Result.of(f"welch, similarity and neighbors, {size}: time", total, "s", "<= 60")]


def main() -> None:
    """Measure everything, print and store the table."""
    found = stages(1000, CHANNELS, HIDDEN, ("welch", "hidden", "gap"))
    found += stages(21_841, 256, 64, ("welch",))  # one matrix: it takes 1.9 GB on disk
    found += rates()
    found += against_others()
    results.write("class_statistics", found)


if __name__ == "__main__":
    main()

"""Features that nobody extracted, as a run's shards: of the real thing's shape, and as nasty as features can be."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyarrow import Table

from labelsim.config import load
from labelsim.dataset.classes import write_classes
from labelsim.methods import METHODS, VARIABLES, stores
from labelsim.run import Paths
from labelsim.stages.conformal import conformal
from labelsim.stages.merge import merge_shards
from labelsim.stages.moments import moments
from labelsim.stages.neighbors import neighbor_tables
from labelsim.stages.similarity import similarities
from labelsim.stages.welch import welch_statistics
from labelsim.storage.json_files import write_document
from labelsim.storage.parquet import write_table
from labelsim.storage.zarr_store import Array, Writer

CLASSES = 70  # more than a block of a store of moments holds
CHANNELS = 1030  # likewise
UNITS, SPARE = 6, 5  # outputs that stand for no class
EMPTY, ALONE, PAIR, MANY = 11, 40, 66, 25  # classes of 0, 1, 2 and 110 images
DEAD, INFINITE, APART = 3, 1026, 500  # a constant channel, one of infinite t, one constant in two classes, differently
TWINS = (7, 1028)  # equal channels
CLEAR = 2  # a channel in which the class of many images differs so much that p underflows
LAYERS = {"conv1": 1000, "conv2": 25, "conv3": 5}
GROUPS = {"late": ["conv[23]"], "first": ["conv1"]}
# Numbers in the order of numbers: as text, 10 comes before 2.
NUMBERED = [(str(number), f"class {number}") for number in range(CLASSES)]


@dataclass(frozen=True)
class Planted:
    """A run, and what it was made from: class, fold-deciding id and variables of each image."""

    paths: Paths
    config: dict
    ids: list[str]
    names: list[str]
    labels: np.ndarray
    samples: np.ndarray
    features: dict[str, np.ndarray]
    outputs: np.ndarray  # of each class, -1 without

    def path(self, name: str) -> Path:
        return Path(getattr(self.paths, name))


def plant(
    folder: Path,
    seed: int = 0,
    methods: tuple[str, ...] = tuple(METHODS),
    k: int = 5,
    classes: Sequence[tuple[str, str]] = NUMBERED,
) -> Planted:
    """Write the features of two shards of some classes (id, name), and run the stages from `moments` to `neighbors`."""
    random = np.random.default_rng(seed)
    ids, names = map(list, zip(*classes, strict=True))
    sizes = random.integers(5, 15, len(ids))
    sizes[[EMPTY, ALONE, PAIR, MANY]] = 0, 1, 2, 110
    labels = random.permutation(np.repeat(np.arange(len(ids)), sizes))
    features = {
        "gap": random.gamma(2, 1, (len(labels), CHANNELS)) * random.gamma(2, 0.5, (len(ids), CHANNELS))[labels],
        "hidden": random.gamma(2, 1, (len(labels), UNITS)) + random.gamma(2, 1, (len(ids), UNITS))[labels],
    }
    features["gap"][:, DEAD] = 0
    features["gap"][:, INFINITE] = labels == 20
    features["gap"][:, TWINS[1]] = features["gap"][:, TWINS[0]]
    features["gap"][:, CLEAR] = (labels == MANY) + random.normal(1, 1e-4, len(labels))
    features["gap"][labels == 30, APART] = 1
    features["gap"][labels == 31, APART] = 2
    # Outputs stand for the classes in another order; a class has none, and some stand for no class of the dataset.
    number = len(ids) + SPARE
    outputs = random.permutation(number)[: len(ids)]
    outputs[50] = -1
    features["logits"] = random.normal(0, 1, (len(labels), number))
    features["logits"][np.arange(len(labels)), outputs[labels]] += 2.0
    features = {name: values.astype(np.float32) for name, values in features.items()}
    samples = np.array([f"{ids[label]}/{number}.jpg" for number, label in enumerate(labels)], dtype=object)
    config = load(
        {
            "run": "planted",
            "dataset": {"source": "nowhere"},
            "model": {"name": "none.py:network", "transform": "none.py:transform", "classes": "outputs.csv"},
            "similarity": {"methods": list(methods), "layer_groups": GROUPS},
            "neighbors": {"k": k},
        }
    )
    run = Planted(Paths(str(folder / "results/planted")), config, ids, names, labels, samples, features, outputs)
    _write(folder, run, random)
    return run


def _write(folder: Path, run: Planted, random: np.random.Generator) -> None:
    paths = run.paths
    outputs = len(run.ids) + SPARE
    names = np.array([f"unknown {i}" for i in range(outputs)], dtype=object)
    names[run.outputs[run.outputs >= 0]] = np.array(run.ids, dtype=object)[run.outputs >= 0]
    config = run.config["model"]["classes"] = str(folder / "outputs.csv")
    with Path(config).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("class_id", "name"), *zip(names, names, strict=True)])
    shards = {"a" * 16: slice(0, 300), "b" * 16: slice(300, len(run.labels))}
    information = {"labels": None, "published_top1": None}
    layers = [list(layer) for layer in LAYERS.items()]
    write_document(
        run.path("network"),
        {
            "weights_digest": "w",
            "layers": layers,
            "hidden_units": UNITS,
            "outputs": outputs,
            "information": information,
        },
    )
    write_classes(run.path("index").parent, run.ids, run.names)
    entries = [{"name": name, "images": len(run.labels[part])} for name, part in shards.items()]
    write_document(run.path("index"), {"digest": "d", "images": len(run.labels), "shards": entries})
    for name, part in shards.items():
        _write_shard(Path(paths.features(name)), run, part)
        write_table(Table.from_pydict({"sample_id": [], "class_id": [], "reason": []}), Path(paths.rejects(name)), {})
        moments(Path(paths.features(name)), run.path("network"), None, config, Path(paths.shard_moments(name)))
    merge_shards(
        [Path(paths.shard_moments(name)) for name in shards],
        [Path(paths.rejects(name)) for name in shards],
        run.path("index"),
        0.0,
        run.path("moments"),
    )
    methods = run.config["similarity"]["methods"]
    welch_statistics(run.path("moments"), run.path("welch"))
    conformal([Path(paths.features(name)) for name in shards], run.path("moments"), run.path("conformal"))
    writer = Writer(run.path("head"), {"weight": Array(("output", "unit"), (outputs, UNITS), "float32")}, "{}")
    writer.put_whole("weight", random.normal(0, 1, (outputs, UNITS)))
    writer.commit({})
    used = {name: run.path(name) for name in ("moments", *stores(methods))}
    similarities(used, methods, GROUPS, run.path("similarity"))
    tables = (run.path(name) for name in ("neighbors", "classes", "summary"))
    neighbor_tables(run.path("similarity"), run.path("moments"), run.path("network"), run.config, "version", *tables)


def _write_shard(path: Path, run: Planted, part: slice) -> None:
    rows = 100
    arrays = {
        name: Array(
            ("sample", dimension), run.features[name][part].shape, "float32", (rows, run.features[name].shape[1])
        )
        for name, dimension in VARIABLES.items()
    }
    labels = run.labels[part]
    layer = np.repeat(np.array(list(LAYERS), dtype=object), list(LAYERS.values()))
    coordinates = {
        "sample_id": (("sample",), run.samples[part], "str"),
        "class_id": (("sample",), np.array(run.ids, dtype=object)[labels], "str"),
        "class_index": (("sample",), labels, "int32"),
        "layer": (("channel",), layer, "str"),
        "layer_channel": (("channel",), np.concatenate([np.arange(n) for n in LAYERS.values()]), "int32"),
    }
    for name, (dims, values, dtype) in coordinates.items():
        arrays[name] = Array(dims, values.shape, dtype, coordinate=True)
    writer = Writer(path, arrays, identity="{}")
    for name in VARIABLES:
        writer.put_whole(name, run.features[name][part])
    for name, (_, values, _) in coordinates.items():
        writer.put_whole(name, values)
    writer.commit({"rejected": 0, "underflow": {}, "computed_by": []})

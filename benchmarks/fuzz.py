"""Random edits of a small run, one after the other; after each, all results must be those of a fresh run.

After every edit Snakemake runs in the folder that all edits before were made in, now and then killed on the way. The
fresh run calls the stages one by one in a new folder, without Snakemake: what runs again after an edit, and what is
kept, is then decided by nothing that both share. All is compared bit for bit.

    python benchmarks/fuzz.py --seed 1
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import chdir
from copy import deepcopy
from dataclasses import dataclass, field
from hashlib import blake2b
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import torch
import xarray
import yaml
from PIL import Image
from pyarrow import parquet
from results import Result, write

from labelsim.config import load
from labelsim.dataset.classes import read_classes
from labelsim.run import Run, figure_names, open_run
from labelsim.stages.class_figure import class_figure
from labelsim.stages.heatmap import heatmap
from labelsim.storage.digests import file_digest
from labelsim.storage.json_files import read_document
from labelsim.storage.parquet import read_metadata, read_table
from labelsim.storage.zarr_store import open_store

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from stagewise import run_stages
from workflows import snakemake, started

__all__ = ["EDITS", "State", "differences", "fresh"]

CLASSES = 70  # more than a block of 64
EMPTY = 7  # which of them has no images
SIDE = 16  # pixels
RESULTS = "results/fuzz"

# Channels are few, but the layers' names end with 1, 2 and 3 wherever they are probed.
NETWORK = f"""
from collections import OrderedDict

import torch
from torch import nn

SLOPE = 0.0


def network(pool=nn.AdaptiveAvgPool2d):
    layers = OrderedDict()
    for i, (before, channels) in enumerate([(3, 5), (5, 6), (6, 8)], start=1):
        layers[f"conv{{i}}"] = nn.Conv2d(before, channels, 3, padding=1)
        layers[f"norm{{i}}"] = nn.BatchNorm2d(channels)
        layers[f"relu{{i}}"] = nn.LeakyReLU(SLOPE)
    return nn.Sequential(layers | {{"pool": pool(1), "flatten": nn.Flatten(), "head": nn.Linear(8, {CLASSES})}})


def other_network():
    return network(nn.AdaptiveMaxPool2d)
"""
TRANSFORM = f"""
import numpy as np
import torch

SHIFT = 0.0


def pixels(image):
    return torch.from_numpy(np.array(image.resize(({SIDE}, {SIDE})))).permute(2, 0, 1) / 255 - SHIFT


def inverted(image):
    return 1 - pixels(image)


def transform():
    return pixels


def other_transform():
    return inverted
"""


@dataclass
class State:
    """All that a run is made from.

    Attributes
    ----------
    config : dict
        The configuration.
    images : dict of str to bytes
        Files by `class/name`.
    order : list of str
        The classes as the tables' schema names them; class folders are in the order of their names.
    files : dict of str to bytes
        What the configuration names besides.
    made : int
        Number of images that were made: each has another number of bytes.
    """

    config: dict[str, Any]
    order: list[str]
    images: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    made: int = 0

    @classmethod
    def first(cls, random: Random) -> State:
        """The run before any edit: three shards or more, and classes in an order that is not that of their names."""
        order = [f"c{number}" for number in range(CLASSES)]
        config = {
            "run": Path(RESULTS).name,
            "dataset": {"source": "tables", "content_digest": True},
            "model": {"name": "network.py:network", "weights": "weights.pth", "transform": "transform.py:transform"},
            "extract": {"images_per_shard": 64, "workers": 0, "device": "cpu", "max_reject_fraction": 0.5},
            "store": {"rows_per_chunk": 16},
            "similarity": {"methods": ["welch"], "layer_groups": {"early": ["*1"], "late": ["*[23]"]}},
            "neighbors": {"k": 3},
            "analysis": {"reference": {"file": "reference.csv"}},
            "report": {"classes": ["c1"], "explorer": {"enabled": False}},
        }
        state = cls(load(config), order)
        for class_id in order:
            for _ in range(0 if class_id == order[EMPTY] else random.randint(2, 4)):
                state.add(class_id, random)
        state.files = {"network.py": NETWORK.encode(), "transform.py": TRANSFORM.encode()}
        state.files["weights.pth"] = weights(random)
        state.files["names.csv"] = csv({"c1": "one", "c2": "two"})
        state.files["outputs.csv"] = csv({class_id: class_id for class_id in order})
        state.files["reference.csv"] = pairs(order, random)
        return state

    def add(self, class_id: str, random: Random) -> str:
        """Make an image of a class."""
        name = f"{class_id}/{self.made:04}.png"
        self.images[name] = self.picture(random)
        return name

    def picture(self, random: Random) -> bytes:
        """The bytes of a new image. PNG may be followed by anything: that makes no two of the same size."""
        self.made += 1
        data = io.BytesIO()
        pixels = np.frombuffer(random.randbytes(SIDE * SIDE * 3), np.uint8).reshape(SIDE, SIDE, 3)
        Image.fromarray(pixels // random.randint(1, 4)).save(data, "PNG")
        return data.getvalue().ljust(1500 + self.made, b"\0")

    def write(self, folder: Path) -> None:
        """Write all of it into a folder, but what is there already; what is there no more is deleted."""
        config = yaml.safe_dump(self.config, sort_keys=False).encode()
        images = {f"images/{name}": data for name, data in self.images.items()}
        wanted = {**self.files, "config.yaml": config, **self._tables(), **images}
        for path in [*folder.glob("images/*/*"), *folder.glob("tables/*")]:
            if str(path.relative_to(folder)) not in wanted:
                path.unlink()
        for class_id in self.order:
            (folder / "images" / class_id).mkdir(parents=True, exist_ok=True)
        (folder / "tables").mkdir(exist_ok=True)
        for name, data in wanted.items():
            if not (folder / name).exists() or (folder / name).read_bytes() != data:
                (folder / name).write_bytes(data)

    def _tables(self) -> dict[str, bytes]:
        """The images in two tables, in no particular order."""
        type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        features = {"image": {"_type": "Image"}, "label": {"names": self.order, "_type": "ClassLabel"}}
        schema = pa.schema([("image", type), ("label", pa.int64())])
        schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        names = sorted(self.images, key=lambda name: blake2b(name.encode()).digest())
        tables = {}
        for number in range(2):
            rows = [name.split("/") for name in names[number::2]]
            images = [{"bytes": self.images["/".join(row)], "path": row[1]} for row in rows]
            labels = [self.order.index(class_id) for class_id, _ in rows]
            data = io.BytesIO()
            table = pa.table([pa.array(images, type), pa.array(labels, pa.int64())], schema=schema)
            parquet.write_table(table, data, row_group_size=50)
            tables[f"tables/train-{number:05}-of-00002.parquet"] = data.getvalue()
        return tables


def csv(names: dict[str, str]) -> bytes:
    """A table of classes."""
    return ("class_id,name\n" + "".join(f"{key},{name}\n" for key, name in names.items())).encode()


def pairs(order: list[str], random: Random) -> bytes:
    """A table of how similar some classes are."""
    chosen = {tuple(sorted(random.sample(order, 2))) for _ in range(100)}
    rows = [f"{one},{other},{round(random.random(), 2)}\n" for one, other in sorted(chosen)]
    return ("class_id,neighbor_id,similarity\n" + "".join(rows)).encode()


def weights(random: Random) -> bytes:
    """A file of weights: random ones, the same for the same state of the generator."""
    generator = torch.Generator().manual_seed(random.getrandbits(31))
    scope: dict[str, Any] = {}
    exec(NETWORK, scope)
    tensors = scope["network"]().state_dict()
    for name, tensor in tensors.items():
        if tensor.is_floating_point():
            tensor.normal_(std=0.3, generator=generator)
            if name.endswith("running_var"):
                tensor.abs_().add_(0.1)
    return saved(tensors)


def saved(contents: Any) -> bytes:
    data = io.BytesIO()
    torch.save(contents, data)
    return data.getvalue()


Edit = Callable[[State, Random], str]


def setting(key: str, *values: Any) -> Edit:
    """Give a key of the configuration another of some values."""

    def edit(state: State, random: Random) -> str:
        section, name = key.split(".")
        value = random.choice([value for value in values if value != state.config[section][name]])
        state.config[section][name] = deepcopy(value)
        return f"{key}: {value}"

    return edit


def constant(file: str, name: str) -> Edit:
    """Change a number in a user's file."""

    def edit(state: State, random: Random) -> str:
        value = round(random.uniform(0.01, 0.3), 4)
        state.files[file] = re.sub(
            rb"(?m)^%s = .*" % name.encode(), b"%s = %g" % (name.encode(), value), state.files[file]
        )
        return f"{file}: {name} = {value}"

    return edit


def comment(file: str) -> Edit:
    """Put a comment into a user's file: nothing has to run."""

    def edit(state: State, random: Random) -> str:
        state.files[file] += b"# %d\n" % random.randrange(1000)
        return f"{file}: a comment"

    return edit


def other_weights(state: State, random: Random) -> str:
    state.files["weights.pth"] = weights(random)
    return "weights.pth: other tensors"


def same_weights(state: State, random: Random) -> str:
    tensors = torch.load(io.BytesIO(state.files["weights.pth"]), weights_only=True)
    state.files["weights.pth"] = saved(tensors.get("state_dict", {"state_dict": tensors}))
    return "weights.pth: the same tensors in another file"


def names(state: State, random: Random) -> str:
    chosen = random.sample(state.order, 3)
    state.files["names.csv"] = csv({class_id: f"name {random.randrange(1000)}" for class_id in chosen})
    return f"names.csv: of {', '.join(chosen)}"


def outputs(state: State, random: Random) -> str:
    state.files["outputs.csv"] = csv({class_id: class_id for class_id in random.sample(state.order, CLASSES)})
    return "outputs.csv: in another order"


def reference(state: State, random: Random) -> str:
    state.files["reference.csv"] = pairs(state.order, random)
    return "reference.csv: other pairs"


def added(state: State, random: Random) -> str:
    return (
        f"images added: {', '.join(state.add(random.choice(state.order), random) for _ in range(random.randint(1, 4)))}"
    )


def removed(state: State, random: Random) -> str:
    chosen = random.sample(sorted(state.images), random.randint(1, 4))
    for name in chosen:
        del state.images[name]
    return f"images removed: {', '.join(chosen)}"


def emptied(state: State, random: Random) -> str:
    class_id = random.choice(sorted({name.split("/")[0] for name in state.images}))
    state.images = {name: data for name, data in state.images.items() if name.split("/")[0] != class_id}
    return f"class emptied: {class_id}"


def replaced(state: State, random: Random) -> str:
    chosen = random.sample(sorted(state.images), random.randint(1, 3))
    state.images |= {name: state.picture(random) for name in chosen}
    return f"images replaced: {', '.join(chosen)}"


def cut_off(state: State, random: Random) -> str:
    name = random.choice(sorted(state.images))
    state.images[name] = state.picture(random)[: 300 + state.made]
    return f"image cut off: {name}"


def reordered(state: State, random: Random) -> str:
    random.shuffle(state.order)
    return f"classes of the tables in another order: {', '.join(state.order[:3])}, …"


EDITS: dict[str, Edit] = {
    "source": setting("dataset.source", "tables", "images"),
    "class names": setting("dataset.class_names", "auto", "names.csv"),
    "images per class": setting("dataset.images_per_class", None, 2, 3),
    "content digest": setting("dataset.content_digest", True, False),
    "network": setting("model.name", "network.py:network", "network.py:other_network"),
    "weights": setting("model.weights", "weights.pth", None),
    "classes of the outputs": setting("model.classes", "auto", "dataset", "outputs.csv"),
    "transform": setting("model.transform", "transform.py:transform", "transform.py:other_transform"),
    "layers": setting("probe.layers", ["*"], ["*[123]"], ["*1", "*2"]),
    "place in the layers": setting("probe.at", "convolution", "batch_norm", "activation"),
    "images per shard": setting("extract.images_per_shard", 56, 64, 72),
    "precision": setting("extract.precision", "float32", "bfloat16"),
    "reject fraction": setting("extract.max_reject_fraction", 0.4, 0.5),
    "workers": setting("extract.workers", 0, 1),
    "dtype": setting("store.dtype", "float32", "float16"),
    "rows per chunk": setting("store.rows_per_chunk", "auto", 8, 16),
    "methods": setting("similarity.methods", ["welch"], ["gap"], ["hidden", "welch"]),
    "layer groups": setting("similarity.layer_groups", {}, {"early": ["*1"]}, {"two": ["*2"], "one": ["*1"]}),
    "k": setting("neighbors.k", 1, 2, 5, 100),
    "report": setting("report.classes", [], ["c2"], ["c1", "c10"]),
    "evidence": setting("analysis.evidence", *({"enabled": True, "channels": number} for number in (2, 3, 10))),
    "examples": setting(
        "analysis.examples", *({"enabled": on, "images": 2, "images_per_channel": 1} for on in (True, False))
    ),
    "reference": setting("analysis.reference", {"file": "reference.csv"}, {"file": None}),
    "comment in the transform's file": comment("transform.py"),
    "change of the transform's file": constant("transform.py", "SHIFT"),
    "comment in the network's file": comment("network.py"),
    "change of the network's file": constant("network.py", "SLOPE"),
    "weights file with other tensors": other_weights,
    "weights file with the same tensors": same_weights,
    "table of names": names,
    "table of outputs": outputs,
    "table of the reference": reference,
    "images added": added,
    "images removed": removed,
    "class emptied": emptied,
    "images replaced": replaced,
    "image cut off": cut_off,
    "order of the classes": reordered,
}


# Forked where all that a run needs is imported already.
_FORKED = get_context("forkserver")
_FORKED.set_forkserver_preload(["snakemake.cli", "stagewise"])


def fresh(state: State, folder: Path) -> None:
    """Make the run in a new folder, without Snakemake."""
    folder.mkdir()
    state.write(folder)
    with chdir(folder):
        config = load(yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8")))
        paths = run_stages(config)
        for method in config["similarity"]["methods"]:
            heatmap(Path(paths.similarity), method, Path(paths.heatmap(method)))
        tables = [Path(path) for path in (paths.neighbors, paths.classes, paths.manifest)]
        examples = Path(paths.analysis("examples")) if config["analysis"]["examples"]["enabled"] else None
        for name, label in figure_names(config["report"]["classes"]).items():
            class_figure(label, *tables, examples, config["dataset"], Path(paths.class_figure(name)))


def differences(found: Run, expected: Run) -> list[str]:
    """What differs between two runs: a line for each table, array, JSON file or picture that is not equal bit for bit.

    Where classes were given other positions since a shard was extracted, its class indices are the former ones: they
    are read by `Run.features`, and the moments of its classes in the order of their ids.
    """
    if found.shards() != expected.shards():
        return [f"shards: {found.shards()}, not {expected.shards()}"]
    parts = zip(_parts(found, expected), _parts(expected, expected), strict=True)
    return [line for (name, mine), (_, fresh) in parts for line in _compare(name, mine, fresh)]


def _parts(run: Run, like: Run) -> Iterator[tuple[str, Any]]:
    """All that a run holds of what another has, by name; what was made before the last edit may lie beside it."""
    paths, root, shards = run.paths, Path(like.paths.root), like.shards()
    for picture in sorted(root.rglob("*.png")):
        yield picture.name, file_digest(Path(paths.root) / picture.relative_to(root))
    for path in (paths.network, paths.index, paths.summary):
        yield path, read_document(Path(path))
    yield paths.class_index, read_classes(Path(paths.index).parent)
    analyses = [paths.analysis(table.stem) for table in sorted(root.glob("analysis/*.parquet"))]
    for path in (paths.manifest, paths.neighbors, paths.classes, *map(paths.rejects, shards), *analyses):
        yield path, read_table(Path(path))
    for shard in shards:
        yield paths.shard(shard), read_table(Path(paths.shard(shard))).drop_columns("class_index")
        yield paths.features(shard), run.features(shard)
        yield paths.shard_moments(shard), open_store(Path(paths.shard_moments(shard))).sortby("class_id")
    methods = run.provenance()["similarity"]["methods"]
    for path in (paths.moments, *[paths.welch] * ("welch" in methods), paths.similarity):
        yield path, open_store(Path(path))


def _compare(name: str, found: Any, expected: Any) -> Iterator[str]:
    if isinstance(found, xarray.Dataset):
        if found.variables.keys() != expected.variables.keys():
            yield f"{name}: the arrays {sorted(found.variables)}, not {sorted(expected.variables)}"
            return
        for variable in found.variables:
            mine, fresh = found[variable], expected[variable]
            if (mine.dims, mine.shape, mine.dtype) != (fresh.dims, fresh.shape, fresh.dtype):
                yield f"{name}: {variable} is another array"
            elif mine.values.tobytes() != fresh.values.tobytes() if mine.dtype.kind in "fi" else (mine != fresh).any():
                yield f"{name}: {variable}: {int((mine != fresh).sum())} of {mine.size} values differ"
        # These stand for the bytes of the files, in which classes may have former positions.
        mine, fresh = ({k: v for k, v in d.attrs.items() if k not in _OF_FILES} for d in (found, expected))
        if mine != fresh:
            yield f"{name}: attributes {mine}, not {fresh}"
    elif isinstance(found, pa.Table):
        if not found.equals(expected):
            yield f"{name}: other rows"
        elif read_metadata(found) != read_metadata(expected):
            yield f"{name}: metadata {read_metadata(found)}, not {read_metadata(expected)}"
    elif found != expected:
        yield f"{name}: {found}, not {expected}"


_OF_FILES = ("identity", "digest", "files")


def killed(folder: Path, jobs: int, options: list[str]) -> bool:
    """Start Snakemake and kill it, with all its jobs, when it has started so many; whether it had not ended before."""
    with started(folder, *options) as process:
        while process.poll() is None:
            output = (folder / "output.log").read_text(encoding="utf-8")
            if len(re.findall(r"^ *(?:local)?(?:rule|checkpoint) ", output, re.MULTILINE)) >= jobs:
                os.killpg(process.pid, signal.SIGKILL)
                break
            time.sleep(0.01)
    return process.returncode == -signal.SIGKILL


def step(state: State, folder: Path, kill: int | None) -> str:
    """Run Snakemake after an edit, at first killed after so many jobs; how it went."""
    state.write(folder)
    # Images that are replaced in place leave no trace where Snakemake looks.
    options = ["--forcerun", "scan"] if state.config["dataset"]["source"] == "images" else []
    how = ""
    if kill is not None:
        how = f", killed after {kill} jobs" if killed(folder, kill, options) else ", ended before it was to be killed"
        if (unlocked := snakemake(folder, "--unlock")).code:
            raise SystemExit(unlocked.output)
    outcome = snakemake(folder, *options)
    if outcome.code:
        raise SystemExit(f"{outcome.output}\nSnakemake failed.")
    return f"{len(outcome.jobs)} jobs{how}"


def fuzz(edits: int, seed: int, folder: Path) -> list[Result]:
    """Make so many edits; the results, or an end with what differs."""
    random = Random(seed)
    state = State.first(random)
    run = folder / "edited"
    run.mkdir()
    kinds: list[str] = []
    while len(kinds) < edits:
        kinds += random.sample(sorted(EDITS), min(edits - len(kinds), len(EDITS)))
    kills = {number: random.randint(1, 8) for number in random.sample(range(1, edits + 1), edits // 6)}
    compared = 0
    for number in range(edits + 1):
        began = time.monotonic()
        what = EDITS[kinds[number - 1]](state, random) if number else "none"
        print(f"{number:3}  {what}", flush=True)
        expected = folder / "fresh"
        with ProcessPoolExecutor(1, _FORKED) as pool:
            making = pool.submit(fresh, state, expected)
            how = step(state, run, kills.get(number))
            making.result()
        runs = [open_run(each / RESULTS) for each in (run, expected)]
        if found := differences(*runs):
            raise SystemExit("\n".join([f"     {how}. Not as a fresh run:", *(f"     {line}" for line in found)]))
        compared += len([*_parts(runs[1], runs[1])])
        print(f"     {how}; as a fresh run ({time.monotonic() - began:.0f} s)", flush=True)
        shutil.rmtree(expected)
    return [
        Result.of("seed", seed, ""),
        Result.of("edits", edits, ""),
        Result.of("of these with a kill on the way", len(kills), ""),
        Result.of("tables, stores, JSON files and pictures compared with a fresh run's", compared, ""),
        Result.of("of these not equal bit for bit", 0, "", "<= 0"),
    ]


def main() -> None:
    """Read the command line, edit, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edits", type=int, default=20, help="how many")
    parser.add_argument("--seed", type=int, default=None, help="of all that is random but the moment of a kill")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else int.from_bytes(os.urandom(2), "big")
    print(f"seed {seed}")
    folder = Path(tempfile.mkdtemp(prefix="labelsim-fuzz-"))
    began = time.monotonic()
    try:
        results = fuzz(arguments.edits, seed, folder)
    except BaseException:
        again = f"python {sys.argv[0]} --edits {arguments.edits} --seed {seed}"
        print(f"Both runs are kept in {folder}. Again: {again}", file=sys.stderr)
        raise
    shutil.rmtree(folder)
    write("fuzz", [*results, Result.of("time", time.monotonic() - began, "s", "<= 360")])


if __name__ == "__main__":
    main()

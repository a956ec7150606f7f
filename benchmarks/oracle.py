"""What a run's results must be, from its images and its stored features, by NumPy and SciPy alone.

Only the contract is relied on: the tables, and the arrays of the Zarr stores with their coordinates.
"""

from __future__ import annotations

import io
import json
import runpy
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from PIL import Image
from pyarrow import compute, parquet
from scipy import stats

__all__ = ["Expected", "Run", "check", "check_features", "check_same_neighbors"]

Array = NDArray[Any]

# Sums in float32, in another order: rounded to 6e-8 of their terms, which may cancel, through up to 36 layers.
FEATURES = 1e-5  # of an array's largest value
# All is float64. A class is taken from the total here, and squares are not of deviations: of 16 digits some go.
WELCH = {"rtol": 1e-9, "atol": 1e-9}
# Stored as float32, whose values below 1 stand up to 6e-8 apart; t and means differ by far less.
SIMILARITY = 1e-7
ROWS = 2048  # at a time


@dataclass(frozen=True)
class Expected:
    """What is known of a run's images beforehand.

    Attributes
    ----------
    class_of : mapping of str to str
        Class id of each image, by sample id.
    classes : sequence of str
        Class ids in the order that the run must have.
    outputs : sequence of str
        Class id of each output of the network; empty if the outputs stand for no classes.
    groups : mapping of str to sequence of str
        The layer groups' globs.
    rejects : collection of str
        Sample ids of images that cannot be used.
    k : int
        Neighbours in the table.
    """

    class_of: Mapping[str, str]
    classes: Sequence[str]
    outputs: Sequence[str]
    groups: Mapping[str, Sequence[str]]
    rejects: Collection[str] = ()
    k: int = 9


class Run:
    """A finished run's files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.classes = parquet.read_table(root / "classes.parquet").to_pydict()
        self.neighbors = parquet.read_table(root / "neighbors.parquet")
        self.summary = json.loads((root / "summary.json").read_text(encoding="utf-8"))
        self.features = [zarr.open_group(path, mode="r") for path in sorted(root.glob("features/*.zarr"))]

    def store(self, name: str) -> zarr.Group:
        """One of the run's stores."""
        return zarr.open_group(self.root / name, mode="r")


@dataclass
class Sums:
    """Sums by class of one variable, about the first image's values: a channel that is constant is exactly 0."""

    count: Array
    centre: Array
    first: Array
    second: Array

    def means(self) -> Array:
        """Means of the classes; NaN without images."""
        with np.errstate(invalid="ignore"):
            return self.centre + self.first / self.count[:, np.newaxis]

    def welch(self) -> Array:
        """Welch's t of each class against all other images, channel by channel."""
        constant = (self.second.sum(axis=0) == 0) & (self.first.sum(axis=0) == 0)
        own = self.count, self.first, self.second
        mean_a, error_a = _mean_and_error(*own)
        mean_b, error_b = _mean_and_error(*(sums.sum(axis=0) - sums for sums in own))
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (mean_a - mean_b) / np.sqrt(error_a + error_b)
        t[:, constant] = 0
        t[self.count < 2] = np.nan
        return t


def _mean_and_error(count: Array, first: Array, second: Array) -> tuple[Array, Array]:
    """The means, and the unbiased variances divided by the numbers of images."""
    n = count[:, np.newaxis].astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return first / n, np.maximum(second - first**2 / n, 0) / (n - 1) / n


def check(root: Path, expected: Expected, seed: int = 0) -> None:
    """Hold a whole run against what it must be.

    Parameters
    ----------
    root : Path
        ``results/<run>``.
    expected : Expected
        What is known of the images.
    seed : int
        Of the choice of channels and classes that SciPy is asked about.

    Raises
    ------
    AssertionError
        At the first difference: it names the class, the method and the group.
    """
    run = Run(root)
    ids = np.array(expected.classes, dtype=object)
    _equal(run.classes["class_id"], ids, "classes.parquet: class_id", ids)
    _check_samples(run, expected)
    rng = np.random.default_rng(seed)
    width = run.features[0]["gap"].shape[1]
    asked = np.sort(rng.choice(width, min(16, width), replace=False))
    gap, columns, member = _sums(run, "gap", ids, asked)
    hidden, _, _ = _sums(run, "hidden", ids, asked[:0])
    _equal(run.classes["used"], gap.count, "classes.parquet: used", ids)
    _check_accuracy(run, expected, member, gap.count)
    t = gap.welch()
    some = [0, len(ids) - 1, *rng.choice(len(ids), min(16, len(ids)), replace=False)]
    _check_scipy(columns, member, t[:, asked], some, ids)
    stored = run.store("welch.zarr")
    _equal(stored["class_id"][:], ids, "welch.zarr: class_id", ids)
    _close(np.asarray(stored["t"]), t, "welch.zarr: t", ids, **WELCH)
    vectors = {"welch": t, "gap": gap.means(), "hidden": hidden.means()}
    for name, sums in (("gap_centered", gap), ("hidden_centered", hidden)):
        present = sums.count > 0
        vectors[name] = sums.means() - np.average(sums.means()[present], axis=0, weights=sums.count[present])
    _check_matrices(run, expected, ids, vectors)


def _check_samples(run: Run, expected: Expected) -> None:
    """Every image stands in one shard, under its class, and is NaN if and only if it could not be used."""
    found: dict[str, str] = {}
    empty: set[str] = set()
    for store in run.features:
        sample_ids = store["sample_id"][:].tolist()
        assert found.keys().isdisjoint(sample_ids), "features: an image stands in two shards"
        found |= zip(sample_ids, store["class_id"][:].tolist(), strict=True)
        empty |= {sample_ids[row] for row in np.flatnonzero(np.isnan(store["hidden"][:, 0]))}
    for sample_id in found.keys() | expected.class_of.keys():
        classes = found.get(sample_id), expected.class_of.get(sample_id)
        assert classes[0] == classes[1], f"features: {sample_id} is of class {classes[0]}, not {classes[1]}"
    assert empty == set(expected.rejects), f"features: used or rejected wrongly: {empty ^ set(expected.rejects)}"


def _rows(run: Run, variable: str, ids: Array) -> Iterator[tuple[Array, Array]]:
    """Classes and float64 values of all usable images, some at a time."""
    position = {id_: i for i, id_ in enumerate(ids)}
    for store in run.features:
        member = np.array([position[id_] for id_ in store["class_id"][:]])
        for start in range(0, len(member), ROWS):
            values = np.asarray(store[variable][start : start + ROWS], dtype=np.float64)
            used = ~np.isnan(values).any(axis=1)
            yield member[start : start + ROWS][used], values[used]


def _sums(run: Run, variable: str, ids: Array, columns: Array) -> tuple[Sums, Array, Array]:
    """Sums by class; some columns of all images, and the images' classes."""
    sums, kept, members = None, [], []
    for member, values in _rows(run, variable, ids):
        if not len(member):
            continue
        kept.append(values[:, columns])
        members.append(member)
        if sums is None:
            shape = len(ids), values.shape[1]
            sums = Sums(np.zeros(len(ids), np.int64), values[0], np.zeros(shape), np.zeros(shape))
        order = np.argsort(member, kind="stable")
        classes, starts, counts = np.unique(member[order], return_index=True, return_counts=True)
        values = values[order] - sums.centre
        sums.count[classes] += counts
        sums.first[classes] += np.add.reduceat(values, starts, axis=0)
        sums.second[classes] += np.add.reduceat(values**2, starts, axis=0)
    assert sums is not None, f"features: {variable} has no usable image"
    return sums, np.concatenate(kept), np.concatenate(members)


def _check_scipy(columns: Array, member: Array, t: Array, some: Sequence[int], ids: Array) -> None:
    """The t of some classes and channels is SciPy's, from all images one by one."""
    for c in some:
        if (member == c).sum() < 2:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a channel that is the same for all
            of_scipy = stats.ttest_ind(columns[member == c], columns[member != c], equal_var=False).statistic
        constant = np.ptp(columns, axis=0) == 0
        _close(np.where(constant, 0, of_scipy)[np.newaxis], t[[c]], "SciPy's t", ids[[c]], **WELCH)


def _check_accuracy(run: Run, expected: Expected, member: Array, used: Array) -> None:
    """top1 and top5 are the shares of images whose own output is the largest, or among the five largest."""
    output = {id_: i for i, id_ in enumerate(expected.outputs)}
    own = np.array([output.get(id_, -1) for id_ in expected.classes])
    ids = np.array(expected.classes, dtype=object)
    hits = {1: np.zeros(len(ids)), 5: np.zeros(len(ids))}
    if expected.outputs:
        for classes, logits in _rows(run, "logits", ids):
            column = own[classes][:, np.newaxis]
            value = np.take_along_axis(logits, column, axis=1)
            # Of equal outputs the smaller index comes first.
            above = ((logits > value) | ((logits == value) & (np.arange(logits.shape[1]) < column))).sum(axis=1)
            for k, right in hits.items():
                right += np.bincount(classes[above < k], minlength=len(ids))
    for k, right in hits.items():
        known = (used > 0) & (own >= 0)
        shares = np.where(known, right / np.maximum(used, 1), np.nan)
        found = np.array(run.classes[f"top{k}"], dtype=np.float64)
        _close(found, shares, f"classes.parquet: top{k}", ids, rtol=0, atol=1e-12)
        if expected.outputs:
            reported = run.summary["accuracy"][f"top{k}"]
            assert abs(reported - right.sum() / used[own >= 0].sum()) < 1e-6, f"summary.json: top{k} is {reported}"
    assert run.summary["images"] == {"used": len(member), "rejected": len(expected.rejects)}, "summary.json: images"


def _check_matrices(run: Run, expected: Expected, ids: Array, vectors: Mapping[str, Array]) -> None:
    """Each method's matrix of each group is the cosine of its vectors, and the table has each row's k largest.

    Of methods without vectors here only the table is checked; tests/stages/test_methods.py has oracles of theirs.
    """
    store = run.store("similarity.zarr")
    for name in ("class_id", "neighbor_id"):
        _equal(store[name][:], ids, f"similarity.zarr: {name}", ids)
    layers = run.store("welch.zarr")["layer"][:]
    groups = {"all": np.ones(len(layers), dtype=bool)}
    for name, globs in expected.groups.items():
        groups[name] = np.array([any(fnmatchcase(layer, glob) for glob in globs) for layer in layers])
    _equal(store["group_name"][:], list(groups), "similarity.zarr: group_name", list(groups))
    t = vectors["welch"]
    usable = np.isfinite(t[~np.isnan(t).all(axis=1)]).all(axis=0)
    rows = 0
    for method in compute.unique(run.neighbors["method"]).to_pylist():
        by_layer, values = store[method].ndim == 3, vectors.get(method)
        for g, (group, channels) in enumerate(groups.items() if by_layer else [("all", slice(None))]):
            table = _part(run, method, group)
            rows += len(table["rank"])
            if values is not None:
                chosen = values[:, channels & usable if method == "welch" else channels]
                with np.errstate(invalid="ignore", divide="ignore"):
                    units = chosen / np.linalg.norm(chosen, axis=1, keepdims=True)
            for start in range(0, len(ids), 1024):
                part = slice(start, min(start + 1024, len(ids)))
                block = store[method][g, part] if by_layer else store[method][part]
                if values is not None:
                    what = f"similarity.zarr: {method}, {group}"
                    _close(block, units[part] @ units.T, what, ids[part], rtol=0, atol=SIMILARITY)
                _check_top(block, start, table, expected.k, f"neighbors.parquet: {method}, {group}", ids)
    assert rows == len(run.neighbors), "neighbors.parquet: rows of other methods or groups"


def _part(run: Run, method: str, group: str) -> dict[str, Array]:
    """Columns of the neighbors table for one matrix."""
    where = compute.and_(compute.equal(run.neighbors["method"], method), compute.equal(run.neighbors["group"], group))
    names = ("class_index", "class_id", "rank", "neighbor_index", "neighbor_id", "similarity")
    return {name: run.neighbors[name].filter(where).to_numpy() for name in names}


def _check_top(block: Array, start: int, table: Mapping[str, Array], k: int, what: str, ids: Array) -> None:
    """The rows of the table for some rows of a matrix: no class comes before the last one but those in the table."""
    rows = np.arange(start, start + len(block))
    _equal(ids[table["class_index"]], table["class_id"], f"{what}: class_id", table["class_id"])
    _equal(ids[table["neighbor_index"]], table["neighbor_id"], f"{what}: neighbor_id", table["class_id"])
    low, high = np.searchsorted(table["class_index"], [start, start + len(block)])
    own, neighbor, similarity, rank = (
        table[name][low:high] for name in ("class_index", "neighbor_index", "similarity", "rank")
    )
    block = block.copy()
    block[np.arange(len(block)), rows] = np.nan  # a class is no neighbour of itself
    count = np.bincount(own - start, minlength=len(block))
    _equal(count, np.minimum(k, (~np.isnan(block)).sum(axis=1)), f"{what}: number of neighbors", ids[rows])
    order = np.lexsort((neighbor, -similarity, own))
    _equal(order, np.arange(len(order)), f"{what}: order", ids[own])
    _equal(rank, np.arange(len(own)) - np.searchsorted(own, own) + 1, f"{what}: rank", ids[own])
    _equal(block[own - start, neighbor], similarity, f"{what}: similarity", ids[own])
    last = np.flatnonzero(np.append(own[1:] != own[:-1], True)) if len(own) else np.zeros(0, int)
    at, value = neighbor[last][:, np.newaxis], similarity[last][:, np.newaxis]
    before = block[own[last] - start]
    better = (before > value) | ((before == value) & (np.arange(block.shape[1]) < at))
    _equal(better.sum(axis=1), rank[last] - 1, f"{what}: classes that are more similar", ids[own[last]])


def check_features(root: Path, folder: Path, images: Mapping[str, bytes]) -> None:
    """Compute the features of some images with hooks of torch's own, and hold the stored ones against them.

    Parameters
    ----------
    root : Path
        ``results/<run>``.
    folder : Path
        Where `network.py` and `weights.pth` lie.
    images : mapping of str to bytes
        Files by sample id.

    Raises
    ------
    AssertionError
        At the first difference, with the image's id.
    """
    code = runpy.run_path(str(folder / "network.py"))
    network, transform = code["network"](), code["transform"]()
    network.load_state_dict(torch.load(folder / "weights.pth", weights_only=True))
    network.eval()
    outputs: list[torch.Tensor] = []
    hidden: list[torch.Tensor] = []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _, args, out: outputs.append(out.relu().mean(dim=(2, 3))))
    network.fc.register_forward_pre_hook(lambda _, args: hidden.append(args[0]))
    left = set(images)
    for store in Run(root).features:
        sample_ids = store["sample_id"][:]
        rows = np.flatnonzero([id_ in left for id_ in sample_ids])
        if not len(rows):
            continue
        ids = sample_ids[rows]
        outputs.clear()
        hidden.clear()
        pixels = [transform(Image.open(io.BytesIO(images[id_])).convert("RGB")) for id_ in ids]
        with torch.no_grad():
            logits = network(torch.stack(pixels))
        for name, values in (("gap", torch.cat(outputs, dim=1)), ("hidden", hidden[0]), ("logits", logits)):
            atol = FEATURES * float(values.abs().max())
            _close(store[name].oindex[rows], values.numpy(), f"features: {name}", ids, rtol=0, atol=atol)
        left -= set(ids)
    assert not left, f"features: {left} are missing"


def check_same_neighbors(
    one: Path, other: Path, id_of: Mapping[str, str] | None = None, tolerance: float = SIMILARITY
) -> None:
    """Two runs have the same neighbours, but for the order of those whose similarities differ by rounding.

    Parameters
    ----------
    one, other : Path
        ``results/<run>`` of both.
    id_of : mapping of str to str, optional
        What the first run calls the other's classes.
    tolerance : float
        Of the similarities. The default is for the same features: with the classes in another order float64 is
        rounded otherwise, and so float32 differs by a step or two.

    Raises
    ------
    AssertionError
        At the first difference: it names the class, the method and the group.
    """
    tables = [_neighbors(one, {}), _neighbors(other, id_of or {})]
    assert tables[0].keys() == tables[1].keys(), "neighbors.parquet: other methods, groups or classes"
    for key, mine in tables[0].items():
        theirs = tables[1][key]
        assert len(mine) == len(theirs), f"neighbors.parquet: {key}: {len(mine)} and {len(theirs)} neighbors"
        # One that the other has not must be as good as the other's last.
        last = [min(neighbors.values()) for neighbors in (mine, theirs)]
        for id_ in mine.keys() | theirs.keys():
            difference = abs(mine.get(id_, last[0]) - theirs.get(id_, last[1]))
            assert difference <= tolerance, f"neighbors.parquet: {key}: similarity to {id_} differs by {difference}"
    mine, theirs = _class_rows(one, {}), _class_rows(other, id_of or {})
    for id_ in mine.keys() | theirs.keys():
        assert mine.get(id_) == theirs.get(id_), f"classes.parquet: {id_}: {mine.get(id_)} and {theirs.get(id_)}"


def _class_rows(root: Path, id_of: Mapping[str, str]) -> dict[str, tuple[Any, ...]]:
    """Images used and rejected, and accuracies, by class."""
    table = parquet.read_table(root / "classes.parquet")
    ids, *columns = (table[name].to_pylist() for name in ("class_id", "used", "rejected", "top1", "top5"))
    return {id_of.get(id_, id_): row for id_, row in zip(ids, zip(*columns, strict=True), strict=True)}


def _neighbors(root: Path, id_of: Mapping[str, str]) -> dict[tuple[str, str, str], dict[str, float]]:
    """Similarities of each (method, group, class) by neighbour."""
    table = parquet.read_table(root / "neighbors.parquet")
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    names = ("method", "group", "class_id", "neighbor_id", "similarity")
    for method, group, class_id, neighbor, similarity in zip(*(table[name].to_pylist() for name in names), strict=True):
        key = method, group, id_of.get(class_id, class_id)
        found.setdefault(key, {})[id_of.get(neighbor, neighbor)] = similarity
    return found


def _equal(found: Any, expected: Any, what: str, ids: Any) -> None:
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, not {expected.shape}"
    for i in np.flatnonzero(found != expected)[:1]:
        raise AssertionError(f"{what}: {ids[i]}: {found[i]}, not {expected[i]}")


def _close(found: Array, expected: Array, what: str, ids: Any, rtol: float, atol: float) -> None:
    assert found.shape == expected.shape, f"{what}: shape {found.shape}, not {expected.shape}"
    close = np.isclose(found, expected, rtol=rtol, atol=atol, equal_nan=True)
    for at in np.argwhere(~close)[:1]:
        where = tuple(at.tolist())
        raise AssertionError(
            f"{what}: class {ids[where[0]]}, at {where[1:]}: {found[where]}, not {expected[where]} "
            f"({np.sum(~close)} such values)"
        )

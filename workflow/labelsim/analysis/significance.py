"""Significance: the channels in which the images of a class differ most from all others."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from labelsim.analysis.class_moments import of_classes
from labelsim.statistics.largest import largest
from labelsim.statistics.moments import Moments, rest, total
from labelsim.statistics.significance import benjamini_hochberg, effect_size, log_p
from labelsim.statistics.welch import two_samples
from labelsim.storage.moment_store import channel_blocks, class_labels, load_moments
from labelsim.storage.zarr_store import blocks, load

if TYPE_CHECKING:
    import xarray

__all__ = ["THRESHOLD", "between", "significance"]

THRESHOLD = 0.01  # of q, below which a channel is counted
_ROWS = 256  # classes at a time; a chunk of t has 1,024
_VALUES = 2**22  # moments at a time: 32 MiB each


class _Tests(NamedTuple):
    """Tests of R classes: the k channels of largest |t|, (R, k), and the number of significant ones, (R,)."""

    channel: NDArray[np.int64]
    t: NDArray[np.float64]
    df: NDArray[np.float64]
    log10_p: NDArray[np.float64]
    log10_q: NDArray[np.float64]
    up: NDArray[np.int64]
    down: NDArray[np.int64]


class _Sides(NamedTuple):
    """Moments of both sides of a test."""

    mean: NDArray[np.float64]
    mean_rest: NDArray[np.float64]
    std: NDArray[np.float64]
    std_rest: NDArray[np.float64]
    effect_size: NDArray[np.float64]


def significance(
    welch: xarray.Dataset, moments: xarray.Dataset, channels: int, alternative: str
) -> tuple[pa.Table, pa.Table]:
    """Find the channels of largest absolute t of every class, with p values, adjusted p values and effect sizes.

    Parameters
    ----------
    welch, moments : xarray.Dataset
        The t statistics of a run, and the moments they were computed from.
    channels : int
        Number of channels of a class.
    alternative : str
        Of `labelsim.statistics.significance.ALTERNATIVES`.

    Returns
    -------
    channels : pyarrow.Table
        One row a (class, rank), sorted by the absolute value of t, also for one-sided alternatives; of equal ones the
        earlier channel first. `log10_q` is adjusted within the class over all usable channels, those whose t is finite
        for every class. `df` is null for a channel that is constant over all images. No rows for a class that cannot be
        tested.
    classes : pyarrow.Table
        One row a class: `channels`, the number of tests; `up` and `down`, in how many of them q is below 0.01 and the
        class's mean is above or below that of the rest. Null for a class that cannot be tested.
    """
    usable = np.flatnonzero(load(welch, "usable"))
    size = welch.sizes["class"]
    tested = np.zeros(size, bool)
    parts = [_tests(np.empty((0, len(usable))), np.empty((0, len(usable))), usable, channels, alternative)]
    for rows in blocks(size, _ROWS):
        t, df = (load(welch, name, **{"class": rows})[:, usable] for name in ("t", "df"))
        known = ~np.isnan(t).all(axis=1)
        tested[rows] = known
        parts.append(_tests(t[known], df[known], usable, channels, alternative))
    tests = _Tests(*map(np.concatenate, zip(*parts, strict=True)))
    own = np.repeat(np.flatnonzero(tested), tests.channel.shape[1])
    sides = _sides_of_rest(moments, own, tests.channel.ravel())
    table = _class_table(welch, np.arange(size), tested, len(usable), tests)
    return _channel_table(welch, own, tests, sides), table


def between(moments: xarray.Dataset, own: int, reference: int, channels: int) -> tuple[pa.Table, pa.Table]:
    """Find the channels in which the images of one class differ most from those of another; tests are two-sided.

    Parameters
    ----------
    moments : xarray.Dataset
        The merged moments of a run.
    own, reference : int
        Indices of the two classes.
    channels : int
        Number of channels.

    Returns
    -------
    channels, classes : pyarrow.Table
        As `significance` returns them, of the class `own`; the rest are the images of `reference`. All channels whose
        t is finite are usable. No rows, and null, if either class has fewer than two images.
    """
    a, b = (total(load_moments(moments, "gap", **{"class": slice(i, i + 1)})) for i in (own, reference))
    t, df = two_samples(a, b)
    usable = np.flatnonzero(np.isfinite(t[0]))
    known = np.array([len(usable) > 0])
    tests = _tests(t[known][:, usable], df[known][:, usable], usable, channels, "two-sided")
    chosen = tests.channel.ravel()
    sides = _sides(*(Moments(side.count, side.mean[:, chosen], side.m2[:, chosen]) for side in (a, b)))
    sides = _Sides(*(values[0] for values in sides))
    classes = _class_table(moments, np.array([own]), known, len(usable), tests)
    return _channel_table(moments, np.full(len(chosen), own), tests, sides), classes


def _tests(
    t: NDArray[np.float64], df: NDArray[np.float64], usable: NDArray[np.int64], k: int, alternative: str
) -> _Tests:
    """Tests of some classes in the usable channels, (R, U)."""
    p = log_p(t, df, alternative)
    q = benjamini_hochberg(p)
    best = largest(np.abs(t), k)
    significant = q < np.log(THRESHOLD)
    p, q = (np.take_along_axis(values, best, axis=1) / np.log(10) for values in (p, q))
    t_best, df_best = (np.take_along_axis(values, best, axis=1) for values in (t, df))
    up, down = ((significant & side).sum(axis=1) for side in (t > 0, t < 0))
    return _Tests(usable[best], t_best, df_best, p, q, up, down)


def _sides_of_rest(moments: xarray.Dataset, own: NDArray[np.int64], channel: NDArray[np.int64]) -> _Sides:
    """Moments of some classes and of all other images, in a channel each."""
    result = _Sides(*(np.empty(len(own)) for _ in _Sides._fields))
    size = moments.sizes["class"]
    for part, block in zip(channel_blocks(moments.sizes["channel"]), of_classes(moments, "gap"), strict=True):
        chosen = np.unique(channel[(channel >= part.start) & (channel < part.stop)])
        for some in blocks(len(chosen), max(1, _VALUES // size)):
            columns = chosen[some] - part.start
            classes = Moments(block.count, block.mean[:, columns], block.m2[:, columns])
            sides = _sides(classes, rest(classes))
            at = np.flatnonzero((channel >= chosen[some][0]) & (channel <= chosen[some][-1]))
            column = np.searchsorted(chosen[some], channel[at])
            for values, found in zip(result, sides, strict=True):
                values[at] = found[own[at], column]
    return result


def _sides(a: Moments, b: Moments) -> _Sides:
    std, std_rest = (np.sqrt(side.variance()) for side in (a, b))
    return _Sides(a.mean, b.mean, std, std_rest, effect_size(a, b))


def _channel_table(dataset: xarray.Dataset, own: NDArray[np.int64], tests: _Tests, sides: _Sides) -> pa.Table:
    channel = tests.channel.ravel()
    numbers = {name: getattr(tests, name).ravel() for name in ("t", "df", "log10_p", "log10_q")} | sides._asdict()
    return pa.table(
        {
            **_class_columns(dataset, own),
            "rank": np.tile(np.arange(1, tests.channel.shape[1] + 1, dtype=np.int32), len(tests.channel)),
            "layer": pa.array(load(dataset, "layer")[channel], pa.string()),
            "layer_channel": load(dataset, "layer_channel")[channel],
            **{name: pa.array(values, mask=np.isnan(values)) for name, values in numbers.items()},
        }
    )


def _class_table(
    dataset: xarray.Dataset, own: NDArray[np.int64], tested: NDArray[np.bool_], usable: int, tests: _Tests
) -> pa.Table:
    counts = np.zeros((3, len(tested)), np.int32)
    counts[:, tested] = np.full(len(tests.up), usable), tests.up, tests.down
    columns = zip(("channels", "up", "down"), counts, strict=True)
    return pa.table(
        {
            **_class_columns(dataset, own),
            **{name: pa.array(values, mask=~tested) for name, values in columns},
        }
    )


def _class_columns(dataset: xarray.Dataset, own: NDArray[np.int64]) -> dict[str, pa.Array]:
    """The columns of a class in all tables: its t statistics are the vector of the method welch over all layers."""
    labels = class_labels(dataset)
    return {
        "method": pa.array(["welch"] * len(own), pa.string()),
        "group": pa.array(["all"] * len(own), pa.string()),
        "class_index": pa.array(own, pa.int32()),
        **{name: pa.array(values.astype(object)[own], pa.string()) for name, values in labels.items()},
    }

"""Stability against plain NumPy: everything computed again from the features of all folds but one."""

import itertools
import warnings

import numpy as np
import planted
import pyarrow as pa
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from planted import ALONE, APART, CLASSES, INFINITE, PAIR
from pyarrow import parquet
from scipy.special import softmax

from labelsim.analysis import stability as analysis
from labelsim.dataset.sampling import folds
from labelsim.stages.stability import stability
from labelsim.statistics.stability import SCALES, jackknife, ranks
from labelsim.storage.digests import file_digest
from labelsim.storage.parquet import read_metadata, read_table
from labelsim.storage.zarr_store import open_store

FOLDS = 8
K = 5
ESTIMATES = ("corrected", "stderr", "low", "high")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    found = planted.plant(tmp_path_factory.mktemp("planted"), seed=1, k=K)
    stores = {name: found.path(name) for name in ("moments", "conformal")}
    outputs = [planted.Path(found.paths.analysis(name)) for name in ("stability", "class_stability")]
    stability(found.path("neighbors"), stores, *outputs)
    return found


@pytest.fixture(scope="module")
def table(run):
    return parquet.read_table(run.paths.analysis("stability")).to_pandas()


def cosines(vectors):
    with np.errstate(invalid="ignore"):
        units = vectors / np.sqrt((vectors**2).sum(axis=1, keepdims=True))
    return units @ units.T


def moments(values, labels):
    n = np.bincount(labels, minlength=CLASSES)[:, np.newaxis]
    mean, variance = np.full((2, CLASSES, values.shape[1]), np.nan)
    for c in range(CLASSES):
        if n[c] > 0:
            mean[c] = values[labels == c].mean(axis=0)
        if n[c] > 1:
            variance[c] = values[labels == c].var(axis=0, ddof=1)
    return n, mean, variance


def sizes(run, kept):
    """As many images of each class as before some were left out, if there are enough to tell a variance."""
    n, n_all = (np.bincount(labels, minlength=CLASSES) for labels in (run.labels[kept], run.labels))
    return np.where(n > 1, n_all, n)[:, np.newaxis]


def welch(run, kept, group):
    first, last = {"all": (0, 1030), "first": (0, 1000), "late": (1000, 1030)}[group]
    gap = run.features["gap"][kept, first:last].astype(np.float64)
    n = sizes(run, kept)
    _, mean, variance = moments(gap, run.labels[kept])
    mean, deviations = np.nan_to_num(mean), np.nan_to_num(variance) * np.maximum(n - 1, 0)
    t = np.full((CLASSES, gap.shape[1]), np.nan)
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        for c in np.flatnonzero(n > 1):
            others = np.arange(CLASSES) != c
            n_rest, center = n[others].sum(), (n * mean)[others].sum(axis=0) / n[others].sum()
            square = deviations[others] + n[others] * (mean[others] - center) ** 2
            rest = center, np.sqrt(square.sum(axis=0) / (n_rest - 1)), n_rest
            own = mean[c], np.sqrt(variance[c]), n[c]
            t[c] = scipy.stats.ttest_ind_from_stats(*own, *rest, equal_var=False).statistic
    tested = ~np.isnan(t).all(axis=1)
    t[np.ix_(tested, np.ptp(gap, axis=0) == 0)] = 0
    return cosines(np.where(np.isfinite(t[tested]).all(axis=0), t, 0) + np.where(tested, 0, np.nan)[:, np.newaxis])


def pairwise(run, kept, group):
    chosen = np.setdiff1d(np.arange(1030), [INFINITE, APART])
    _, mean, variance = moments(run.features["gap"][kept][:, chosen].astype(np.float64), run.labels[kept])
    error = variance / sizes(run, kept)
    result = np.full((CLASSES, CLASSES), np.nan)
    for c in range(CLASSES):
        with np.errstate(divide="ignore", invalid="ignore"):
            square = (mean[c] - mean) ** 2 / (error[c] + error)
        square[(error[c] + error) == 0] = 0
        result[c] = -np.sqrt(square.mean(axis=1))
    return result


def confusion(run, kept, group):
    probability = softmax(run.features["logits"][kept].astype(np.float64), axis=1)
    given_to = moments(probability, run.labels[kept])[1][:, run.outputs]
    given_to[:, run.outputs < 0] = np.nan
    return (given_to + given_to.T) / 2


def hidden_centered(run, kept, group):
    n, mean, _ = moments(run.features["hidden"][kept].astype(np.float64), run.labels[kept])
    n_all = np.bincount(run.labels, minlength=CLASSES)[:, np.newaxis]
    return cosines(mean - np.nansum(n_all * mean, axis=0) / n_all[n > 0].sum())


CASES = {
    ("welch", "late"): (welch, "atanh"),
    ("welch", "all"): (welch, "atanh"),
    ("pairwise", "all"): (pairwise, "linear"),
    ("hidden_centered", "all"): (hidden_centered, "atanh"),
    ("confusion", "all"): (confusion, "arcsin"),
}
FORWARD = {"atanh": np.arctanh, "linear": lambda x: x, "arcsin": lambda x: np.arcsin(np.sqrt(x))}
BACK = {"atanh": np.tanh, "linear": lambda z: np.minimum(z, 0), "arcsin": lambda z: np.sin(z) ** 2}


@pytest.mark.parametrize(("method", "group"), CASES)
def test_every_number_is_that_of_the_images_themselves(run, table, method, group):
    matrix, scale = CASES[method, group]
    fold = folds(run.samples.tolist(), FOLDS)
    whole = matrix(run, np.ones(len(fold), dtype=bool), group)
    without = np.array([matrix(run, fold != f, group) for f in range(FOLDS)])
    rows = table[(table["method"] == method) & (table["group"] == group)]
    assert len(rows) >= (CLASSES - 3) * K
    for row in rows.itertuples():
        c, i = row.class_index, row.neighbor_index
        left_out = [((run.labels == c) | (run.labels == i))[fold == f].any() for f in range(FOLDS)]
        used = [f for f in range(FOLDS) if left_out[f] and np.isfinite(without[f, c, i])]
        assert row.folds == len(used)
        # The stored similarity is rounded to float32.
        assert row.similarity == pytest.approx(whole[c, i], rel=1e-6)
        # A rank that hangs on the last digit of float32 occurs nowhere here.
        order = [np.argsort(-np.delete(without[f, c], c).astype(np.float32), kind="stable") for f in used]
        others = np.delete(np.arange(CLASSES), c)
        found = [int(np.flatnonzero(others[o] == i)[0]) + 1 for o in order]
        assert row.folds_in_top_k == sum(rank <= K for rank in found)
        if found:
            assert (row.rank_min, row.rank_max) == (min(found), max(found))
        if len(used) < 2:
            assert np.isnan([getattr(row, name) for name in ESTIMATES]).all()
            continue
        g, z = len(used), FORWARD[scale](without[used, c, i])
        center = g * FORWARD[scale](whole[c, i]) - (g - 1) * z.mean()
        error = np.sqrt((g - 1) / g * ((z - z.mean()) ** 2).sum())
        reach = scipy.stats.t.ppf(0.975, g - 1) * error
        # Differences of nearly equal float64 numbers, eightfold.
        assert row.corrected == pytest.approx(BACK[scale](center), rel=1e-6, abs=1e-9)
        # The ends of a share's and of a distance's interval are at 0 at the furthest.
        assert FORWARD[scale](row.low) == pytest.approx(center - reach, rel=1e-5, abs=1e-7) or row.low == 0
        assert FORWARD[scale](row.high) == pytest.approx(center + reach, rel=1e-5, abs=1e-7) or row.high == 0
        step = 1e-5
        slope = (BACK[scale](center + step) - BACK[scale](center - step)) / (2 * step) if scale != "linear" else 1
        assert row.stderr == pytest.approx(error * slope, rel=1e-4)


def test_classes_without_enough_images(table):
    # Without the fold of its image, a class of one has no similarity; a class of two has none of Welch's.
    alone = table[(table["class_index"] == ALONE) & (table["method"] == "hidden")]
    assert len(alone) == K
    assert (alone["folds"] <= FOLDS - 1).all()
    assert not len(table[(table["class_index"] == ALONE) & (table["method"] == "welch")])
    pair = table[(table["class_index"] == PAIR) & (table["method"] == "welch") & (table["group"] == "all")]
    assert (pair["folds"] <= FOLDS - 1).all()


def test_weights_depend_on_no_image(table):
    rows = table[table["method"] == "weights"]
    assert len(rows)
    assert (rows["folds"] == 0).all()
    assert rows[[*ESTIMATES, "rank_min", "rank_max"]].isna().all().all()


def test_rows_are_those_of_the_neighbors(run):
    found = parquet.read_table(run.paths.analysis("stability"))
    neighbors = parquet.read_table(run.paths.neighbors)
    assert found.select(neighbors.column_names).equals(neighbors)
    own, its = read_metadata(found), read_metadata(neighbors)
    assert its.items() <= own.items()
    assert own["neighbors_digest"] == file_digest(run.path("neighbors"))


def test_classes_sum_up_their_neighbors(run, table):
    found = parquet.read_table(run.paths.analysis("class_stability")).to_pandas()
    keys = ["method", "group", "class_index"]
    assert len(found) == len(table[keys].drop_duplicates())
    for row in found.itertuples():
        rows = table[(table[keys] == [row.method, row.group, row.class_index]).all(axis=1)]
        counted = rows[rows["folds"] > 0]
        assert row.neighbors == len(rows)
        if len(counted):
            assert row.stable == pytest.approx((counted["folds_in_top_k"] == counted["folds"]).mean())
        else:
            assert np.isnan(row.stable)
        assert row.reordered == reordered(rows["corrected"].to_numpy())


def reordered(corrected):
    """Whether one is above that before it; None where that depends on one that is not known."""
    found = [None if np.isnan(pair).any() else pair[1] > pair[0] for pair in itertools.pairwise(corrected)]
    return True if True in found else None if None in found or np.isnan(corrected).any() else False


@pytest.mark.parametrize(
    "corrected",
    [[0.5, 0.4, 0.3], [0.4, None, 0.5], [0.3, 0.4, None], [0.5, 0.4, None], [None], [0.4], [None, 0.4, 0.5]],
)
def test_an_order_that_is_not_known_in_full(corrected):
    number = len(corrected)
    table = {"method": ["hidden"] * number, "group": ["all"] * number, "class_index": [3] * number}
    table |= {"class_id": ["3"] * number, "class_name": ["three"] * number, "rank": range(1, number + 1)}
    table |= {"corrected": pa.array(corrected, pa.float64()), "folds": [8] * number, "folds_in_top_k": [8] * number}
    found = analysis.class_stability(pa.table(table))
    assert found["reordered"].to_pylist() == [reordered(np.array(corrected, dtype=float))]


@given(st.lists(st.floats(-0.999, 0.999), min_size=2, max_size=8), st.integers(0, 3))
def test_folds_without_information_change_nothing(values, extra):
    # A replicate that does not count is as if it were not there.
    replicates = np.array(values)[:, np.newaxis]
    nothing = np.full((extra, 1), 0.5)
    one = jackknife(np.array([0.5]), replicates, np.ones_like(replicates, dtype=bool), "atanh")
    used = np.repeat([True, False], [len(values), extra])[:, np.newaxis]
    other = jackknife(np.array([0.5]), np.vstack([replicates, nothing]), used, "atanh")
    np.testing.assert_allclose(np.array(one), np.array(other), rtol=1e-9, atol=1e-12)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    # On a scale that changes nothing: a textbook identity for groups of equal size.
    values = np.random.default_rng(0).normal(0.1, 0.01, 8)
    without = (values.sum() - values) / 7
    used = np.ones((8, 1), dtype=bool)
    found = jackknife(np.array([values.mean()]), without[:, np.newaxis], used, "arcsin")
    # The scale bends a little over so small a range.
    assert found.stderr[0] == pytest.approx(scipy.stats.sem(values), rel=0.01)
    assert found.folds[0] == 8


@pytest.mark.parametrize("scale", SCALES)
@given(z=st.floats(0.05, 1.5))
def test_scales_have_their_inverse_and_its_slope(scale, z):
    forward, back, slope = SCALES[scale]
    z = np.array([-z if scale == "linear" else z])
    np.testing.assert_allclose(forward(back(z)), z, rtol=1e-9)
    numerical = (back(z + 1e-6) - back(z - 1e-6)) / 2e-6
    np.testing.assert_allclose(slope(back(z)), numerical, rtol=1e-6)


@pytest.mark.parametrize(("scale", "least", "most"), [("atanh", -1, 1), ("arcsin", 0, 1), ("linear", -np.inf, 0)])
def test_estimates_stay_within_the_bounds_of_the_similarity(scale, least, most):
    spread = np.random.default_rng(0).uniform(0, 1, (9, 1000)) * (-1 if scale == "linear" else 1)
    found = jackknife(spread[0], spread[1:], np.ones((8, 1000), dtype=bool), scale)
    for values in (found.corrected, found.low, found.high):
        assert np.all((values >= least) & (values <= most))
    assert np.all((found.low <= found.corrected) & (found.corrected <= found.high))


def test_a_run_without_usable_images_has_no_rows(run):
    stores = {name: open_store(run.path(name)) for name in ("moments", "conformal")}
    count = stores["moments"]["count"]
    stores["moments"]["count"] = count.copy(data=np.zeros_like(count.values))
    found = analysis.stability(read_table(run.path("neighbors")).slice(0, 0), stores)
    assert len(found) == len(analysis.class_stability(found)) == 0


def test_ranks_of_ties_go_by_index():
    matrix = np.array([[9, 0.5, 0.7, 0.5], [0.5, 9, np.nan, 0.5]], dtype=np.float32)
    own, other = np.array([4, 4, 4, 5, 5, 5]) - 4, np.array([1, 2, 3, 0, 2, 3])
    assert ranks(matrix, 0, own, other).tolist() == [2, 1, 3, 1, 0, 2]
    # A class of which no other comes first, at an index before and after its own.
    assert ranks(matrix[:, [1, 2, 0, 3]][:1], 2, np.array([2, 2, 2]), np.array([0, 1, 3])).tolist() == [2, 1, 3]


def test_some_rows_at_a_time(run, monkeypatch):
    whole = parquet.read_table(run.paths.analysis("stability")).to_pandas()
    monkeypatch.setattr("labelsim.analysis.stability._VALUES", 20 * CLASSES)
    stores = {name: open_store(run.path(name)) for name in ("moments", "conformal")}
    found = analysis.stability(parquet.read_table(run.paths.neighbors), stores).to_pandas()
    # Products of other blocks are rounded otherwise in the last digit, which the jackknife enlarges.
    for name in ESTIMATES:
        np.testing.assert_allclose(found[name], whole[name], rtol=1e-6, atol=1e-9)
    for name in ("folds", "folds_in_top_k", "rank_min", "rank_max"):
        np.testing.assert_array_equal(found[name], whole[name])


def test_a_run_without_neighbors(run, tmp_path):
    nothing = parquet.read_table(run.paths.neighbors).slice(0, 0)
    found = analysis.stability(nothing, {name: open_store(run.path(name)) for name in ("moments", "conformal")})
    assert isinstance(found, pa.Table)
    assert len(found) == 0
    assert len(analysis.class_stability(found)) == 0

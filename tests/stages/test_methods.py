"""Every similarity method against plain NumPy and SciPy, on features that are as nasty as they can be."""

import re
import warnings

import numpy as np
import planted
import pytest
import scipy.stats
from planted import ALONE, APART, CLASSES, DEAD, EMPTY, INFINITE, PAIR
from pyarrow import parquet
from scipy.special import softmax

from labelsim.analysis.matrices import columns
from labelsim.dataset.sampling import folds
from labelsim.methods import METHODS
from labelsim.stages.neighbors import neighbor_tables
from labelsim.storage.zarr_store import open_store

# Matrices are stored in float32, and so is what they are computed from.
CLOSE = {"rtol": 2e-6, "atol": 2e-6}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return planted.plant(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def similarity(run):
    return open_store(run.path("similarity"))


def means(run, values, among=slice(None)):
    """Class means in float64; NaN for a class without images."""
    labels, values = run.labels[among], values[among].astype(np.float64)
    found = np.full((CLASSES, values.shape[1]), np.nan)
    for c in np.unique(labels):
        found[c] = values[labels == c].mean(axis=0)
    return found


def cosines(vectors):
    with np.errstate(invalid="ignore"):
        units = vectors / np.sqrt((vectors**2).sum(axis=1, keepdims=True))
    return units @ units.T


def channels_of(group):
    start = {"all": 0, "late": 1000, "first": 0}[group]
    stop = {"all": planted.CHANNELS, "late": planted.CHANNELS, "first": 1000}[group]
    return np.arange(start, stop)


@pytest.mark.parametrize(
    ("method", "variable", "center"),
    [("hidden", "hidden", False), ("hidden_centered", "hidden", True), ("gap_centered", "gap", True)],
)
def test_cosines_of_means(run, similarity, method, variable, center):
    values = run.features[variable].astype(np.float64)
    expected = cosines(means(run, values) - (values.mean(axis=0) if center else 0))
    assert np.isnan(expected[EMPTY]).all()
    np.testing.assert_allclose(similarity[method].values, expected, **CLOSE)


@pytest.mark.parametrize("group", ["all", "late", "first"])
def test_pairwise_is_minus_the_root_mean_square_of_scipys_t(run, similarity, group):
    # Infinite for one pair, so left out of all: constant in two classes. In `INFINITE` all but one have the same.
    chosen = np.setdiff1d(channels_of(group), [APART, INFINITE])
    gap = run.features["gap"][:, chosen].astype(np.float64)
    g = similarity["group_name"].values.tolist().index(group)
    found = similarity["pairwise"].values[g]
    random = np.random.default_rng(0)
    pairs = [(PAIR, 3), (30, 31), (20, 21), *random.integers(0, CLASSES, (60, 2)).tolist()]
    for a, b in pairs:
        if a == b:
            continue
        if {a, b} & {EMPTY, ALONE}:
            assert np.isnan(found[a, b])
            continue
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            t = scipy.stats.ttest_ind(gap[run.labels == a], gap[run.labels == b], equal_var=False).statistic
        t[np.isnan(t)] = 0  # SciPy's answer for two equal constants
        assert found[a, b] == found[b, a]
        np.testing.assert_allclose(found[a, b], -np.sqrt((t**2).mean()), **CLOSE)
    if group != "late":
        assert DEAD in chosen
    assert np.isnan(found[[EMPTY, ALONE]]).all()
    tested = np.setdiff1d(np.arange(CLASSES), [EMPTY, ALONE])
    assert (np.diagonal(found)[tested] == 0).all()


def test_output_is_the_cosine_of_mean_probabilities(run, similarity):
    probability = softmax(run.features["logits"].astype(np.float64), axis=1)
    np.testing.assert_allclose(similarity["output"].values, cosines(means(run, probability)), **CLOSE)


def test_confusion_is_the_mean_probability_in_both_directions(run, similarity):
    given = means(run, softmax(run.features["logits"].astype(np.float64), axis=1))
    moments = open_store(run.path("moments"))
    count = moments["count"].values[..., np.newaxis]
    present = count[..., 0].sum(axis=0) > 0
    stored = np.nansum(moments["probability_mean"].values * count, axis=0)[present] / count.sum(axis=0)[present]
    # What a class gives to all outputs adds up to 1; float64 sums of at most 15 images.
    np.testing.assert_allclose(stored.sum(axis=1), 1, rtol=1e-12)
    to = given[:, run.outputs]
    to[:, run.outputs < 0] = np.nan
    np.testing.assert_allclose(similarity["confusion"].values, (to + to.T) / 2, **CLOSE)
    assert np.isnan(similarity["confusion"].values[50]).all()  # the class without an output


def test_conformal_is_the_share_of_sets_that_hold_the_other_class(run, similarity):
    probability = softmax(run.features["logits"].astype(np.float64), axis=1)
    known = run.outputs[run.labels] >= 0
    own = probability[np.arange(len(run.labels)), run.outputs[run.labels]]
    fold = folds(run.samples.tolist(), 8)
    sets = np.zeros(probability.shape, dtype=bool)
    for f in range(8):
        calibration = np.sort(1 - own[known & (fold != f)])
        limit = calibration[int(np.ceil((len(calibration) + 1) * 9 / 10)) - 1]
        sets[fold == f] = 1 - probability[fold == f] <= limit
    held = means(run, sets.astype(np.float64))[:, run.outputs]
    held[:, run.outputs < 0] = np.nan
    np.testing.assert_allclose(similarity["conformal"].values, (held + held.T) / 2, **CLOSE)
    reported = similarity.attrs["conformal"]
    covered = sets[np.arange(len(run.labels)), run.outputs[run.labels]][known]
    assert reported["images"] == known.sum()
    assert reported["coverage"] == pytest.approx(covered.mean(), abs=1e-12)
    # No image calibrates its own set: the share is that of a binomial of 90 %, within four standard errors.
    assert abs(reported["coverage"] - 0.9) < 4 * np.sqrt(0.09 / known.sum())


def test_weights_are_the_rows_of_the_head(run, similarity):
    weight = open_store(run.path("head"))["weight"].values.astype(np.float64)
    rows = weight[run.outputs]
    rows[run.outputs < 0] = np.nan
    rows[EMPTY] = np.nan  # a class without images is in no matrix
    np.testing.assert_allclose(similarity["weights"].values, cosines(rows), **CLOSE)


def test_a_class_whose_images_are_all_rejected_is_in_no_matrix(run):
    stores = {"head": open_store(run.path("head")), "moments": open_store(run.path("moments"))}
    count = stores["moments"]["count"]
    stores["moments"]["count"] = count.copy(data=np.where(np.arange(CLASSES) == PAIR, 0, count.values))
    (vectors,) = columns(stores, METHODS["weights"])
    assert np.flatnonzero(np.isnan(vectors).any(axis=1)).tolist() == [EMPTY, 50, PAIR]


@pytest.mark.parametrize(("k", "warned"), [(34, False), (35, True)])
def test_a_warning_where_most_classes_are_neighbors(run, tmp_path, caplog, k, warned):
    config = run.config | {"neighbors": {"k": k}}
    tables = (tmp_path / name for name in ("neighbors.parquet", "classes.parquet", "summary.json"))
    with caplog.at_level("WARNING", "labelsim.stages.neighbors"):
        neighbor_tables(run.path("similarity"), run.path("moments"), run.path("network"), config, "version", *tables)
    # One class of the 70 has no images: 68 others.
    assert any("neighbors.k" in record.getMessage() for record in caplog.records) is warned


def test_notes_say_why_a_class_is_missing(run):
    notes = parquet.read_table(run.path("classes"))["notes"].to_pylist()
    assert notes[EMPTY] == "no usable image: in no matrix"
    assert re.fullmatch(r"one usable image, .*: not in welch, pairwise", notes[ALONE])
    assert re.fullmatch(r"no output .*: not in confusion, conformal, weights", notes[50])
    assert not notes[0]

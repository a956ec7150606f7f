"""evidence on features whose result plain NumPy knows."""

import json
from pathlib import Path

import numpy as np
import planted
import pytest
import scipy.stats
from planted import ALONE, APART, CHANNELS, CLASSES, DEAD, EMPTY, GROUPS, INFINITE, LAYERS, MANY, PAIR, TWINS
from pyarrow import parquet

from labelsim import open_run
from labelsim.analysis.evidence import between
from labelsim.errors import LabelsimError
from labelsim.methods import METHODS
from labelsim.stages.evidence import evidence
from labelsim.storage.zarr_store import open_store

pytestmark = pytest.mark.filterwarnings("ignore:Precision loss occurred")  # SciPy's, of constant channels

EXPLAINED = ("gap", "gap_centered", "welch")
LAYER = np.repeat(list(LAYERS), list(LAYERS.values()))
LAYER_CHANNEL = np.concatenate([np.arange(n) for n in LAYERS.values()])
MEMBERS = {"all": ["conv1", "conv2", "conv3"], "first": ["conv1"], "late": ["conv2", "conv3"]}
KEY = ["method", "group", "class_index", "rank"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    found = planted.plant(
        tmp_path_factory.mktemp("planted"), methods=("welch", "hidden", "gap", "pairwise", "gap_centered")
    )
    analyze(found)
    return found


def analyze(run):
    """The tables of channels and of layers."""
    tables = [Path(run.paths.analysis(name)) for name in ("evidence", "evidence_layers")]
    stores = {name: run.path(name) for name in ("moments", "welch")}
    evidence(run.path("neighbors"), stores, 10, *tables)
    return [parquet.read_table(table) for table in tables]


@pytest.fixture(scope="module")
def tables(run):
    """The tables of neighbors, channels and layers, read by pandas."""
    results = open_run(run.paths.root)
    return results.neighbors().to_pandas(), *(table.to_pandas() for table in analyze(run))


@pytest.fixture(scope="module")
def vectors(run):
    """What represents each class under each method, by SciPy and NumPy; rows of NaN where there is nothing."""
    gap = run.features["gap"].astype(np.float64)
    means, t = np.full((2, CLASSES, CHANNELS), np.nan)
    for c in range(CLASSES):
        own, rest = gap[run.labels == c], gap[run.labels != c]
        if len(own):
            means[c] = own.mean(axis=0)
        if len(own) > 1:
            with np.errstate(all="ignore"):
                t[c] = scipy.stats.ttest_ind(own, rest, equal_var=False).statistic
            t[c, [DEAD, INFINITE]] = 0  # neither contributes anything
    return {"welch": t, "gap": means, "gap_centered": means - gap.mean(axis=0)}


def contributions(vectors, method, group, own, neighbor):
    """Contribution of each channel of the run."""
    used = np.isin(LAYER, MEMBERS[group])
    a, b = (np.where(used, vectors[method][index], 0) for index in (own, neighbor))
    return a * b / np.linalg.norm(a) / np.linalg.norm(b)


def stores(run):
    return {name: open_store(run.path(name)) for name in ("moments", "welch")}


def pair(run, method, group, own, neighbor, channels):
    return between(stores(run), method, group, GROUPS, own, neighbor, channels)


def test_it_is_there_for_every_neighbor_of_a_method_that_compares_channels_by_a_cosine(tables):
    neighbors, channels, layers = tables
    assert set(neighbors["method"]) == {*EXPLAINED, "hidden", "pairwise"}
    explained = neighbors[neighbors["method"].isin(EXPLAINED)].reset_index(drop=True)
    for table in (channels, layers):
        rows = table[list(neighbors.columns)].drop_duplicates().reset_index(drop=True)
        assert rows.equals(explained)  # in the same order
    assert channels["channel_rank"].tolist() == [*range(1, 11)] * len(explained)


def test_layers_add_up_to_the_similarity(tables):
    _, _, layers = tables
    by_pair = layers.groupby(KEY, sort=False)
    assert all(rows["layer"].tolist() == MEMBERS[key[1]] for key, rows in by_pair)
    sums = by_pair[["contribution", "share"]].sum()
    np.testing.assert_allclose(sums["contribution"], by_pair["similarity"].first(), rtol=0, atol=1e-6)  # float32
    np.testing.assert_allclose(sums["share"], 1, rtol=0, atol=1e-9)


@pytest.mark.parametrize("method", EXPLAINED)
def test_channels_and_layers_are_numpys(tables, vectors, method):
    _, channels, layers = tables
    position = {channel: i for i, channel in enumerate(zip(LAYER, LAYER_CHANNEL, strict=True))}
    chosen = [0, 10, MANY, PAIR, *([ALONE] if method != "welch" else [])]
    channels = channels[(channels["method"] == method) & channels["class_index"].isin(chosen)]
    layers = layers[(layers["method"] == method) & layers["class_index"].isin(chosen)].set_index([*KEY, "layer"])
    assert set(channels["class_index"]) == set(chosen)
    assert set(channels["group"]) == (set(MEMBERS) if METHODS[method].by_layer else {"all"})
    # float64 on both sides, summed in another order. A t of a channel of little variance is the worst of it.
    close = {"rtol": 1e-8, "atol": 1e-12}
    for key, rows in channels.groupby(KEY, sort=False):
        own, neighbor = rows["class_index"].iloc[0], rows["neighbor_index"].iloc[0]
        expected = contributions(vectors, method, key[1], own, neighbor)
        channel = [position[found] for found in zip(rows["layer"], rows["layer_channel"], strict=True)]
        np.testing.assert_allclose(rows["contribution"], np.sort(expected)[::-1][:10], **close)
        np.testing.assert_allclose(rows["contribution"], expected[channel], **close)
        np.testing.assert_allclose(rows["share"], expected[channel] / expected.sum(), **close)
        for name, index in (("class_value", own), ("neighbor_value", neighbor)):
            np.testing.assert_allclose(rows[name], vectors[method][index, channel], **close)
        found = [layers.loc[(*key, layer), "contribution"] for layer in MEMBERS[key[1]]]
        np.testing.assert_allclose(found, [expected[layer == LAYER].sum() for layer in MEMBERS[key[1]]], **close)


def test_of_equal_contributions_the_earlier_channel_comes_first(run):
    channels, _ = pair(run, "gap", "all", 10, 12, CHANNELS)
    assert len(channels) == CHANNELS
    places = channels.to_pandas().set_index(["layer", "layer_channel"])
    one, other = (places.loc[(LAYER[channel], LAYER_CHANNEL[channel])] for channel in TWINS)
    assert one["contribution"] == other["contribution"]
    assert other["channel_rank"] == one["channel_rank"] + 1


def test_a_channel_that_welch_leaves_out_is_no_evidence(run):
    channels, _ = pair(run, "welch", "all", 10, 20, CHANNELS)
    found = set(zip(channels["layer"].to_pylist(), channels["layer_channel"].to_pylist(), strict=True))
    assert len(found) == CHANNELS - 1
    assert (LAYER[INFINITE], LAYER_CHANNEL[INFINITE]) not in found
    assert (LAYER[APART], LAYER_CHANNEL[APART]) in found


@pytest.mark.parametrize("method", EXPLAINED)
def test_any_two_classes(run, tables, vectors, method):
    neighbors, *of_neighbors = tables
    group = "late" if METHODS[method].by_layer else "all"

    def mine(table):
        return table[(table["method"] == method) & (table["group"] == group) & (table["class_index"] == 10)]

    far = min(set(range(CLASSES)) - set(mine(neighbors)["neighbor_index"]) - {10, EMPTY, ALONE})
    channels, layers = pair(run, method, group, 10, far, 6)
    expected = contributions(vectors, method, group, 10, far)
    np.testing.assert_allclose(channels["contribution"], np.sort(expected)[::-1][:6], rtol=1e-8)
    np.testing.assert_allclose(channels["similarity"], expected.sum(), rtol=1e-8)
    assert layers["layer"].to_pylist() == MEMBERS[group]
    assert set(channels["neighbor_name"].to_pylist()) == {f"class {far}"}
    # A neighbor has the same rows in the tables.
    near = mine(neighbors)["neighbor_index"].iloc[2]
    for found, table in zip(pair(run, method, group, 10, near, 10), of_neighbors, strict=True):
        rows = mine(table)[mine(table)["rank"] == 3]
        for name, values in found.to_pandas().items():
            if values.dtype == np.float64:
                # The similarity is float32 there; sums of two rows and of all rows may be in another order.
                np.testing.assert_allclose(values, rows[name], rtol=1e-6 if name == "similarity" else 1e-12)
            else:
                assert values.tolist() == rows[name].tolist()


@pytest.mark.parametrize(("method", "other"), [("welch", ALONE), ("gap", EMPTY)])
def test_a_class_without_similarities(run, method, other):
    with pytest.raises(LabelsimError, match=f"class {other} .*{method}"):
        pair(run, method, "all", 10, other, 6)


def test_blocks_do_not_change_the_result(run, tables, monkeypatch):
    monkeypatch.setattr("labelsim.statistics.evidence._VALUES", 50 * 1024)
    for table, whole in zip(analyze(run), tables[1:], strict=True):
        assert table.to_pandas().equals(whole)


def test_texts_are_plain_columns_for_every_reader(run):
    expected = open_run(run.paths.root).neighbors().schema
    for table in analyze(run):
        assert [table.schema.field(field.name).type for field in expected] == expected.types
        assert table.schema.field("layer").type == expected.field("class_id").type
        assert (
            json.loads(expected.metadata[b"labelsim"]).items() <= json.loads(table.schema.metadata[b"labelsim"]).items()
        )


def test_a_run_without_methods_that_compare_channels_has_empty_tables(tmp_path):
    run = planted.plant(tmp_path, methods=("hidden",))
    channels, layers = analyze(run)
    assert (len(channels), len(layers)) == (0, 0)
    assert {"channel_rank", "layer_channel", "contribution", "share", "class_value"} <= set(channels.column_names)

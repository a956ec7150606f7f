"""significance on features whose result SciPy knows."""

from pathlib import Path

import analyses
import mpmath
import numpy as np
import planted
import pytest
import scipy.stats
from planted import ALONE, APART, CHANNELS, CLASSES, CLEAR, DEAD, EMPTY, INFINITE, LAYERS, MANY, PAIR, TWINS
from pyarrow import parquet

from labelsim import open_run
from labelsim.analysis.significance import between
from labelsim.config import load
from labelsim.stages.significance import significance
from labelsim.stages.welch import welch_statistics
from labelsim.storage.json_files import write_document
from labelsim.storage.moment_store import arrays
from labelsim.storage.parquet import read_metadata
from labelsim.storage.zarr_store import Array, Writer, open_store

pytestmark = pytest.mark.filterwarnings("ignore:Precision loss occurred")  # SciPy's, of constant channels

LAYER = np.repeat(list(LAYERS), list(LAYERS.values()))
LAYER_CHANNEL = np.concatenate([np.arange(n) for n in LAYERS.values()])
RTOL = 1e-9  # float64 on both sides; sums in another order, and t amplifies their rounding


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return planted.plant(tmp_path_factory.mktemp("planted"), methods=("welch", "gap"))


def analyze(run, **changes):
    """The tables of channels and of classes under some settings."""
    section = run.config["analysis"]["significance"] | changes
    config = run.config | {"analysis": run.config["analysis"] | {"significance": section}}
    tables = [Path(run.paths.analysis(name)) for name in ("channels", "class_significance")]
    significance(run.path("welch"), run.path("moments"), run.path("network"), config, "version", *tables)
    return [parquet.read_table(table) for table in tables]


def oracle(own, rest, infinite, alternative="two-sided"):
    """SciPy's test in the usable channels: their indices, t, df, p and q."""
    usable = np.delete(np.arange(CHANNELS), infinite)
    own, rest = own[:, usable], rest[:, usable]
    with np.errstate(all="ignore"):
        found = scipy.stats.ttest_ind(own, rest, equal_var=False, alternative=alternative)
    constant = (own == rest[0]).all(axis=0) & (rest == rest[0]).all(axis=0)
    t, p = np.where(constant, 0.0, found.statistic), np.where(constant, 1.0, found.pvalue)
    return usable, t, found.df, p, scipy.stats.false_discovery_control(p)


def sides(run, own, others):
    gap = run.features["gap"].astype(np.float64)
    return gap[run.labels == own], gap[others]


def compare(rows, usable, t, df, p, q, own, rest):
    """Compare rows of a class with SciPy's and NumPy's numbers."""
    best = np.lexsort((usable, -np.abs(t)))[: len(rows)]
    channel = usable[best]
    assert rows["rank"].tolist() == list(range(1, len(rows) + 1))
    assert rows["layer"].tolist() == LAYER[channel].tolist()
    assert rows["layer_channel"].tolist() == LAYER_CHANNEL[channel].tolist()
    np.testing.assert_allclose(rows["t"], t[best], rtol=RTOL)
    np.testing.assert_allclose(rows["df"], df[best], rtol=RTOL)
    normal = p[best] > 1e-300  # SciPy's p underflows
    # A relative error of t of RTOL moves the logarithm of p by some hundred times as much.
    np.testing.assert_allclose(rows["log10_p"][normal], np.log10(p[best][normal]), rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(rows["log10_q"][normal], np.log10(q[best][normal]), rtol=1e-7, atol=1e-12)
    own, rest = own[:, channel], rest[:, channel]
    difference = own.mean(axis=0) - rest.mean(axis=0)
    np.testing.assert_allclose(rows["mean"], own.mean(axis=0), rtol=RTOL)
    np.testing.assert_allclose(rows["mean_rest"], rest.mean(axis=0), rtol=RTOL)
    np.testing.assert_allclose(rows["std"], own.std(axis=0, ddof=1), rtol=RTOL, atol=1e-12)
    np.testing.assert_allclose(rows["std_rest"], rest.std(axis=0, ddof=1), rtol=RTOL, atol=1e-12)
    spread = np.sqrt((own.var(axis=0, ddof=1) + rest.var(axis=0, ddof=1)) / 2)
    np.testing.assert_allclose(rows["effect_size"], difference / spread, rtol=RTOL)
    assert normal.sum() >= len(rows) - 1


@pytest.mark.parametrize("alternative", ["two-sided", "less", "greater"])
def test_channels_are_those_of_scipy(run, alternative):
    table, counts = (table.to_pandas() for table in analyze(run, alternative=alternative))
    for c in (0, 10, PAIR, MANY, CLASSES - 1):
        own, rest = sides(run, c, run.labels != c)
        found = oracle(own, rest, INFINITE, alternative)
        rows = table[table["class_index"] == c]
        assert len(rows) == analyses.DEFAULTS["significance"]["channels"]
        compare(rows, *found, own, rest)
        _, t, _, _, q = found
        assert counts["channels"][c] == CHANNELS - 1
        assert counts["up"][c] == ((q < 0.01) & (t > 0)).sum()
        assert counts["down"][c] == ((q < 0.01) & (t < 0)).sum()
    assert (counts["up"][MANY] > 0) == (alternative != "less")


def test_every_class_that_can_be_tested_is_there(run):
    table, counts = (table.to_pandas() for table in analyze(run))
    assert counts["class_id"].tolist() == run.ids
    assert np.flatnonzero(counts["channels"].isna()).tolist() == [EMPTY, ALONE]
    assert np.flatnonzero(counts["up"].isna() & counts["down"].isna()).tolist() == [EMPTY, ALONE]
    assert table["class_index"].drop_duplicates().tolist() == np.delete(np.arange(CLASSES), [EMPTY, ALONE]).tolist()
    assert (table["class_name"] == "class " + table["class_id"]).all()


def test_p_that_underflows_is_found(run):
    table, _ = analyze(run)
    row = table.to_pandas().query(f"class_index == {MANY}").iloc[0]
    assert (row["layer"], row["layer_channel"]) == ("conv1", CLEAR)
    assert row["log10_p"] < -320
    t, df = mpmath.mpf(row["t"]), mpmath.mpf(row["df"])
    p = mpmath.betainc(df / 2, mpmath.mpf(1) / 2, 0, df / (df + t * t), regularized=True)
    # Computed from the same t and df; logarithms of several hundred have 13 digits after the point.
    np.testing.assert_allclose(row["log10_p"], float(mpmath.log10(p)), rtol=1e-12)
    np.testing.assert_allclose(row["log10_q"], row["log10_p"] + np.log10(CHANNELS - 1), rtol=1e-12)


def test_all_channels_with_equal_ones_in_their_order(run):
    table, _ = analyze(run, channels=CHANNELS)
    rows = table.to_pandas().query("class_index == 10")
    assert len(rows) == CHANNELS - 1  # all but the one that cannot be used
    places = rows.set_index(["layer", "layer_channel"])
    assert (LAYER[INFINITE], LAYER_CHANNEL[INFINITE]) not in places.index
    one, other = (places.loc[(LAYER[channel], LAYER_CHANNEL[channel])] for channel in TWINS)
    assert one["t"] == other["t"]
    assert other["rank"] == one["rank"] + 1
    dead = rows.iloc[-1]
    assert (dead["layer"], dead["layer_channel"]) == (LAYER[DEAD], LAYER_CHANNEL[DEAD])
    assert dead[["t", "log10_p", "log10_q", "mean", "std", "effect_size"]].tolist() == [0] * 6
    assert np.isnan(dead["df"])


def test_blocks_do_not_change_the_result(run, monkeypatch):
    whole = analyze(run)
    monkeypatch.setattr("labelsim.analysis.significance._ROWS", 7)
    monkeypatch.setattr("labelsim.analysis.significance._VALUES", 30 * CLASSES)
    assert all(table.equals(other) for table, other in zip(analyze(run), whole, strict=True))


def test_tables_join_those_of_the_run_and_say_what_they_were_made_from(run):
    neighbors = open_run(run.paths.root).neighbors()
    expected = read_metadata(neighbors)
    for table in analyze(run):
        found = read_metadata(table)
        assert found.pop("significance") == analyses.DEFAULTS["significance"]
        assert found.items() <= expected.items()
        keys = ["method", "group", "class_index", "class_id", "class_name"]
        assert table.schema.field("class_id").type == neighbors.schema.field("class_id").type
        joined = table.to_pandas().merge(neighbors.to_pandas(), on=keys)
        assert set(joined["class_index"]) == set(range(CLASSES)) - {EMPTY, ALONE}


def test_class_against_class(run):
    own, other = sides(run, 30, run.labels == 31)
    found = oracle(own, other, APART)  # constant in both classes, but different
    table, counts = between(open_store(run.path("moments")), 30, 31, 15)
    compare(table.to_pandas(), *found, own, other)
    assert set(table["class_id"].to_pylist()) == {"30"}
    _, t, _, _, q = found
    up, down = (((q < 0.01) & (sign * t > 0)).sum() for sign in (1, -1))
    assert counts.select(["class_id", "channels", "up", "down"]).to_pylist() == [
        {"class_id": "30", "channels": CHANNELS - 1, "up": up, "down": down}
    ]


@pytest.mark.parametrize(("own", "other"), [(ALONE, 0), (0, ALONE), (0, EMPTY)])
def test_a_class_of_one_image_is_no_side_of_a_test(run, own, other):
    table, counts = between(open_store(run.path("moments")), own, other, 15)
    assert len(table) == 0
    assert counts.select(["channels", "up", "down"]).to_pylist() == [{"channels": None, "up": None, "down": None}]


def test_a_network_without_layers_has_empty_tables(tmp_path, caplog):
    layout = arrays(8, 3, {"gap": 0, "hidden": 2, "probability": 2})
    layout["class_name"] = Array(("class",), (3,), "str", coordinate=True)
    writer = Writer(tmp_path / "moments.zarr", layout, "")
    for name, array in layout.items():
        writer.put_whole(name, np.full(array.shape, "a" if array.dtype == "str" else 2, dtype=object))
    writer.commit({"dataset_digest": "d", "computed_by": []})
    welch_statistics(tmp_path / "moments.zarr", tmp_path / "welch.zarr")
    write_document(tmp_path / "network.json", {"weights_digest": "w"})
    config = load({"run": "none", "dataset": {"source": "none"}})
    inputs = [tmp_path / name for name in ("welch.zarr", "moments.zarr", "network.json")]
    with caplog.at_level("INFO"):
        significance(*inputs, config, "version", tmp_path / "channels.parquet", tmp_path / "classes.parquet")
    assert caplog.records[-1].name == "labelsim.stages.significance"
    assert len(parquet.read_table(tmp_path / "channels.parquet")) == 0
    assert parquet.read_table(tmp_path / "classes.parquet")["up"].to_pylist() == [None, None, None]

"""What the page looks up is what the tables hold."""

import json

import explored
import numpy as np
import pyarrow as pa
import pytest
from explored import ATTACK, CLASSES, METHODS, NASTY, TEAPOT
from planted import ALONE, EMPTY
from pyarrow import Table, parquet

from labelsim.analysis.stored import stored
from labelsim.report.explorer.pieces import MISSING, map_piece, matrix_piece, pair_pieces, quantized, tree_piece
from labelsim.report.explorer.thumbnails import chosen
from labelsim.storage.zarr_store import open_store

# The names of columns in the tables, by their names in the pieces, where those differ.
INDICES = {"class": "class_index", "neighbor": "neighbor_index"}
CHANNEL = {"channel": "layer_channel"}
PIECES = {
    "neighbors": ("stability", INDICES),
    "evidence": ("evidence", INDICES | CHANNEL | {"own": "class_value", "other": "neighbor_value"}),
    "channels": ("channels", INDICES | CHANNEL),
    "wordnet_pairs": ("wordnet_pairs", INDICES),
}
FEWER = ("evidence", "channels")  # pieces whose numbers have 4 significant digits, not 6
STABILITY = ("corrected", "stderr", "low", "high", "folds", "folds_in_top_k", "rank_min", "rank_max")


@pytest.fixture(scope="module")
def about(contents):
    """What the page knows of the run, and of all classes."""
    return json.loads(contents["run"]), json.loads(contents["classes"])


@pytest.mark.parametrize("piece", PIECES)
def test_rows_are_those_of_the_table(run, contents, about, piece):
    name, columns = PIECES[piece]
    expected = run.table(name)
    if name == "evidence":
        expected = one_way(expected[expected["group"] == "all"])
    if name == "channels":
        expected = expected[expected["rank"] <= 10]
    # Of a class the rows stay in their order.
    expected = expected.sort_values("class_index", kind="stable").reset_index(drop=True)
    found = explored.rows(contents, piece).reset_index(drop=True)
    assert len(found) == len(expected) > CLASSES
    for kind in {"method", "group", "layer"} & set(found):
        names = about[0][f"{kind}s"]
        names = [method["name"] for method in names] if kind == "method" else names
        assert [names[i] for i in found.pop(kind)] == expected[kind].tolist()
    for column in found.columns:
        same(found[column], expected[columns.get(column, column)], 4 if piece in FEWER else 6)
    if piece == "neighbors":
        assert set(STABILITY) <= set(found)


def one_way(evidence):
    """Without the pairs that are there from the other class, too, and have the smaller index second."""
    keys = list(zip(*(evidence[name] for name in ("method", "class_index", "neighbor_index")), strict=True))
    there = set(keys)
    return evidence[[own < other or (method, other, own) not in there for method, own, other in keys]]


def same(found, expected, digits):
    """Values are equal: float32 bit by bit, float64 to some significant digits."""
    if expected.dtype == np.float32:
        assert np.array_equal(found.to_numpy(np.float32), expected, equal_nan=True)
    elif expected.dtype == np.float64:
        # Half a unit of the last digit is at most this part of the value.
        np.testing.assert_allclose(found.astype(float), expected, rtol=5.001 * 10.0**-digits, atol=0)
    else:
        assert found.tolist() == expected.tolist()


def test_each_class_is_in_its_block(contents):
    for piece in PIECES:
        for block in range(2):
            of_block = json.loads(contents[f"{piece}/{block}"])["class"]
            assert of_block
            assert {index // 100 for index in of_block} == {block}


def test_classes_are_in_the_order_of_the_index(run, about):
    found, expected = about[1], run.table("classes")
    for name in ("class_id", "class_name", "used", "rejected", "top1", "top5", "notes"):
        values = [None if value != value else value for value in expected[name].tolist()]
        assert found[name] == values
    assert found["class_id"] == run.run.ids != sorted(run.run.ids)
    assert (found["used"][EMPTY], found["top1"][EMPTY]) == (0, None)
    assert found["class_name"][5] == ATTACK


def test_synonyms_and_branches_stand_at_their_classes(run, about):
    known = run.table("wordnet").set_index("class_index")
    for index in range(CLASSES):
        row = known.loc[index] if index in known.index else None
        assert about[1]["synonyms"][index] == (None if row is None else list(row["synonyms"]))
        assert about[1]["branch"][index] == (None if row is None else row["branch"])
    assert about[1]["synonyms"][5] is None
    assert "Carassius auratus" in about[1]["synonyms"][explored.GOLDFISH]


def test_stability_of_classes(run, about):
    table = run.table("class_stability")
    table = table[table["group"] == "all"].set_index(["method", "class_index"])["stable"]
    assert set(about[1]["stable"]) == set(METHODS)
    for method, values in about[1]["stable"].items():
        expected = [table.get((method, index), np.nan) for index in range(CLASSES)]
        assert values == [None if value != value else value for value in expected]
    assert about[1]["stable"]["welch"][ALONE] is None
    assert about[1]["stable"]["hidden"][ALONE] is not None


@pytest.mark.parametrize("name", ["judgement", "agreement"])
def test_small_tables_are_there_whole(run, about, name):
    assert about[0][name] == parquet.read_table(run.files[name]).to_pylist()


def test_what_the_page_knows_of_the_run(run, about):
    found = about[0]
    assert [method["name"] for method in found["methods"]] == list(METHODS)
    assert {m["name"] for m in found["methods"] if m["groups"] > 1} == {n for n, m in METHODS.items() if m.by_layer}
    assert found["groups"] == ["all", "late", "first"]
    assert found["layers"] == ["conv1", "conv2", "conv3"]
    assert (found["first"], found["name"], found["warning"]) == (TEAPOT, explored.RUN, explored.WARNING)
    assert found["tables"] == sorted(run.files)
    assert found["terms"] is None  # not all ids are wnids


def test_contributions_of_layers_are_those_of_the_table(run, contents, about):
    table = run.table("evidence_layers")
    table = table[table["group"] == "all"]
    assert len(one_way(table)) < len(table)
    table = one_way(table)
    found = explored.rows(contents, "evidence_layers")
    methods = [method["name"] for method in about[0]["methods"]]
    assert len(found) == len(table.groupby(["method", "class_index", "neighbor_index"]))
    values = {
        (methods[row["method"]], row["class"], row["neighbor"], layer): value
        for row in found.to_dict("records")
        for layer, value in zip(about[0]["layers"], row["contributions"], strict=True)
    }
    keys = zip(*(table[name] for name in ("method", "class_index", "neighbor_index", "layer")), strict=True)
    expected = dict(zip(keys, table["contribution"], strict=True))
    assert values.keys() == expected.keys()
    same(np.array([values[key] for key in expected]), np.array(list(expected.values())), 4)


def test_a_layer_without_a_contribution_has_none():
    rows = [("gap", 7, 1, "b", 0.5), ("gap", 7, 1, "a", 1 / 3), ("welch", 7, 1, "b", 0.25), ("gap", 1, 6, "b", 0.125)]
    names = ("method", "class_index", "neighbor_index", "layer", "contribution")
    layers = Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows])
    texts = {name: pa.array([], pa.string()) for name in ("method", "group")}
    indices = {name: pa.array([], pa.int32()) for name in ("class_index", "rank", "neighbor_index", "similarity")}
    neighbors = pa.table(texts | indices)
    tables = {"neighbors": neighbors, "evidence_layers": layers}
    found = dict(pair_pieces(tables, ["welch", "gap"], ["all"], ["a", "b"], 8))
    assert json.loads(found["evidence_layers/0"]) == {
        "class": [1, 7, 7],
        "neighbor": [6, 1, 1],
        "method": [1, 0, 1],
        "contributions": [[None, 0.125], [None, 0.25], [0.3333, 0.5]],
    }


def test_images_of_channels_are_those_that_have_thumbnails(run, contents, about):
    table = run.table("evidence_images")
    shown = chosen(*(parquet.read_table(run.files[name]) for name in ("examples", "evidence_images")), 4)
    expected = [
        (row.class_index, row.layer, row.layer_channel, row.rank, shown[row.class_index].index(row.sample_id))
        for row in table.itertuples()
        if row.sample_id in shown.get(row.class_index, ())
    ]
    found = explored.rows(contents, "evidence_images")
    layers = [about[0]["layers"][i] for i in found["layer"]]
    columns = (found["class"], layers, found["channel"], found["rank"], found["thumbnail"])
    assert list(zip(*columns, strict=True)) == expected
    assert 0 < len(expected) < len(table)


@pytest.mark.parametrize("method", ["welch", "hidden", "pairwise"])
def test_a_quantized_matrix_is_within_half_a_step(run, method):
    store = open_store(run.run.path("similarity"))
    (matrix,) = [matrix for matrix in stored(store) if (matrix.method, matrix.group) == (method, "all")]
    values = store[method].sel(group=0).values if "group" in store[method].dims else store[method].values
    expected = values[np.triu_indices(CLASSES, 1)].astype(np.float64)
    data, scale = matrix_piece(matrix, CLASSES)
    steps = np.frombuffer(data, np.uint8)
    assert np.array_equal(steps == MISSING, np.isnan(expected))
    known = steps != MISSING
    assert 0 < known.sum() < len(known)  # a class has no images
    step = (scale["high"] - scale["low"]) / 254
    # Half a step, and what the similarities' own float32 may round.
    found = scale["low"] + steps[known] * step
    np.testing.assert_allclose(found, expected[known], rtol=1e-6, atol=step / 2)
    assert (scale["low"], scale["high"]) == (np.nanmin(expected), np.nanmax(expected))
    for name, percentile in (("dark", 1), ("bright", 99)):
        assert scale[name] == pytest.approx(np.nanpercentile(expected, percentile), abs=1e-6)  # float32


def test_similarities_that_are_all_equal_or_missing_can_be_quantized():
    assert quantized(np.array([0.5, np.nan, 0.5]), 0.5, 0.5).tolist() == [0, MISSING, 0]


def test_map_and_tree():
    positions = Table.from_pylist(
        [
            {"method": method, "class_index": index, "x": x, "y": 1 / 3, "position": place}
            for method, index, x, place in [
                ("welch", 3, 0.25, 2),
                ("welch", 0, 2 / 3, 0),
                ("welch", 2, 0.0, 1),
                ("gap", 1, 0.5, 0),
            ]
        ]
    )
    tree = Table.from_pylist(
        [
            {"method": "gap", "step": 0, "left": 9, "right": 9, "height": 9.0},
            {"method": "welch", "step": 1, "left": 4, "right": 3, "height": 0.1234567},
            {"method": "welch", "step": 0, "left": 0, "right": 2, "height": 0.1},
        ]
    )
    found = json.loads(map_piece(positions, 4))
    assert found["welch"] == {"x": [0.666667, None, 0.0, 0.25], "y": [0.333333, None, 0.333333, 0.333333]}
    assert found["gap"]["x"] == [None, 0.5, None, None]
    assert json.loads(tree_piece(positions, tree, "welch")) == {
        "order": [0, 2, 3],
        "left": [0, 4],
        "right": [2, 3],
        "height": [0.1, 0.123457],
    }


def test_names_are_whole(about):
    for index, (class_id, name) in NASTY.items():
        assert (about[1]["class_id"][index], about[1]["class_name"][index]) == (class_id, name)

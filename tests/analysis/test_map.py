"""The map and the tree of matrices with gaps, in blocks, against SciPy."""

import matrices
import numpy as np
import pyarrow as pa
import pytest
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist, squareform

from labelsim.analysis import map as analysis
from labelsim.analysis.map import map_and_tree
from labelsim.storage.zarr_store import open_store

CLASSES = 31  # more than a chunk
IDS = [f"class {i % 3}{i}" for i in range(CLASSES)]  # not in the order of text
GONE = {"welch": [3, 20], "hidden": [20], "pairwise": [], "gap": list(range(CLASSES))}  # without similarity


@pytest.fixture
def values():
    """Matrices by method: welch in two groups, minus a distance for pairwise; all of points that move a little."""
    random = np.random.default_rng(0)
    points = random.normal(size=(CLASSES, 3))
    found = {}
    for method, gone in GONE.items():
        moved = points + 0.1 * random.normal(size=points.shape)
        cosine = 1 - squareform(pdist(moved, "cosine"))
        matrix = -squareform(pdist(moved)) if method == "pairwise" else cosine
        matrix[gone] = matrix[:, gone] = np.nan
        found[method] = matrix.astype(np.float32)
    return found


def tables(tmp_path, values, ids=IDS):
    by_layer = {method: np.array([matrix, matrix.T[::-1]]) for method, matrix in values.items() if method != "hidden"}
    matrices.write(tmp_path / "similarity.zarr", ids, {**values, **by_layer}, ("all", "late"))
    rows = [
        (method, group, i)
        for method, matrix in values.items()
        for group in ("all", "late")
        for i, row in enumerate(matrix)
        if np.isfinite(np.delete(row, i)).any()
        for _ in range(2)
    ]
    columns = zip(*rows, strict=True) if rows else ([], [], [])
    types = {"method": pa.string(), "group": pa.string(), "class_index": pa.int32()}
    neighbors = pa.table({key: pa.array(column, types[key]) for key, column in zip(types, columns, strict=True)})
    return [table.to_pylist() for table in map_and_tree(open_store(tmp_path / "similarity.zarr"), neighbors)]


def of(rows, method):
    return [row for row in rows if row["method"] == method]


def kept(method):
    return [i for i in range(CLASSES) if i not in GONE[method]]


def points(rows):
    return np.array([(row["x"], row["y"]) for row in rows])


def distance(values, method):
    some = np.ix_(kept(method), kept(method))
    return (0 if method == "pairwise" else 1) - values[method][some].astype(float)


@pytest.fixture(params=[1024, 5], ids=["whole", "blocks"])
def block(request, monkeypatch):
    """Rows at a time: all, or some that fit no chunk."""
    monkeypatch.setattr(analysis, "_ROWS", request.param)


def test_classes_with_similarities_have_a_place(block, tmp_path, values):
    found, _ = tables(tmp_path, values)
    assert {row["method"] for row in found} == {"welch", "hidden", "pairwise"}
    for method in ("welch", "hidden", "pairwise"):
        rows = of(found, method)
        assert [row["class_index"] for row in rows] == kept(method)
        assert (
            [row["class_id"] for row in rows] == [row["class_name"] for row in rows] == [IDS[i] for i in kept(method)]
        )
        places = points(rows)
        assert places.min() >= -1e-12
        assert np.ptp(places, axis=0).max() == pytest.approx(1)
        # Nearest neighbors of points in space are mostly still near in the plane.
        between = squareform(pdist(places))
        nearest = np.argsort(distance(values, method) + 9 * np.eye(len(rows)), axis=1)[:, 0]
        assert np.median(between[np.arange(len(rows)), nearest]) < 0.5 * np.median(between)


def test_maps_are_aligned_with_the_first(tmp_path, values):
    found, _ = tables(tmp_path, values)
    both = [i for i in kept("welch") if i in kept("hidden")]
    one, other = (
        points([row for row in of(found, method) if row["class_index"] in both]) for method in ("welch", "hidden")
    )
    one, other = (some - some.mean(axis=0) for some in (one, other))
    turns = np.radians(np.arange(0, 360, 5))
    overlap = [
        np.sum(one * (other * [sign, 1] @ [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]))
        for a in turns
        for sign in (1, -1)
    ]
    assert np.sum(one * other) >= max(overlap) - 1e-9


def test_positions_and_tree_are_those_of_scipy(block, tmp_path, values):
    found, merges = tables(tmp_path, values)
    for method in ("welch", "hidden", "pairwise"):
        indices = kept(method)
        between = distance(values, method)
        np.fill_diagonal(between, 0)
        pairs = squareform((between + between.T) / 2, checks=False)
        expected = hierarchy.linkage(pairs, "average", optimal_ordering=True)
        ordered = sorted(of(found, method), key=lambda row: row["position"])
        assert [row["class_index"] for row in ordered] == [indices[leaf] for leaf in hierarchy.leaves_list(expected)]
        assert [row["position"] for row in ordered] == list(range(len(indices)))
        rows = of(merges, method)
        assert [row["step"] for row in rows] == list(range(len(indices) - 1))
        clusters = {i: {i} for i in range(CLASSES)}
        for row, (left, right, height, size) in zip(rows, expected, strict=True):
            for side, cluster in (("left", left), ("right", right)):
                n = int(cluster) - len(indices)
                assert row[side] == (indices[int(cluster)] if n < 0 else CLASSES + n)
            clusters[CLASSES + row["step"]] = clusters[row["left"]] | clusters[row["right"]]
            assert row["height"] == pytest.approx(height, abs=1e-6)  # a cosine beyond 1 by rounding has distance 0
            assert row["size"] == size == len(clusters[CLASSES + row["step"]])
        assert clusters[CLASSES + len(rows) - 1] == set(indices)


def test_too_many_classes_to_cluster(block, tmp_path, values, monkeypatch, caplog):
    expected, _ = tables(tmp_path / "few", values)
    monkeypatch.setattr(analysis, "MAX_CLUSTERED", CLASSES - 1)
    with caplog.at_level("INFO"):
        found, merges = tables(tmp_path / "many", values)
    assert merges == []
    assert str(CLASSES - 1) in caplog.text
    assert {row["position"] for row in found} == {None}
    assert found == [{**row, "position": None} for row in expected]


@pytest.mark.parametrize("clustered", [CLASSES, CLASSES - 1])
def test_more_classes_than_landmarks(block, tmp_path, values, monkeypatch, clustered):
    monkeypatch.setattr(analysis, "MAX_LANDMARKS", 20)
    monkeypatch.setattr(analysis, "MAX_CLUSTERED", clustered)
    found, _ = tables(tmp_path, values)
    for method in ("welch", "hidden", "pairwise"):
        rows = of(found, method)
        assert [row["class_index"] for row in rows] == kept(method)
        between = squareform(pdist(points(rows)))
        nearest = np.argsort(distance(values, method) + 9 * np.eye(len(rows)), axis=1)[:, 0]
        assert np.median(between[np.arange(len(rows)), nearest]) < 0.5 * np.median(between)


def test_one_class_has_neither_a_place_nor_a_tree(tmp_path):
    assert tables(tmp_path, {"hidden": np.ones((1, 1))}, IDS[:1]) == [[], []]


def test_two_classes(tmp_path):
    found, merges = tables(tmp_path, {"hidden": np.array([[1, 0.25], [0.25, 1]])}, ["b", "a"])
    assert [(row["class_id"], row["x"], row["y"]) for row in found] == [("b", 1, 0.5), ("a", 0, 0.5)]
    assert sorted(row["position"] for row in found) == [0, 1]
    assert [list(row.values()) for row in merges] == [["hidden", 0, 0, 1, 0.75, 2]]


def test_identical_classes_lie_on_one_point(tmp_path):
    found, merges = tables(tmp_path, {"hidden": np.ones((4, 4))}, IDS[:4])
    assert points(found).tolist() == [[0.5, 0.5]] * 4
    assert [row["height"] for row in merges] == [0, 0, 0]

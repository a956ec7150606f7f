from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv, parquet

from labelsim.analysis.wordnet import NOUNS
from labelsim.statistics import taxonomy

MEASURES = ("wup", "path", "lin")


def edges(parents):
    """The arrays of children and of their parents."""
    pairs = [(child, parent) for child, above in enumerate(parents) for parent in above]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2).T


def measure(name, parents, chosen, rows=None):
    child, parent = edges(parents)
    of = taxonomy.ancestors(child, parent, np.array(chosen))
    rows = slice(0, len(chosen)) if rows is None else rows
    if name == "path":
        return taxonomy.path(of, rows)
    if name == "wup":
        return taxonomy.wup(of, taxonomy.depths(child, parent, len(parents)), rows)
    below = [len(descendants(parents, node)) - 1 for node in range(len(parents))]
    return taxonomy.lin(of, taxonomy.information(np.array(below), len(parents)), rows)


# Plain Python, one pair at a time.


def ways(parents, node):
    """All ways from a node up to a root, as lists of nodes."""
    return [[node, *way] for parent in parents[node] for way in ways(parents, parent)] or [[node]]


def steps(parents, node):
    """Length of the shortest way to each ancestor."""
    found = {}
    for way in ways(parents, node):
        for length, ancestor in enumerate(way):
            found[ancestor] = min(length, found.get(ancestor, length))
    return found


def descendants(parents, node):
    return {other for other in range(len(parents)) if node in steps(parents, other)}


def by_hand(name, parents, a, b):
    of_a, of_b = steps(parents, a), steps(parents, b)
    common = of_a.keys() & of_b.keys()
    if not common:
        return 0.0
    if name == "path":
        return 1 / (1 + min(of_a[node] + of_b[node] for node in common))
    if name == "wup":
        depth = [max(map(len, ways(parents, node))) for node in range(len(parents))]
        return 2 * max(depth[node] for node in common) / (depth[a] + depth[b])
    content = [1 - np.log(len(descendants(parents, node))) / np.log(len(parents)) for node in range(len(parents))]
    if a == b:
        return 1.0
    return 2 * max(content[node] for node in common) / (content[a] + content[b])


@st.composite
def taxonomies(draw):
    """Parents of each node, with several roots and several parents; numbers do not follow the depth."""
    size = draw(st.integers(2, 9))
    numbers = draw(st.permutations(range(size)))
    parents = [[] for _ in range(size)]
    for i in range(1, size):
        parents[numbers[i]] = [numbers[j] for j in draw(st.sets(st.integers(0, i - 1), max_size=3))]
    return parents


@given(taxonomies(), st.data())
def test_equals_going_through_all_ways(parents, data):
    chosen = data.draw(st.lists(st.sampled_from(range(len(parents))), unique=True, min_size=1))
    for name in MEASURES:
        expected = [[by_hand(name, parents, a, b) for b in chosen] for a in chosen]
        # Between 0 and 1, after a handful of float64 operations.
        np.testing.assert_allclose(measure(name, parents, chosen), expected, rtol=0, atol=1e-14)


@given(taxonomies(), st.integers(1, 9))
def test_blocks_of_rows_join_without_a_seam(parents, size):
    nodes = len(parents)
    for name in MEASURES:
        blocks = [measure(name, parents, range(nodes), slice(i, min(i + size, nodes))) for i in range(0, nodes, size)]
        np.testing.assert_array_equal(np.concatenate(blocks), measure(name, parents, range(nodes)))


# 0 is the root, 1 and 2 below it, 3 below 1; 4 is below both 3 and 2, and 5 below 4; 6 below 2.
DIAMOND = [[], [0], [0], [1], [3, 2], [4], [2]]


def test_wup_by_the_deepest_common_ancestor_and_the_longest_ways():
    matrix = measure("wup", DIAMOND, range(7))
    np.testing.assert_array_equal(np.diagonal(matrix), 1)
    assert matrix[4, 3] == pytest.approx(2 * 3 / (4 + 3))  # 4 has depth 4, by way of 3, not 3, by way of 2
    assert matrix[5, 6] == pytest.approx(2 * 2 / (5 + 3))  # they meet in 2
    assert matrix[3, 6] == pytest.approx(2 * 1 / (3 + 3))  # in the root


def test_path_takes_the_shortest_way():
    matrix = measure("path", DIAMOND, [5, 6, 0])
    np.testing.assert_array_equal(matrix, [[1, 1 / 4, 1 / 4], [1 / 4, 1, 1 / 3], [1 / 4, 1 / 3, 1]])


def test_nodes_below_different_roots_have_nothing_in_common():
    parents = [[], [], [0], [1]]
    for name in MEASURES:
        matrix = measure(name, parents, range(4))
        np.testing.assert_array_equal(matrix[[0, 2]][:, [1, 3]], 0)


def test_path_and_lin_of_nouns_are_those_of_other_libraries():
    table = parquet.read_table(NOUNS)
    offset, above = table["offset"].to_numpy(), table["hypernyms"].to_pylist()
    position = {number: i for i, number in enumerate(offset.tolist())}
    child, parent = edges([[position[number] for number in numbers] for numbers in above])
    expected = csv.read_csv(Path(__file__).with_name("wordnet_pairs.csv"))
    chosen = np.unique([expected["a"], expected["b"]])
    of = taxonomy.ancestors(child, parent, np.searchsorted(offset, chosen))
    content = taxonomy.information(table["hyponyms"].to_numpy(), len(offset))
    a, b = (np.searchsorted(chosen, expected[name]) for name in "ab")
    everything = slice(0, len(chosen))
    # The file has twelve digits.
    np.testing.assert_allclose(taxonomy.path(of, everything)[a, b], expected["path"], rtol=1e-11)
    np.testing.assert_allclose(taxonomy.lin(of, content, everything)[a, b], expected["lin"], rtol=1e-11)


def test_wup_of_nouns_by_hand():
    # entity, physical entity, object, whole, artifact, instrumentality, device, restraint, fastener; then nail, screw
    table = parquet.read_table(NOUNS)
    offset = table["offset"].to_numpy()
    above = dict(zip(offset.tolist(), table["hypernyms"].to_pylist(), strict=True))
    child, parent = np.array([(i, j) for i, numbers in above.items() for j in numbers]).T
    child, parent = np.searchsorted(offset, child), np.searchsorted(offset, parent)
    nail, screw, artifact = np.searchsorted(offset, [3804744, 4153751, 21939])
    depth = taxonomy.depths(child, parent, len(offset))
    assert depth[[nail, screw, artifact]].tolist() == [10, 10, 5]
    of = taxonomy.ancestors(child, parent, np.array([nail, screw, artifact]))
    expected = [[1, 9 / 10, 10 / 15], [9 / 10, 1, 10 / 15], [10 / 15, 10 / 15, 1]]
    np.testing.assert_allclose(taxonomy.wup(of, depth, slice(0, 3)), expected, rtol=1e-15)


def test_no_nodes():
    child, parent = edges(DIAMOND)
    of = taxonomy.ancestors(child, parent, np.zeros(0, dtype=np.int64))
    assert taxonomy.path(of, slice(0, 0)).shape == (0, 0)


def test_symmetric_and_at_most_one():
    random = np.random.default_rng(0)
    parents = [sorted(set(random.integers(0, i, 2).tolist())) if i else [] for i in range(200)]
    child, parent = edges(parents)
    of = taxonomy.ancestors(child, parent, np.arange(200))
    depth = taxonomy.depths(child, parent, 200)
    reached = np.zeros((200, 200), dtype=bool)
    reached[of.ancestor, of.position] = True
    content = taxonomy.information(reached.sum(axis=1) - 1, 200)
    everything = slice(0, 200)
    for matrix in (
        taxonomy.wup(of, depth, everything),
        taxonomy.path(of, everything),
        taxonomy.lin(of, content, everything),
    ):
        np.testing.assert_array_equal(matrix, matrix.T)
        np.testing.assert_array_equal(np.diagonal(matrix), 1)
        others = matrix[~np.eye(200, dtype=bool)]
        assert 0 <= others.min() <= others.max() < 1

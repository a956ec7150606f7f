from collections import Counter
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


@given(taxonomies(), st.data())
def test_common_ancestors_equal_going_through_all_ways(parents, data):
    chosen = data.draw(st.lists(st.sampled_from(range(len(parents))), unique=True, min_size=1))
    child, parent = edges(parents)
    depth = taxonomy.depths(child, parent, len(parents))
    of = taxonomy.ancestors(child, parent, np.array(chosen))
    one, other = np.indices((len(chosen), len(chosen))).reshape(2, -1)[:, ::-1]  # not sorted
    found = taxonomy.common_ancestors(of, depth, one, other)
    assert found.tolist() == [deepest_common(parents, chosen[i], chosen[j]) for i, j in zip(one, other, strict=True)]
    wup = 2 * depth[found] / (depth[of.chosen[one]] + depth[of.chosen[other]])
    matrix = taxonomy.wup(of, depth, slice(0, len(chosen)))
    np.testing.assert_array_equal(np.where(found < 0, 0, wup), matrix[one, other])


def deepest_common(parents, a, b):
    common = steps(parents, a).keys() & steps(parents, b).keys()
    return min(common, key=lambda node: (-max(map(len, ways(parents, node))), node), default=-1)


def test_common_ancestors_by_hand():
    child, parent = edges(DIAMOND)
    of = taxonomy.ancestors(child, parent, np.array([5, 6, 3]))
    depth = taxonomy.depths(child, parent, len(DIAMOND))
    pairs = np.array([(0, 1), (1, 2), (2, 0), (0, 0)])
    assert taxonomy.common_ancestors(of, depth, *pairs.T).tolist() == [2, 0, 3, 5]
    assert taxonomy.common_ancestors(of, depth, *pairs[:0].T).tolist() == []


def way_down(parents, node):
    """The way from the root that the branches follow: the longest; of several, the one of the smaller last nodes."""
    if not parents[node]:
        return [node]
    above = min(parents[node], key=lambda parent: (-max(map(len, ways(parents, parent))), parents[node].index(parent)))
    return [*way_down(parents, above), node]


def branches_by_hand(parents, chosen, groups):
    """The groups as lists of nodes, with the root of each; whole lists are searched at each step."""
    down = {node: way_down(parents, node) for node in range(len(parents))}
    found = [list(chosen)]
    while len(found) < groups:
        best, value = None, 0
        for group in found:
            for node in down:
                inside = [other for other in group if node in down[other]]
                pairs = len(inside) * (len(group) - len(inside)) if len(inside) > 1 else 0
                if pairs > value or (pairs and pairs == value and node < best[1]):
                    best, value = (group, node, inside), pairs
        if best is None:
            break
        group, _, inside = best
        found.remove(group)
        found += [inside, [other for other in group if other not in inside]]
    return {
        max(set.intersection(*(set(down[o]) for o in group)), key=lambda n: len(down[n])): group for group in found
    }, down


@st.composite
def below_one_root(draw):
    """Parents of each node, mostly few levels of many nodes, in an order that does not follow the depth."""
    size = draw(st.integers(1, 16))
    numbers = draw(st.permutations(range(size)))
    parents = [[] for _ in range(size)]
    for i in range(1, size):
        parents[numbers[i]] = [
            numbers[j] for j in draw(st.lists(st.integers(0, i - 1), min_size=1, max_size=2, unique=True))
        ]
    return parents


@given(below_one_root(), st.integers(1, 6), st.data())
def test_branches_equal_sets_of_nodes(parents, groups, data):
    chosen = data.draw(st.lists(st.sampled_from(range(len(parents))), unique=True, min_size=1))
    child, parent = edges(parents)
    depth = taxonomy.depths(child, parent, len(parents))
    found = taxonomy.branches(child, parent, depth, np.array(chosen), groups)
    by_hand, down = branches_by_hand(parents, chosen, groups)
    expected = [next(root for root, group in by_hand.items() if node in group) for node in chosen]
    assert found.root.tolist() == expected
    assert len(set(expected)) == len(by_hand) <= groups
    rest = [any(root != other and root in down[other] for other in expected) for root in expected]
    assert found.rest.tolist() == rest


# 0 is everything; 1 animals, with the dogs 3 to 7 below 2, and the birds 9 and 10 below 8; 11 tools, 12 to 14 below.
ZOO = [[], [0], [1], [2], [2], [2], [2], [2], [1], [8], [8], [0], [11], [11], [11]]
LEAVES = np.array([3, 4, 5, 6, 7, 9, 10, 12, 13, 14])


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        (1, {0: 10}),
        (2, {2: 5, 0: 5}),  # 5 x 5 pairs; animals and others are only 7 x 3
        (3, {2: 5, 8: 2, 11: 3}),  # the rest are all tools
        (9, {2: 5, 8: 2, 11: 3}),  # no other branch holds two of a group, but not all
    ],
)
def test_branches_by_hand(groups, expected):
    found = divided(LEAVES, groups)
    assert Counter(found.root.tolist()) == expected
    np.testing.assert_array_equal(found.rest, (found.root == 0) & (groups > 1))


def divided(chosen, groups):
    child, parent = edges(ZOO)
    return taxonomy.branches(child, parent, taxonomy.depths(child, parent, len(ZOO)), np.array(chosen, int), groups)


def test_what_is_left_of_a_branch_is_a_rest():
    found = divided([3, 9, 4, 10, 1, 5], 2)  # dogs; birds and an animal, which is itself above the dogs
    assert found.root.tolist() == [2, 1, 2, 1, 1, 2]
    assert found.rest.tolist() == [False, True, False, True, True, False]


@pytest.mark.parametrize("chosen", [[], [3], [3, 12]])
def test_few_nodes_are_one_group(chosen):
    found = divided(chosen, 12)
    assert found.root.tolist() == ([3] if chosen == [3] else [0] * len(chosen))
    assert not found.rest.any()


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

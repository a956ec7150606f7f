"""Similarity of nodes of a taxonomy, by depth (`wup`), steps (`path`) or information content (`lin`); its branches.

A taxonomy is an acyclic graph of nodes 0 to N - 1 whose edges lead from a child to a parent; a node may have several
parents, and there may be several roots. A node counts among its own ancestors. Nodes without a common ancestor have
similarity 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Ancestors",
    "Branches",
    "ancestors",
    "branches",
    "common_ancestors",
    "depths",
    "information",
    "lin",
    "path",
    "wup",
]

_Nodes = NDArray[np.integer]


class Ancestors(NamedTuple):
    """All ancestors of C chosen nodes, themselves included: one entry for each node and ancestor.

    Attributes
    ----------
    chosen : (C,) int
        The nodes.
    position : (E,) int
        Where in `chosen` the node of an entry is.
    ancestor : (E,) int
        The ancestor.
    steps : (E,) int
        Length of the shortest way up to it; 0 for the node itself.
    """

    chosen: _Nodes
    position: _Nodes
    ancestor: _Nodes
    steps: _Nodes


class Branches(NamedTuple):
    """Groups of C nodes, each of which is a branch of the taxonomy or the rest of one.

    Attributes
    ----------
    root : (C,) int64
        The root of the branch that a node's group is of.
    rest : (C,) bool
        Whether other groups have been taken from that branch.
    """

    root: NDArray[np.int64]
    rest: NDArray[np.bool_]


def ancestors(child: _Nodes, parent: _Nodes, chosen: _Nodes) -> Ancestors:
    """All ancestors of some nodes.

    Parameters
    ----------
    child, parent : (P,) int
        The edges.
    chosen : (C,) int
        The nodes whose ancestors are wanted.
    """
    order = np.argsort(child, kind="stable")
    child, parent = child[order], parent[order]
    nodes = 1 + max(int(values.max(initial=0)) for values in (parent, chosen))
    pairs = np.arange(len(chosen)) * nodes + chosen  # an index and an ancestor as one number
    levels = []
    while len(pairs):
        levels.append(pairs)
        index, node = np.divmod(pairs, nodes)
        above, edge = _matches(child, node)
        pairs = np.unique(index[above] * nodes + parent[edge])
    steps = np.repeat(np.arange(len(levels)), [len(level) for level in levels])
    entries, shortest = np.unique(np.concatenate([*levels, pairs]), return_index=True)  # the first of each
    return Ancestors(chosen, entries // nodes, entries % nodes, steps[shortest])


def depths(child: _Nodes, parent: _Nodes, nodes: int) -> NDArray[np.int64]:
    """Number of nodes on the longest way from a root down to each node, (nodes,); 1 for a root."""
    depth = np.ones(nodes, dtype=np.int64)
    while True:
        deeper = depth.copy()
        np.maximum.at(deeper, child, depth[parent] + 1)
        if np.array_equal(deeper, depth):
            return depth
        depth = deeper


def information(hyponyms: NDArray[np.integer], nodes: int) -> NDArray[np.float64]:
    """Intrinsic information content: 0 for a node above all others, 1 for a leaf.

    ic = 1 - log(hyponyms + 1) / log(nodes), of Seco, Veale and Hayes (2004), "An intrinsic information content metric
    for semantic similarity in WordNet", ECAI.

    Parameters
    ----------
    hyponyms : (...) int
        How many nodes are below each node, directly or not, each counted once.
    nodes : int
        All nodes of the taxonomy, at least two.
    """
    content: NDArray[np.float64] = 1 - np.log1p(hyponyms) / np.log(nodes)
    return content


def wup(of: Ancestors, depth: _Nodes, rows: slice) -> NDArray[np.float64]:
    """Similarity by depth, after Wu and Palmer (1994), "Verb semantics and lexical selection", ACL.

    wup(a, b) = 2 d(c) / (d(a) + d(b)), where d is the depth by the longest way (`depths`) and c the deepest common
    ancestor. It is at most 1, and 1 only for a node and itself. NLTK measures d(a) and d(b) by the shortest ways from c
    instead, so that its wup(a, a) may differ from 1.

    Parameters
    ----------
    of : Ancestors
        Of the C nodes to compare.
    depth : (N,) int
        Depth of every node of the taxonomy.
    rows : slice
        Which of the nodes to compare with all of them, with start and stop.

    Returns
    -------
    (R, C) float64
    """
    own = depth[of.chosen]
    return 2 * _largest_common(of, depth, rows) / (own[rows, np.newaxis] + own)


def lin(of: Ancestors, content: NDArray[np.float64], rows: slice) -> NDArray[np.float64]:
    """Similarity by information content, after Lin (1998), "An information-theoretic definition of similarity", ICML.

    lin(a, b) = 2 ic(c) / (ic(a) + ic(b)), where c is the common ancestor with the largest information content. It is 1
    for a node and itself, also for the root, whose information content is 0.

    Parameters
    ----------
    of : Ancestors
        Of the C nodes to compare.
    content : (N,) float64
        Information content of every node of the taxonomy.
    rows : slice
        Which of the nodes to compare with all of them, with start and stop.

    Returns
    -------
    (R, C) float64
    """
    own = content[of.chosen]
    both = own[rows, np.newaxis] + own
    common = 2 * _largest_common(of, content, rows)
    same = of.chosen[rows, np.newaxis] == of.chosen
    return np.where(same, 1.0, np.divide(common, both, out=np.zeros_like(both), where=both > 0))


def path(of: Ancestors, rows: slice) -> NDArray[np.float64]:
    """Similarity by steps: 1 / (1 + length of the shortest way up from one node and down to the other).

    The way leads through a common ancestor, as in Rada et al. (1989), "Development and application of a metric on
    semantic nets".

    Parameters
    ----------
    of : Ancestors
        Of the C nodes to compare.
    rows : slice
        Which of the nodes to compare with all of them, with start and stop.

    Returns
    -------
    (R, C) float64
    """
    length = np.full((rows.stop - rows.start, len(of.chosen)), np.inf)
    for _, here, there in _by_ancestor(of, of.ancestor, rows):
        some = np.ix_(of.position[here] - rows.start, of.position[there])
        length[some] = np.minimum(length[some], of.steps[here, np.newaxis] + of.steps[there])
    return 1 / (1 + length)


def common_ancestors(of: Ancestors, depth: _Nodes, one: _Nodes, other: _Nodes) -> NDArray[np.int64]:
    """The deepest common ancestor of pairs of nodes, by which `wup` compares them; of several, the first.

    Parameters
    ----------
    of : Ancestors
        Of the C nodes.
    depth : (N,) int
        Depth of every node of the taxonomy (`depths`).
    one, other : (P,) int
        The pairs, as positions in `of.chosen`.

    Returns
    -------
    (P,) int64
        -1 where there is none.
    """
    order = np.lexsort((-of.ancestor, depth[of.ancestor], of.position))  # of each node, the deepest last
    pair, entry = _matches(of.position, one)
    ancestor = of.ancestor[order][entry]
    common = np.isin(other[pair] * len(depth) + ancestor, of.position * len(depth) + of.ancestor)
    result = np.full(len(one), -1)
    result[pair[common]] = ancestor[common]  # the last of each pair
    return result


def branches(child: _Nodes, parent: _Nodes, depth: _Nodes, chosen: _Nodes, groups: int) -> Branches:
    """Divide nodes into a few groups of similar size, each of which is a branch of the taxonomy, or the rest of one.

    At first all nodes are one group. Then, one after the other, the branch that separates the most pairs of nodes is
    taken out of its group: n (m - n) pairs, for n of m nodes. Of several, it is the one whose root is the first. In the
    end, each group is of the smallest branch that holds it.

    A node with several parents belongs to the branch of the deepest one; of several, of the first.

    Parameters
    ----------
    child, parent : (P,) int
        The edges.
    depth : (N,) int
        Depth of every node of the taxonomy (`depths`).
    chosen : (C,) int
        The nodes to divide. All are below one root.
    groups : int
        The largest number of groups. There are fewer if no other branch holds two nodes of a group, but not all.
    """
    longest = depth[child] == depth[parent] + 1
    child, first = np.unique(child[longest], return_index=True)
    of = ancestors(child, parent[longest][first], chosen)
    root = of.ancestor[depth[of.ancestor] == 1]  # one for each node
    for _ in range(groups - 1):
        below, node, count, size = _inside(of, depth, root)
        separated = np.where(count > 1, count * (size - count), 0)  # a node alone is no group
        if not separated.any():
            break
        best = node[np.argmax(separated)]
        root[of.position[below & (of.ancestor == best)]] = best
    below, node, count, size = _inside(of, depth, root)
    whole = node[count == size]  # smaller branches with all nodes of a group
    for inner in whole[np.argsort(depth[whole])]:
        root[of.position[below & (of.ancestor == inner)]] = inner
    above = depth[of.ancestor] < depth[root[of.position]]
    return Branches(root, np.isin(root, of.ancestor[above]))


def _inside(of: Ancestors, depth: _Nodes, root: _Nodes) -> tuple[NDArray[np.bool_], _Nodes, _Nodes, _Nodes]:
    """Entries below the roots of groups; their ancestors, each with how many of how many nodes of a group it has."""
    below = depth[of.ancestor] > depth[root[of.position]]
    node, entry, count = np.unique(of.ancestor[below], return_index=True, return_counts=True)
    return below, node, count, np.bincount(root)[root[of.position[below][entry]]]


def _matches(values: _Nodes, wanted: _Nodes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices into `wanted` and into `values`, which is sorted, of all pairs of equal numbers; by the first."""
    first = np.searchsorted(values, wanted)
    count = np.searchsorted(values, wanted, side="right") - first
    start = np.repeat(first - np.cumsum(count) + count, count)
    return np.repeat(np.arange(len(wanted)), count), start + np.arange(len(start))


def _largest_common(of: Ancestors, value: NDArray[np.generic], rows: slice) -> NDArray[np.float64]:
    """Largest value of a common ancestor, (R, C); 0 where there is none."""
    largest = np.zeros((rows.stop - rows.start, len(of.chosen)))
    for ancestor, here, there in _by_ancestor(of, value[of.ancestor], rows):
        largest[np.ix_(of.position[here] - rows.start, of.position[there])] = value[
            ancestor
        ]  # overwrites smaller values
    return largest


def _by_ancestor(of: Ancestors, value: NDArray[np.generic], rows: slice) -> Iterator[tuple[int, _Nodes, _Nodes]]:
    """Each ancestor, its entries with a position in `rows`, and all its entries; ordered by value."""
    order = np.lexsort((of.position, of.ancestor, value))
    ends = np.flatnonzero(np.diff(of.ancestor[order], append=-1)) + 1
    for entries in np.split(order, ends[:-1]):
        first, last = np.searchsorted(of.position[entries], (rows.start, rows.stop))
        if first < last:
            yield int(of.ancestor[entries[0]]), entries[first:last], entries

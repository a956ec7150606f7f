"""What WordNet calls the classes, how it groups them, and what a class and its neighbors have in common."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pyarrow import compute

from labelsim.analysis.wordnet.hierarchy import hierarchy, lemmas
from labelsim.statistics import taxonomy

__all__ = ["BRANCHES", "wordnet"]

BRANCHES = 12  # about as many colors as can be told apart on a map

_NAMES = ("class_index", "class_id", "class_name")


def wordnet(classes: pa.Table, neighbors: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Look up the classes of a run, and its neighbors, in WordNet 3.0.

    Parameters
    ----------
    classes, neighbors : pyarrow.Table
        A run's tables of these names.

    Returns
    -------
    classes : pyarrow.Table
        One row a class whose id is that of a noun (a wnid): `class_index`, `class_id`, `class_name`; `synonyms`, all
        words of the synset; `branch`, the group of `labelsim.statistics.taxonomy.branches` that the class is in. A
        group is named after the synset at its root, or `other` and this name if it is the rest of a branch.
    pairs : pyarrow.Table
        One row a class and neighbor, by any method or group, that are both nouns: `class_index`, `class_id`,
        `neighbor_index`, `neighbor_id`; `ancestor`, the name of their deepest common ancestor; `wup`, the similarity of
        `labelsim.statistics.taxonomy.wup`.
    """
    known, synset, child, parent, hyponyms = hierarchy(classes["class_id"].to_pylist())
    depth, words = taxonomy.depths(child, parent, len(hyponyms)), lemmas()
    names = compute.list_element(words, 0)

    root, rest = taxonomy.branches(child, parent, depth, synset, BRANCHES)
    branch = names.take(root)
    branch = compute.if_else(pa.array(rest), compute.binary_join_element_wise("other", branch, " "), branch)
    table = classes.select(_NAMES).take(known).append_column("synonyms", words.take(synset))
    table = table.append_column("branch", branch)

    index, neighbor = (neighbors[name].to_numpy() for name in ("class_index", "neighbor_index"))
    both = np.isin(index, known) & np.isin(neighbor, known)
    one, other = (np.searchsorted(known, column[both]) for column in (index, neighbor))
    size = max(1, len(known))
    one, other = np.divmod(np.unique(one * size + other), size)
    common = taxonomy.common_ancestors(taxonomy.ancestors(child, parent, synset), depth, one, other)
    pairs = {
        "class_index": table["class_index"].take(one),
        "class_id": table["class_id"].take(one),
        "neighbor_index": table["class_index"].take(other),
        "neighbor_id": table["class_id"].take(other),
        "ancestor": names.take(common),
        "wup": 2 * depth[common] / (depth[synset[one]] + depth[synset[other]]),
    }
    return table, pa.table(pairs)

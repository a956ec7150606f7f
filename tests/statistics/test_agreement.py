from itertools import combinations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labelsim.statistics.agreement import overlaps, spearman, upper

# Few distinct values, so that ties are frequent.
_VALUES = st.sampled_from(np.array([-1.0, -0.5, 0.0, 0.25, 1.0, np.nan], dtype=np.float32))
_THREE = st.integers(1, 12).flatmap(lambda n: arrays(np.float32, (3, n, n), elements=_VALUES))
PAIRS = list(combinations(range(3), 2))


def by_hand(a, b, k):
    """Sort the candidates of every class in plain Python."""
    found = []
    for c in range(len(a)):
        both = [i for i in range(len(a)) if i != c and not np.isnan(a[c, i]) and not np.isnan(b[c, i])]
        one, other = ({*sorted(both, key=lambda i: (-matrix[c, i], i))[:k]} for matrix in (a, b))
        found.append(len(one & other) / len(one) if one else np.nan)
    return found


@given(_THREE, st.integers(1, 15), st.integers(1, 13))
def test_overlaps_equal_counting_by_hand_in_blocks_of_any_size(matrices, k, size):
    starts = range(0, matrices.shape[1], size)
    found = np.concatenate([overlaps(matrices[:, i : i + size], PAIRS, k, i) for i in starts], axis=1)
    np.testing.assert_array_equal(found, [by_hand(matrices[a], matrices[b], k) for a, b in PAIRS])


def test_a_class_that_one_matrix_lacks_counts_for_no_pair_with_it():
    first = np.array([[1, 0.9, 0.8, 0.7], [0.9, 1, 0.6, 0.5], [0.8, 0.6, 1, 0.4], [0.7, 0.5, 0.4, 1]])
    second = first.copy()
    second[1] = second[:, 1] = np.nan
    # Among the others, all three classes have the same nearest.
    np.testing.assert_array_equal(overlaps([first, second], [(0, 1)], 1), [[1, np.nan, 1, 1]])


@given(arrays(np.float32, (3, 40), elements=_VALUES))
def test_spearman_is_that_of_scipy(vectors):
    for found, (a, b) in zip(spearman(vectors, PAIRS), PAIRS, strict=True):
        known = ~np.isnan(vectors[a]) & ~np.isnan(vectors[b])
        x, y = vectors[a][known], vectors[b][known]
        if min(len(set(x.tolist())), len(set(y.tolist()))) < 2:
            assert np.isnan(found)
        else:
            # Sums of forty ranks in float64, in another order.
            assert found == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)


def test_values_above_the_diagonal_join_over_blocks():
    matrix = np.arange(49.0).reshape(7, 7)
    parts = [upper(matrix[start : start + 3], start) for start in range(0, 7, 3)]
    np.testing.assert_array_equal(np.concatenate(parts), matrix[np.triu_indices(7, 1)])


def test_no_classes():
    assert overlaps([np.zeros((0, 0))] * 2, [(0, 1)], 3).shape == (1, 0)
    assert np.isnan(spearman([np.zeros(0)] * 2, [(0, 1)])).all()

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from labelsim.statistics.similarity import cosine


def whole(blocks, rows):
    """The matrix in one piece."""
    ((matrix,),) = cosine(lambda: blocks, rows)
    return matrix


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 40), st.integers(1, 50))
def test_equals_scipy_in_blocks_of_any_width(seed, rows, columns, width):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, columns)) * 10.0 ** rng.integers(-6, 7)
    blocks = [vectors[:, start : start + width] for start in range(0, columns, width)]
    actual = whole(blocks, rows)
    # Sums of 40 terms of magnitude 1: a few units of 1e-16 each.
    np.testing.assert_allclose(actual, 1 - cdist(vectors, vectors, "cosine"), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(actual, actual.T)
    np.testing.assert_array_equal(np.diagonal(actual), 1.0)
    assert np.abs(actual).max() <= 1.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_without_direction_are_nan_and_leave_the_others_alone(bad):
    vectors = np.array([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0], [3.0, bad, 1.0], [1.0, 1.0, 1.0]])
    actual = whole([vectors[:, :1], vectors[:, 1:]], 4)
    assert np.isnan(actual[[1, 2]]).all()
    assert np.isnan(actual[:, [1, 2]]).all()
    np.testing.assert_allclose(actual[np.ix_([0, 3], [0, 3])], whole([vectors[[0, 3]]], 2), rtol=1e-15)


def test_no_columns_leave_no_direction():
    assert np.isnan(whole([], 3)).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 30), st.integers(1, 45))
def test_rows_in_blocks_of_any_size_are_those_of_the_whole(seed, rows, columns, size):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, columns)) * 10.0 ** rng.integers(-6, 7, size=(rows, 1))
    vectors[rng.random(rows) < 0.1] = 0.0
    vectors[rng.random((rows, columns)) < 0.01] = np.nan
    blocks = np.array_split(vectors, 3, axis=1)
    parts = [part for (part,) in cosine(lambda: blocks, rows, block=size)]
    assert [len(part) for part in parts] == [min(size, rows - start) for start in range(0, rows, size)]
    matrix = np.concatenate(parts)
    # Sums of 30 terms of magnitude 1 in another order.
    np.testing.assert_allclose(matrix, whole(blocks, rows), rtol=0, atol=1e-14)
    np.testing.assert_array_equal(matrix, matrix.T)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 30), st.integers(1, 5), st.integers(1, 13))
def test_groups_of_columns_are_compared_by_themselves(seed, rows, columns, number, size):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(rows, columns))
    vectors[rng.random((rows, columns)) < 0.02] = np.nan
    groups = rng.random((number, columns)) < rng.random((number, 1))  # overlapping, and some empty
    blocks = np.array_split(vectors, 3, axis=1)
    matrices = np.concatenate(list(cosine(lambda: blocks, rows, groups, size)), axis=1)
    assert matrices.shape == (number, rows, rows)
    for matrix, chosen in zip(matrices, groups, strict=True):
        # Sums of 30 terms of magnitude 1 in another order.
        np.testing.assert_allclose(matrix, whole([vectors[:, chosen]], rows), rtol=0, atol=1e-14)


def test_no_vectors():
    assert list(cosine(lambda: [], 0)) == []

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labelsim.statistics.neighbors import top_k


def by_hand(similarity, k):
    """Sort every row's (similarity, index) pairs in plain Python."""
    rows = []
    for c, row in enumerate(similarity):
        others = [(-value, i) for i, value in enumerate(row) if i != c and not np.isnan(value)]
        rows += [(c, rank, i, -value) for rank, (value, i) in enumerate(sorted(others)[:k], start=1)]
    return rows


# Few distinct values, so that ties are frequent.
_VALUES = st.sampled_from(np.array([-1.0, -0.5, 0.0, 0.25, 1.0, np.nan], dtype=np.float32))


@given(st.integers(1, 12).flatmap(lambda n: arrays(np.float32, (n, n), elements=_VALUES)), st.integers(1, 15))
def test_equals_sorting_by_hand(similarity, k):
    found = top_k(similarity, k)
    columns = (found.class_index, found.rank, found.neighbor_index, found.similarity)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == by_hand(similarity, k)


def test_blocks_of_rows_join_without_a_seam():
    similarity = np.random.default_rng(0).random((2100, 2100), dtype=np.float32)
    found = top_k(similarity, 1)
    np.fill_diagonal(similarity, -1)
    np.testing.assert_array_equal(found.neighbor_index, similarity.argmax(axis=1))
    np.testing.assert_array_equal(found.class_index, np.arange(2100))


def test_the_input_is_left_alone():
    similarity = np.eye(3, dtype=np.float32)
    top_k(similarity, 2)
    np.testing.assert_array_equal(similarity, np.eye(3))


def test_no_classes():
    assert len(top_k(np.zeros((0, 0), dtype=np.float32), 3).rank) == 0


@given(
    st.integers(1, 12).flatmap(lambda n: arrays(np.float32, (n, n), elements=_VALUES)),
    st.integers(1, 15),
    st.integers(1, 13),
)
def test_rows_in_blocks_of_any_size_give_what_the_whole_gives(similarity, k, size):
    parts = [top_k(similarity[start : start + size], k, start) for start in range(0, len(similarity), size)]
    for found, expected in zip(zip(*parts, strict=True), top_k(similarity, k), strict=True):
        np.testing.assert_array_equal(np.concatenate(found), expected)
        assert found[0].dtype == expected.dtype

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from labelsim.statistics.largest import largest

# Few different values, so that ties are the rule.
VALUES = arrays(
    np.float64, array_shapes(min_dims=2, max_dims=2, min_side=0), elements=st.sampled_from([-np.inf, -1, 0, 0.5, 2])
)


@given(VALUES, st.integers(0, 8))
def test_the_largest_come_first_and_of_equal_ones_the_earlier(values, k):
    expected = [sorted(range(len(row)), key=lambda i: (-row[i], i))[:k] for row in values.tolist()]
    found = largest(values, k)
    assert found.shape == (len(values), min(k, values.shape[1]))
    assert found.tolist() == expected


@pytest.mark.parametrize("k", [1, 100, 5000])
def test_long_rows(k):
    values = np.random.default_rng(0).normal(size=(3, 5000)).round(2)
    assert largest(values, k).tolist() == np.argsort(-values, axis=1, kind="stable")[:, :k].tolist()

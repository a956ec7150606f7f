import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from labelsim.statistics.largest import Largest, largest

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


GROUPS = 4
PAIRS = st.tuples(st.sampled_from([-np.inf, np.nan, -1.0, 0.0, 0.5, 2.0, np.inf]), st.integers(0, GROUPS - 1))


@given(st.lists(PAIRS), st.integers(1, 4), st.integers(1, 9))
def test_the_largest_of_groups_do_not_depend_on_the_parts(pairs, k, part):
    values, groups = np.array(pairs).reshape(-1, 2).T
    labels = np.arange(len(pairs)).astype(object)
    found = Largest(GROUPS, k, np.float32)
    for start in range(0, len(pairs), part):
        inside = slice(start, start + part)
        found.add(values[inside], groups[inside].astype(int), labels[inside])
    for group in range(GROUPS):
        own = [i for i, (value, of) in enumerate(pairs) if of == group and value > -np.inf]  # NaN is not
        expected = sorted(own, key=lambda i: (-values[i], i))[:k]
        assert found.labels[group].tolist() == expected + [None] * (k - len(expected))
        assert found.values[group].tolist() == [values[i] for i in expected] + [-np.inf] * (k - len(expected))

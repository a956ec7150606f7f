import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial import distance
from scipy.stats import zscore

from labelsim.statistics.moments import Moments
from labelsim.statistics.nearest import contributions, cosines, descending, largest_deviation, standardized

RANDOM = np.random.default_rng(0)


def moments(samples):
    """Of all samples together."""
    return Moments(np.int64(len(samples)), samples.mean(axis=0), ((samples - samples.mean(axis=0)) ** 2).sum(axis=0))


def test_standardized_is_scipys_z_score():
    samples = RANDOM.gamma(2, 1, (50, 7))
    np.testing.assert_allclose(standardized(samples, moments(samples)), zscore(samples, ddof=1), rtol=1e-12)


def test_a_constant_channel_is_0_whatever_a_new_sample_has_there():
    samples = np.array([[1.0, 2.0], [1.0, 4.0]])
    found = standardized(np.array([[9.0, 3.0]]), moments(samples))
    np.testing.assert_array_equal(found, 0.0)


def test_one_sample_has_no_deviation():
    np.testing.assert_array_equal(standardized(np.array([[5.0]]), moments(np.array([[1.0]]))), 0.0)


@given(arrays(np.float64, st.integers(2, 30), elements=st.floats(-1e3, 1e3)))
def test_no_sample_deviates_more_than_the_largest_deviation(samples):
    if np.ptp(samples) > 1e-3:
        # Rounding of 30 numbers.
        assert np.abs(zscore(samples, ddof=1)).max() <= largest_deviation(len(samples)) * (1 + 1e-9)


@pytest.mark.parametrize("n", [2, 3, 4000])
def test_one_sample_against_equal_ones_has_the_largest_deviation(n):
    samples = np.zeros(n)
    samples[0] = 1
    assert zscore(samples, ddof=1)[0] == pytest.approx(largest_deviation(n), rel=1e-12)


def test_cosines_are_scipys():
    a, b = RANDOM.normal(size=(4, 25)), RANDOM.normal(size=(9, 25))
    blocks = [(a[:, :10], b[:, :10]), (a[:, 10:], b[:, 10:])]
    np.testing.assert_allclose(cosines(blocks), 1 - distance.cdist(a, b, "cosine"), rtol=0, atol=1e-12)


def test_vectors_without_a_direction_have_no_cosine():
    a = np.array([[1.0, 2.0], [0.0, 0.0]])
    b = np.array([[2.0, 4.0], [0.0, 0.0], [np.nan, 1.0]])
    np.testing.assert_allclose(cosines([(a, b)]), [[1, np.nan, np.nan], [np.nan] * 3])


def test_cosines_of_no_vectors():
    assert cosines([(np.empty((0, 3)), np.ones((2, 3)))]).shape == (0, 2)


def test_contributions_add_up_to_the_cosine():
    a, b = RANDOM.normal(size=(2, 1000))
    found = contributions(a, b)
    assert found.sum() == pytest.approx(1 - distance.cosine(a, b), abs=1e-12)
    assert (np.sign(found) == np.sign(a * b)).all()


@given(arrays(np.float64, st.integers(0, 20), elements=st.sampled_from([np.nan, -1.0, 0.0, 0.5])), st.integers(1, 25))
def test_descending_is_a_sorted_list(values, k):
    expected = sorted((i for i in range(len(values)) if not np.isnan(values[i])), key=lambda i: (-values[i], i))
    assert descending(values, k).tolist() == expected[:k]

import numpy as np
import pytest
import scipy.stats

from labelsim.statistics.bootstrap import mean_interval


def test_differences_give_the_paired_bootstrap():
    random = np.random.default_rng(0)
    a = random.gamma(2, size=300)
    b = a + random.normal(0.1, 0.5, 300)
    expected = scipy.stats.bootstrap(
        (a, b),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        paired=True,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    stderr = np.std(a - b) / np.sqrt(300)
    # Ends from 2,000 resamples have an error of some five hundredths of the standard error.
    np.testing.assert_allclose(mean_interval(a - b), expected, atol=0.2 * stderr)


def test_covers_the_mean_of_a_normal_distribution():
    random = np.random.default_rng(2)
    intervals = [mean_interval(random.normal(3, 1, 100)) for _ in range(200)]
    covered = sum(low <= 3 <= high for low, high in intervals)
    # Of 200 intervals at 95 %, 190 with a standard deviation of 3.1; the percentile method is a little too narrow.
    assert 175 <= covered <= 199


def test_what_is_not_known_is_left_out_and_the_interval_is_the_same_again():
    values = np.random.default_rng(3).random(50)
    assert mean_interval(np.append(values, np.nan)) == mean_interval(values)


@pytest.mark.parametrize("values", [[], [0.5], [np.nan, 0.5]])
def test_one_value_has_no_interval(values):
    assert np.isnan(mean_interval(np.array(values, dtype=np.float64))).all()


def test_equal_values_have_an_interval_of_no_length():
    assert mean_interval(np.full(20, 0.25)) == (0.25, 0.25)

import numpy as np
import pytest
from scipy import stats

from labelsim.statistics.group_moments import of_groups
from labelsim.statistics.welch import usable_channels, welch

# Both sides compute in float64 from the same numbers; what remains is the rounding of some thousand additions.
RTOL = 1e-9


def oracle(samples, classes, n_classes):
    """Welch's test of each class against the rest, by SciPy."""
    with np.errstate(all="ignore"):
        results = [
            stats.ttest_ind(samples[classes == index], samples[classes != index], equal_var=False)
            for index in range(n_classes)
        ]
    return np.array([r.statistic for r in results]), np.array([r.df for r in results])


def compare(samples, classes, n_classes):
    t, df = welch(of_groups(samples, classes, n_classes))
    expected_t, expected_df = oracle(samples.astype(np.float64), classes, n_classes)
    np.testing.assert_allclose(t, expected_t, rtol=RTOL, atol=RTOL)
    np.testing.assert_allclose(df, expected_df, rtol=RTOL)
    return t


@pytest.mark.parametrize("seed", range(5))
def test_random_data(seed):
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.integers(-6, 7, size=30)
    samples = (rng.gamma(0.5, size=(400, 30)) * scale).astype(np.float32)
    compare(samples, rng.integers(0, 7, 400), 7)


def test_small_and_large_values_in_one_channel():
    rng = np.random.default_rng(0)
    samples = np.where(rng.random((300, 20)) < 0.5, 1e-6, 1e6) * rng.normal(1, 0.1, (300, 20))
    compare(samples, rng.integers(0, 4, 300), 4)


def test_one_class_holds_nearly_all_samples():
    rng = np.random.default_rng(1)
    samples = rng.normal(size=(20_000, 6)) + 1e3
    classes = np.zeros(20_000, dtype=int)
    classes[:2], classes[2:5] = 1, 2
    compare(samples, classes, 3)


def test_classes_of_two_images():
    rng = np.random.default_rng(2)
    compare(rng.normal(size=(10, 8)), np.repeat(np.arange(5), 2), 5)


@pytest.mark.filterwarnings("ignore:One or more sample arguments is too small")
def test_classes_of_none_and_one_image_have_no_t_and_the_others_do():
    rng = np.random.default_rng(3)
    samples = rng.normal(size=(21, 8))
    classes = np.repeat([0, 1, 3], [10, 10, 1])
    t, _ = welch(of_groups(samples, classes, 4))
    assert np.isnan(t[2:]).all()
    expected, _ = oracle(samples, classes, 2)
    np.testing.assert_allclose(t[:2], expected, rtol=RTOL)
    assert usable_channels(t).all()


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_a_channel_that_is_constant_over_all_samples_has_t_0(value):
    rng = np.random.default_rng(4)
    samples = rng.normal(size=(30, 3))
    samples[:, 1] = value
    t, df = welch(of_groups(samples, rng.integers(0, 3, 30), 3))
    np.testing.assert_array_equal(t[:, 1], 0.0)
    assert np.isnan(df[:, 1]).all()
    assert usable_channels(t).tolist() == [True, True, True]


@pytest.mark.filterwarnings("ignore:Precision loss occurred")  # SciPy's, of the constant side
def test_a_channel_constant_within_one_class_only_is_as_scipy_has_it():
    rng = np.random.default_rng(5)
    samples = rng.normal(size=(40, 3))
    classes = np.repeat(np.arange(4), 10)
    samples[classes == 2, 0] = 0.25
    compare(samples, classes, 4)


def test_a_channel_constant_within_a_class_and_its_rest_is_left_out():
    rng = np.random.default_rng(6)
    samples = rng.normal(size=(20, 3))
    classes = np.repeat([0, 1], 10)
    samples[:, 2] = classes
    t, _ = welch(of_groups(samples, classes, 2))
    assert np.isinf(t[:, 2]).all()
    assert usable_channels(t).tolist() == [True, True, False]


def test_a_single_class_has_nothing_to_be_tested_against():
    t, _ = welch(of_groups(np.ones((5, 2)), np.zeros(5, dtype=int), 1))
    assert np.isnan(t).all()

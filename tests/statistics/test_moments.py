import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labelsim.statistics.group_moments import of_groups
from labelsim.statistics.moments import Moments, empty, merge, rest, total, total_mean

# Sums of a few hundred float64 in another order differ by some 1e-14 of the largest term; squares by as much.
RTOL = 1e-10


def plain(samples, groups, n_groups):
    """Moments as NumPy computes them from whole arrays."""
    members = [samples[groups == group].astype(np.float64) for group in range(n_groups)]
    return Moments(
        np.array([len(member) for member in members]),
        np.array([member.mean(axis=0) if len(member) else np.zeros(samples.shape[1]) for member in members]),
        np.array([((member - member.mean(axis=0)) ** 2).sum(axis=0) if len(member) else np.zeros(samples.shape[1])
                  for member in members]),
    )  # fmt: skip


def assert_close(actual, expected, scale=1.0):
    np.testing.assert_array_equal(actual.count, expected.count)
    np.testing.assert_allclose(actual.mean, expected.mean, rtol=RTOL, atol=RTOL * scale)
    np.testing.assert_allclose(actual.m2, expected.m2, rtol=RTOL, atol=RTOL * scale**2)


def samples_and_groups(n_groups):
    values = st.floats(-1e6, 1e6, width=32)
    return st.integers(0, 40).flatmap(
        lambda n: st.tuples(
            arrays(np.float32, (n, 3), elements=values),
            arrays(np.int64, n, elements=st.integers(0, n_groups - 1)),
        )
    )


@given(samples_and_groups(4))
def test_of_groups_equals_numpy(data):
    samples, groups = data
    assert_close(of_groups(samples, groups, 4), plain(samples, groups, 4), scale=1e6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("layout", ["rows", "columns", "every other row"])
def test_samples_of_many_channels_in_any_layout(dtype, layout):
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(50, 2500)).astype(dtype)
    samples = {"rows": samples, "columns": np.asfortranarray(samples), "every other row": samples[::2]}[layout]
    groups = rng.integers(0, 6, len(samples))
    assert_close(of_groups(samples, groups, 6), plain(samples, groups, 6))


@pytest.mark.parametrize("groups", [[0, 3], [-1, 0], [0], [0, 0, 0]])
def test_groups_that_do_not_fit_are_refused(groups):
    with pytest.raises(ValueError, match=r"\b2\b"):
        of_groups(np.ones((2, 4)), groups, 3)


@settings(max_examples=200)
@given(samples_and_groups(3), st.randoms(use_true_random=False))
def test_merging_in_any_order_and_grouping_gives_the_moments_of_all(data, random):
    samples, groups = data
    rows = list(range(len(samples)))
    random.shuffle(rows)
    cuts = sorted(random.choices(range(len(rows) + 1), k=random.randint(0, 6)))
    parts = [rows[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    moments = [of_groups(samples[part], groups[part], 3) for part in parts]
    while len(moments) > 1:
        left, right = sorted(random.sample(range(len(moments)), 2))
        second = moments.pop(right)
        moments[left] = merge(second, moments[left]) if random.random() < 0.5 else merge(moments[left], second)
    assert_close(moments[0], plain(samples, groups, 3), scale=1e6)


def test_merging_with_nothing_changes_nothing():
    something = of_groups(np.array([[1.0, 5.0], [3.0, 5.0]]), [0, 0], 2)
    for merged in (merge(something, empty((2,), 2)), merge(empty((2,), 2), something)):
        for actual, expected in zip(merged, something, strict=True):
            np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("value", [0.1, 1e-6, 1e6, 1 / 3])
def test_a_constant_stays_exact_however_it_is_cut(value):
    samples = np.full((1000, 1), value)
    parts = [of_groups(part, np.zeros(len(part), dtype=int), 1) for part in np.array_split(samples, 7)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merge(merged, part)
    assert merged.mean[0, 0] == value
    assert merged.m2[0, 0] == 0


def test_total_over_folds():
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(100, 5))
    folds, classes = rng.integers(0, 4, 100), rng.integers(0, 3, 100)
    by_fold = of_groups(samples, folds * 3 + classes, 12)
    by_fold = Moments(*(values.reshape(4, 3, *values.shape[1:]) for values in by_fold))
    assert_close(total(by_fold), plain(samples, classes, 3))


def test_mean_over_folds():
    random = np.random.default_rng(2)
    count = np.array([[2, 0, 1], [3, 0, 0]])
    samples = random.normal(0, 1, (6, 4))
    mean = np.full((2, 3, 4), np.nan)  # as the store has it without samples
    mean[0, 0], mean[1, 0], mean[0, 2] = samples[:2].mean(axis=0), samples[2:5].mean(axis=0), samples[5]
    # Sums of a few numbers of about 1 in another order.
    np.testing.assert_allclose(
        total_mean(count, mean), [samples[:5].mean(axis=0), np.full(4, np.nan), samples[5]], rtol=0, atol=1e-14
    )


def test_rest_of_each_class():
    rng = np.random.default_rng(1)
    samples = rng.normal(size=(60, 4))
    classes = rng.integers(0, 5, 60)
    classes[classes == 3] = 2  # a class without samples
    actual = rest(of_groups(samples, classes, 5))
    for index in range(5):
        expected = plain(samples[classes != index], np.zeros((classes != index).sum(), dtype=int), 1)
        assert_close(actual.at(slice(index, index + 1)), expected)


def test_rest_does_not_cancel_when_one_class_holds_nearly_all_samples():
    rng = np.random.default_rng(2)
    samples = np.concatenate([1e6 + rng.normal(size=(100_000, 1)), 1e-6 * rng.normal(size=(5, 1))])
    classes = np.repeat([0, 1], [100_000, 5])
    actual = rest(of_groups(samples, classes, 2))
    np.testing.assert_allclose(actual.m2[0], ((samples[-5:] - samples[-5:].mean()) ** 2).sum(), rtol=RTOL)


def test_variance_needs_two_samples():
    moments = of_groups(np.array([[1.0], [2.0], [4.0]]), [0, 1, 1], 3)
    np.testing.assert_array_equal(moments.variance(), [[np.nan], [2.0], [np.nan]])

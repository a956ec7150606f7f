import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labelsim.statistics.judgement import judge

# Few distinct values, so that ties are frequent.
_VALUES = st.sampled_from(np.array([-1.0, -0.5, 0.0, 0.25, 1.0, np.nan], dtype=np.float32))
_FOUR = st.integers(1, 10).flatmap(lambda n: arrays(np.float32, (4, n, n), elements=_VALUES))


def mean(values):
    return sum(values) / len(values) if values else np.nan


def by_hand(method, baseline, measure, other, k):
    """mean, baseline, random and best of each class, sorted in plain Python."""
    rows = []
    for c in range(len(method)):
        known = [
            i
            for i in range(len(method))
            if i != c and not np.isnan([m[c, i] for m in (method, baseline, measure, other)]).any()
        ]
        nearest = [sorted(known, key=lambda i: (-matrix[c, i], i))[:k] for matrix in (method, baseline, measure)]
        means = [mean([float(measure[c, i]) for i in some]) for some in (*nearest, known)]
        rows.append([means[0], means[1], means[3], means[2]])
    return np.array(rows).T


@given(_FOUR, st.integers(1, 12), st.integers(1, 11))
def test_equals_sorting_by_hand_in_blocks_of_any_size(matrices, k, size):
    method, baseline, *measures = matrices
    blocks = [
        judge(matrices[:2, i : i + size], matrices[2:, i : i + size], k, i, baseline=1)
        for i in range(0, len(method), size)
    ]
    found = [np.concatenate(parts, axis=2) for parts in zip(*blocks, strict=True)]
    for m, measure in enumerate(measures):
        for p, similarity in enumerate((method, baseline)):
            expected = by_hand(similarity, baseline, measure, measures[1 - m], k)
            # Sums of few small numbers in float64, in another order.
            np.testing.assert_allclose([values[p, m] for values in found], expected, rtol=0, atol=1e-14)


def test_the_reference_itself_is_the_best_and_without_a_baseline_there_is_none():
    measure = np.random.default_rng(0).random((50, 50))
    measure[7] = measure[:, 7] = np.nan  # a class that the reference lacks
    found = judge([measure, -measure], [measure], 9)
    np.testing.assert_array_equal(found.mean[0], found.best[0])
    assert np.isnan(found.baseline).all()
    known = np.arange(50) != 7
    assert np.isnan(found.mean[:, :, ~known]).all()
    assert (found.mean[1, 0, known] < found.random[1, 0, known]).all()
    assert (found.random[0, 0, known] < found.best[0, 0, known]).all()


def test_random_is_the_mean_of_many_random_neighbors():
    random = np.random.default_rng(0)
    measure = random.random((40, 40))
    (expected,) = judge([measure], [measure], 5).random[0]
    drawn = [judge([random.random((40, 40))], [measure], 5).mean[0, 0] for _ in range(400)]
    # 400 means of five of 39 uniform values: a standard error of 0.29 / sqrt(2000) = 0.0065, five of them.
    np.testing.assert_allclose(np.mean(drawn, axis=0), expected, atol=0.033)


def test_what_the_baseline_lacks_is_left_out_of_both():
    # Class 0 and its most similar, 1; the baseline lacks 1.
    method = np.array([[1, 0.9, 0.5, 0.1], [0.9, 1, 0, 0], [0.5, 0, 1, 0], [0.1, 0, 0, 1]])
    baseline = method.copy()
    baseline[1] = baseline[:, 1] = np.nan
    measure = np.array([[9, 4, 2, 1], [4, 9, 0, 0], [2, 0, 9, 0], [1, 0, 0, 9.0]])
    found = judge([method], [measure], 1, baseline=0)
    assert found.mean[0, 0, 0] == 4
    found = judge([method, baseline], [measure], 1, baseline=1)
    assert found.mean[0, 0, 0] == found.baseline[0, 0, 0] == found.best[0, 0, 0] == 2
    assert found.random[0, 0, 0] == pytest.approx(1.5)

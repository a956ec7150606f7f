import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from labelsim.statistics.moments import Moments
from labelsim.statistics.significance import ALTERNATIVES, benjamini_hochberg, effect_size, log_p

LOGARITHMS = arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e4, 0))


def exact(t, df):
    """Logarithm of the upper tail of Student's distribution, with thirty digits."""
    with mpmath.workdps(30):
        t, df = mpmath.mpf(t), mpmath.mpf(df)
        return float(mpmath.log(mpmath.betainc(df / 2, mpmath.mpf(1) / 2, 0, df / (df + t * t), regularized=True) / 2))


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_p_is_scipys(alternative):
    random = np.random.default_rng(0)
    a, b = random.normal(0.3, 1, (12, 200)), random.normal(0, 3, (500, 200))
    found = stats.ttest_ind(a, b, equal_var=False, alternative=alternative)
    # The logarithm of SciPy's p, which does not underflow here.
    np.testing.assert_allclose(
        log_p(found.statistic, found.df, alternative), np.log(found.pvalue), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("df", [1, 2.5, 49, 1300, 5000])
@pytest.mark.parametrize("t", [3.0, 37.3, 38.0, 60.0, 300.0, 1e5, 1e200])
def test_p_where_it_underflows(t, df):
    found = log_p(np.array([t, -t, t, -t]), np.full(4, df), "greater")
    # Rounding of the logarithm of the beta function, which grows with df, times eps.
    np.testing.assert_allclose(found[[0, 2]], exact(t, df), rtol=1e-13, atol=1e-9)
    np.testing.assert_allclose(found[[1, 3]], np.log1p(-np.exp(exact(t, df))), rtol=1e-9, atol=1e-15)
    two_sided = log_p(np.array([t, -t]), np.full(2, df))
    np.testing.assert_allclose(two_sided, exact(t, df) + np.log(2), rtol=1e-13, atol=1e-9)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_a_constant_channel_is_no_evidence(alternative):
    assert log_p(np.zeros(1), np.full(1, np.nan), alternative).tolist() == [0]


@pytest.mark.parametrize("tests", [1, 2, 100])
def test_q_is_scipys(tests):
    random = np.random.default_rng(tests)
    p = random.random((5, tests)) ** 4
    p[:, tests // 2 :] = p[:, [tests // 2]]  # ties
    expected = stats.false_discovery_control(p, axis=1)
    np.testing.assert_allclose(benjamini_hochberg(np.log(p)), np.log(expected), rtol=1e-12, atol=1e-14)


@given(LOGARITHMS)
def test_q_follows_its_definition_where_p_underflows(log_p):
    ranked = np.sort(log_p)
    terms = [value + np.log(len(ranked)) - np.log(j) for j, value in enumerate(ranked, start=1)]
    expected = {value: min(0, *terms[i:]) for i, value in reversed(list(enumerate(ranked)))}
    found = benjamini_hochberg(log_p)
    np.testing.assert_allclose(found, [expected[value] for value in log_p], rtol=1e-12, atol=1e-12)
    assert (found >= log_p - 1e-12 * np.abs(log_p)).all()
    assert (found <= 0).all()


def test_effect_size_is_numpys():
    random = np.random.default_rng(1)
    samples = random.gamma(2, size=(3, 9, 4))
    samples[:, :, 3] = 5  # constant, and the same on both sides
    a, b = (
        Moments(np.full(3, n), part.mean(axis=1), ((part - part.mean(axis=1, keepdims=True)) ** 2).sum(axis=1))
        for n, part in ((4, samples[:, :4]), (5, samples[:, 4:]))
    )
    own, other = samples[:, :4, :3], samples[:, 4:, :3]
    pooled = np.sqrt((own.var(axis=1, ddof=1) + other.var(axis=1, ddof=1)) / 2)
    found = effect_size(a, b)
    np.testing.assert_allclose(found[:, :3], (own.mean(axis=1) - other.mean(axis=1)) / pooled, rtol=1e-12)
    assert found[:, 3].tolist() == [0, 0, 0]
    alone = Moments(np.array([1]), np.ones((1, 2)), np.zeros((1, 2)))
    assert np.isnan(effect_size(alone, Moments(*(part[:1, :2] if part.ndim == 2 else part[:1] for part in b)))).all()

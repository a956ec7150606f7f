import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.distance import cosine

from labelsim.statistics.evidence import contributions

LAYER = np.repeat([0, 1, 2], [3, 1, 4])
# Ties and zeros are common, and no square underflows.
VECTORS = arrays(np.float64, (5, 8), elements=st.integers(-6, 6).map(float))


def blocks(vectors, width):
    return (vectors[:, start : start + width] for start in range(0, vectors.shape[1], width))


@pytest.mark.parametrize("values", [1, 2**20], ids=["a pair at a time", "all pairs at once"])
@given(
    vectors=VECTORS,
    pairs=arrays(np.int32, (6, 2), elements=st.integers(0, 4)),
    group=arrays(np.int32, 6, elements=st.integers(0, 1)),
    groups=arrays(bool, (2, 8)),
    width=st.integers(1, 8),
    k=st.integers(1, 9),
)
def test_contributions_add_up_and_the_largest_are_found(values, vectors, pairs, group, groups, width, k):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("labelsim.statistics.evidence._VALUES", values)
        found = contributions(blocks(vectors, width), pairs, group, groups, LAYER, k)
    for i, (first, second) in enumerate(vectors[pairs]):
        chosen = np.flatnonzero(groups[group[i]])
        a, b = first[chosen], second[chosen]
        if not a.any() or not b.any():
            assert np.isnan(found.similarity[i])
            continue
        expected = a * b / np.sqrt((a @ a) * (b @ b))
        # Sums of eight small integers are exact; what remains is the rounding of norms and quotients.
        np.testing.assert_allclose(found.similarity[i], 1 - cosine(a, b), atol=1e-14)
        by_layer = [expected[LAYER[chosen] == layer].sum() for layer in range(3)]
        np.testing.assert_allclose(found.by_layer[i], by_layer, atol=1e-14)
        # Products of integers are exact, so ties are ties.
        best = sorted(range(len(chosen)), key=lambda j: (-a[j] * b[j], j))[:k]
        size = len(best)
        assert found.channel[i].tolist() == [*chosen[best], *[-1] * (k - size)]
        np.testing.assert_allclose(found.contribution[i, :size], expected[best], atol=1e-15)
        assert found.first[i, :size].tolist() == a[best].tolist()
        assert found.second[i, :size].tolist() == b[best].tolist()
        assert np.isnan(found.contribution[i, size:]).all()


def test_many_channels_in_blocks():
    random = np.random.default_rng(0)
    vectors = random.normal(size=(40, 3000)).astype(np.float32)
    layer = np.repeat(np.arange(30), 100)
    pairs = random.integers(0, 40, (100, 2))
    every = np.ones((1, 3000), bool)
    found = contributions(blocks(vectors, 1024), pairs, np.zeros(100, int), every, layer, 3000)
    a, b = vectors[pairs[:, 0]].astype(np.float64), vectors[pairs[:, 1]].astype(np.float64)
    similarity = np.einsum("ij,ij->i", a, b) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    # Thousands of float64 numbers of a size of at most 1, summed in another order.
    for total in (found.similarity, found.by_layer.sum(axis=1), found.contribution.sum(axis=1)):
        np.testing.assert_allclose(total, similarity, atol=1e-12)
    assert (np.diff(found.contribution, axis=1) <= 0).all()
    assert (np.sort(found.channel, axis=1) == np.arange(3000)).all()


def test_no_pairs_and_no_channels():
    nothing = np.empty((0, 2), int)
    found = contributions([], nothing, nothing[:, 0], np.ones((1, 0), bool), np.empty(0, int), 4)
    assert found.channel.shape == (0, 4)
    assert found.by_layer.shape == (0, 0)

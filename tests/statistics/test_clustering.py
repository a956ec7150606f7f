import matrices
import numpy as np
import pytest
from scipy.cluster import hierarchy
from scipy.spatial.distance import pdist, squareform

from labelsim.statistics.clustering import average_linkage, compared, distances, leaves


def cosines(classes: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(classes, 3))
    return 1 - squareform(pdist(vectors, "cosine"))


@pytest.mark.parametrize("classes", [2, 3, 40, 1001])
def test_the_tree_is_that_of_scipy(classes):
    similarity = cosines(classes)
    tree = average_linkage(distances(similarity))
    pairs = squareform(1 - similarity, checks=False)
    expected = hierarchy.linkage(pairs, "average", optimal_ordering=classes <= 1000)
    np.testing.assert_allclose(tree, expected, atol=1e-12)  # rounding
    np.testing.assert_array_equal(leaves(tree), hierarchy.leaves_list(expected))


def test_heights_are_mean_distances_between_the_two_clusters():
    similarity = cosines(12)
    clusters = [[i] for i in range(12)]
    for left, right, height, size in average_linkage(distances(similarity)):
        one, other = clusters[int(left)], clusters[int(right)]
        assert height == pytest.approx(1 - similarity[np.ix_(one, other)].mean(), abs=1e-12)
        clusters.append(one + other)
        assert size == len(clusters[-1])


def test_minus_a_distance_is_a_distance():
    points = np.random.default_rng(1).normal(size=(9, 2))
    expected = squareform(pdist(points))
    np.testing.assert_allclose(distances(-expected, largest=0), expected, atol=1e-15)


def test_a_cosine_beyond_1_has_distance_0():
    assert distances(np.array([[1, 1 + 1e-7], [1 + 1e-7, 1]], dtype=np.float32)).max() == 0


def test_a_pair_without_similarity_is_as_far_apart_as_the_least_similar():
    similarity = cosines(6)
    similarity[1, 4] = similarity[4, 1] = np.nan
    assert distances(similarity)[1, 4] == pytest.approx(1 - np.nanmin(similarity), abs=1e-15)


def test_equal_similarities_have_an_order_of_all_classes():
    tree = average_linkage(distances(np.ones((7, 7))))
    assert sorted(leaves(tree)) == list(range(7))
    assert not tree[:, 2].any()


def test_one_class_is_a_leaf():
    tree = average_linkage(distances(np.ones((1, 1))))
    assert tree.shape == (0, 4)
    assert leaves(tree).tolist() == [0]


def test_classes_without_similarity_to_another_are_not_compared():
    similarity = matrices.symmetric(np.random.default_rng(0), 6)
    similarity[[1, 4]] = similarity[:, [1, 4]] = np.nan
    similarity[4, 4] = 1
    assert compared(similarity).tolist() == [0, 2, 3, 5]
    assert np.isnan(similarity[1]).all()  # it is not changed
    assert compared(np.ones((1, 1))).tolist() == []

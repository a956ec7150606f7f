import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.spatial.distance import pdist, squareform
from scipy.spatial.transform import Rotation
from sklearn import manifold

from labelsim.statistics import embedding
from labelsim.statistics.embedding import (
    align,
    classical_mds,
    embed,
    evenly_spaced,
    fit_square,
    interpolate,
    mds,
    smacof,
)


def distances(points: np.ndarray) -> np.ndarray:
    return squareform(pdist(points))


@pytest.fixture
def far() -> np.ndarray:
    """Distances in six dimensions, which no plane has."""
    return distances(np.random.default_rng(0).normal(size=(25, 6)))


def stress(points: np.ndarray, distance: np.ndarray, weights: np.ndarray) -> float:
    pairs = np.triu_indices(len(distance), 1)
    return float(np.sum(weights[pairs] * (pdist(points) - distance[pairs]) ** 2))


def relative(distance: np.ndarray) -> np.ndarray:
    return np.maximum(distance, 0.01) ** -2.0


@pytest.mark.parametrize("count", [2, 3, 50])
def test_classical_scaling_is_exact_in_the_plane(count):
    expected = distances(np.random.default_rng(1).normal(size=(count, 2)))
    np.testing.assert_allclose(distances(classical_mds(expected)), expected, atol=1e-9)


def test_smacof_without_weights_is_that_of_scikit_learn(far):
    start = classical_mds(far)
    expected, _ = manifold.smacof(
        far, metric=True, init=start, n_init=1, max_iter=1000, eps=1e-12, normalized_stress=False
    )
    found = smacof(far, np.ones_like(far), start, iterations=1000, tolerance=1e-9)
    # The same minimum, up to where the two stop.
    np.testing.assert_allclose(distances(found), distances(expected), atol=1e-3)


def test_smacof_finds_a_minimum_of_the_weighted_stress(far):
    weights = relative(far)
    found = smacof(far, weights, classical_mds(far), iterations=3000, tolerance=1e-9)
    better = minimize(lambda x: stress(x.reshape(-1, 2), far, weights), found.ravel(), method="L-BFGS-B")
    assert stress(found, far, weights) == pytest.approx(better.fun, rel=1e-6)


def test_every_step_lowers_the_stress(far):
    weights, start = relative(far), classical_mds(far)
    path = [smacof(far, weights, start, iterations=steps) for steps in range(12)]
    assert np.all(np.diff([stress(points, far, weights) for points in path]) < 0)


def test_it_stops_when_no_point_moves_by_more_than_the_tolerance(far):
    weights, start = relative(far), classical_mds(far)
    found = smacof(far, weights, start, tolerance=1e-3)
    moved = smacof(far, weights, found, iterations=1)
    assert np.abs(moved - found).max() < 1e-3 * np.ptp(found, axis=0).max()
    assert np.abs(found - smacof(far, weights, start, iterations=2)).max() > 0


def test_mds_is_a_minimum_of_its_formula(far):
    n = len(far)
    order = [[j for j in np.argsort(row, kind="stable") if j != i] for i, row in enumerate(far)]
    target = np.zeros((n, n))
    for i in range(n):
        for j in set(range(n)) - {i}:
            rank = (order[i].index(j) + 1 + order[j].index(i) + 1) / 2
            target[i, j] = (rank / (n - 1)) ** 0.75
    found = mds(far)
    better = minimize(lambda x: stress(x.reshape(-1, 2), target, relative(target)), found.ravel(), method="L-BFGS-B")
    # It stops once all moves are below a ten-thousandth of the map's size.
    assert stress(found, target, relative(target)) == pytest.approx(better.fun, rel=1e-3)
    np.testing.assert_allclose(distances(found), distances(better.x.reshape(-1, 2)), atol=0.05)


def test_mds_has_fixed_axes_and_signs(far):
    points = mds(far)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-9)
    scatter = points.T @ points
    assert scatter[0, 0] > scatter[1, 1]
    assert scatter[0, 1] == pytest.approx(0, abs=1e-9)
    assert all(axis[np.argmax(np.abs(axis))] > 0 for axis in points.T)


def test_mds_depends_on_the_order_of_the_neighbors_only(far):
    np.testing.assert_allclose(mds(np.exp(far) - 1), mds(far), atol=1e-9)


def test_mds_does_not_depend_on_the_order_of_the_classes(far):
    order = np.random.default_rng(2).permutation(len(far))
    # Sums are rounded in another order, which a hundred steps do not enlarge much.
    np.testing.assert_allclose(mds(far[np.ix_(order, order)]), mds(far)[order], atol=1e-6)


def test_neighbors_on_a_line_stay_neighbors():
    line = np.random.default_rng(3).permutation(30).astype(float)[:, np.newaxis]
    order = np.argsort(line[:, 0])
    found = mds(distances(line))
    steps = np.linalg.norm(np.diff(found[order], axis=0), axis=1)
    assert steps.max() < 0.25 * np.ptp(found, axis=0).max()


def test_identical_classes_lie_on_one_point(far):
    points = np.random.default_rng(4).normal(size=(12, 4))
    points[[3, 7, 9]] = points[3]
    found = mds(distances(points))
    np.testing.assert_allclose(found[[7, 9]], found[[3, 3]], atol=1e-6)
    assert np.ptp(found, axis=0).min() > 0.1


@pytest.mark.parametrize("classes", [0, 1, 2, 5])
def test_few_or_equal_classes(classes):
    assert mds(np.zeros((classes, classes))).tolist() == [[0, 0]] * classes


def test_two_classes_lie_side_by_side():
    found = mds(np.array([[0.0, 0.3], [0.3, 0.0]]))
    np.testing.assert_allclose(found, [[0.5, 0], [-0.5, 0]], atol=1e-9)


def test_equal_similarities_are_equally_far(far):
    found = mds(1 - np.eye(3))
    np.testing.assert_allclose(pdist(found), pdist(found)[0], rtol=1e-3)


@given(angle=st.floats(0, 360), mirrored=st.booleans(), moved=st.floats(-5, 5))
def test_a_rotated_or_reflected_map_comes_back(angle, mirrored, moved):
    reference = np.random.default_rng(5).normal(size=(20, 2))
    turn = Rotation.from_euler("z", angle, degrees=True).as_matrix()[:2, :2]
    other = reference @ turn * [-1 if mirrored else 1, 1] + moved
    unknown = reference.copy()
    unknown[[2, 11]] = np.nan
    found = align(other, unknown)
    np.testing.assert_allclose(found - found.mean(axis=0), reference - reference.mean(axis=0), atol=1e-9)


def test_without_a_common_class_a_map_stays_as_it_is():
    points = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(align(points, np.full((3, 2), np.nan)), points)


def test_a_map_fits_in_the_unit_square():
    points = np.array([[0.0, 5], [10, 5], [4, 9]])
    np.testing.assert_allclose(fit_square(points), [[0, 0.3], [1, 0.3], [0.4, 0.7]])
    assert fit_square(np.full((4, 2), 7.0)).tolist() == [[0.5, 0.5]] * 4


def test_a_class_lies_between_the_most_similar_landmarks():
    placed = np.array([[0.0, 0], [4, 0], [0, 4], [4, 4], [9, 9], [9, 0]])
    similarity = np.array(
        [
            [0.1, 0.9, 0.1, 0.1, 0.1, 0.1],  # one landmark is above all others
            [0.6, 0.6, 0.2, 0.2, 0.2, 0.2],
            [0.5, 0.3, 0.2, 0.2, 0.2, 0.1],  # weights 0.3 and 0.1 above the fifth
            [0.7, 0.7, 0.7, 0.7, 0.7, 0.7],  # no difference: the mean of the first four
            [np.nan, 0.8, 0.4, 0.4, np.nan, 0.4],
        ]
    )
    expected = [[4, 0], [2, 0], [1, 0], [2, 2], weighted(placed[[1, 2, 3, 5]], [0.8, 0.4, 0.4, 0.4])]
    np.testing.assert_allclose(interpolate(similarity, placed), expected)


def weighted(points: np.ndarray, weights: list[float]) -> np.ndarray:
    return np.average(points, axis=0, weights=weights)


def test_landmarks_and_others_of_a_group_lie_together(monkeypatch):
    monkeypatch.setattr(embedding, "_BLOCK", 7)
    random = np.random.default_rng(6)
    group = random.integers(0, 4, 90)
    vectors = 3 * random.normal(size=(4, 8))[group] + random.normal(size=(90, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    landmarks = evenly_spaced(90, 40)
    similarity = vectors @ vectors.T
    found = embed(similarity[:, landmarks], landmarks)
    np.testing.assert_allclose(found[landmarks], mds(1 - similarity[np.ix_(landmarks, landmarks)]), atol=1e-9)
    between = distances(found)
    np.fill_diagonal(between, np.inf)
    assert np.mean(group[between.argmin(axis=1)] == group) > 0.9


@pytest.mark.parametrize(("length", "count", "expected"), [(0, 5, []), (3, 5, [0, 1, 2]), (7, 3, [0, 2, 4])])
def test_evenly_spaced(length, count, expected):
    assert evenly_spaced(length, count).tolist() == expected

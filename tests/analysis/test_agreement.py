"""judgement and agreement of matrices with ties and gaps, in blocks, against plain Python and SciPy."""

from itertools import combinations

import matrices
import numpy as np
import pytest
import scipy.stats

from labelsim.analysis import stored
from labelsim.analysis.agreement import agreement, compare
from labelsim.analysis.judgement import judgement
from labelsim.analysis.reference import reference
from labelsim.errors import LabelsimError
from labelsim.storage.zarr_store import open_store

CLASSES = 31
K = 4
IDS = [f"class {i % 3}{i}" for i in range(CLASSES)]  # not in the order of text


@pytest.fixture
def values():
    """Matrices by method and group; welch lacks class 3, and both H and P class 20."""
    random = np.random.default_rng(0)
    names = [("welch", "all"), ("welch", "late"), ("hidden", "all"), ("gap", "all"), ("gap", "late")]
    found = {name: matrices.symmetric(random, CLASSES) for name in names}
    for (method, _), matrix in found.items():
        lost = 3 if method == "welch" else 20
        matrix[lost] = matrix[:, lost] = np.nan
    return found


@pytest.fixture
def human():
    """A reference that lacks class 5 and some pairs."""
    random = np.random.default_rng(1)
    matrix = matrices.symmetric(random, CLASSES, levels=7)
    np.fill_diagonal(matrix, np.nan)
    matrix[5] = matrix[:, 5] = np.nan
    for i, j in random.integers(0, CLASSES, (40, 2)):
        matrix[i, j] = matrix[j, i] = np.nan
    return matrix


def write(path, ids, values):
    methods = dict.fromkeys(method for method, _ in values)
    groups = tuple(dict.fromkeys(group for _, group in values))
    arrays = {
        method: np.array([values[method, group] for group in groups if (method, group) in values]) for method in methods
    }
    matrices.write(path, ids, {name: array if name != "hidden" else array[0] for name, array in arrays.items()}, groups)
    return open_store(path)


@pytest.fixture
def similarity(tmp_path, values):
    return write(tmp_path / "similarity.zarr", IDS, values)


@pytest.fixture
def measure(tmp_path, human):
    file = tmp_path / "human.csv"
    pairs = [(i, j) for i, j in combinations(range(CLASSES), 2) if not np.isnan(human[i, j])]
    lines = [f"{IDS[j]},{IDS[i]},{float(human[i, j])!r}" for i, j in pairs]
    file.write_text("\n".join(["class_id,neighbor_id,similarity", *lines]) + "\n")
    return reference(IDS, file)


@pytest.fixture(params=[2**26, 40 * CLASSES], ids=["whole", "blocks"])
def block(request, monkeypatch):
    """Rows at a time: all, or some that fit no chunk."""
    monkeypatch.setattr(stored, "_VALUES", request.param)


def candidates(c, *some):
    return [i for i in range(CLASSES) if i != c and not any(np.isnan(matrix[c, i]) for matrix in some)]


def nearest(matrix, c, known):
    return sorted(known, key=lambda i: (-np.float32(matrix[c, i]), i))[:K]


def correlation(a, b, *some):
    pairs = [(i, j) for i, j in combinations(range(CLASSES), 2) if not any(np.isnan(m[i, j]) for m in (a, b, *some))]
    return scipy.stats.spearmanr(*([matrix[i, j] for i, j in pairs] for matrix in (a, b))).statistic


def test_judgement(block, similarity, values, measure, human):
    rows = judgement(similarity, measure, K).to_pylist()
    assert [(row["method"], row["group"]) for row in rows] == list(values)
    hidden = values["hidden", "all"]
    for row, (name, matrix) in zip(rows, values.items(), strict=True):
        judged = {}
        for c in range(CLASSES):
            if known := candidates(c, matrix, hidden, human):
                chosen = [nearest(m, c, known) for m in (matrix, hidden, human)] + [known]
                judged[c] = [np.mean([human[c, i] for i in some]) for some in chosen]
        mean, own, best, random = np.mean(list(judged.values()), axis=0)
        assert (row["measure"], row["k"], row["classes"]) == ("file", K, len(judged))
        assert row["classes"] == (28 if name[0] == "welch" else 29)  # 5 and 20 are left out, of welch also 3
        # The reference is float32.
        assert [row[key] for key in ("mean", "random", "best")] == pytest.approx([mean, random, best], rel=1e-6)
        assert row["spearman"] == pytest.approx(correlation(matrix, human, hidden), abs=1e-9)
        if name == ("hidden", "all"):
            assert row["difference"] is row["low"] is row["high"] is None
            continue
        assert row["difference"] == pytest.approx(mean - own, abs=1e-6)
        pairs = np.array(list(judged.values()))[:, :2].T
        expected = scipy.stats.bootstrap(
            pairs,
            lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
            paired=True,
            method="percentile",
            rng=np.random.default_rng(1),
        )
        # Ends from 2,000 resamples have an error of some five hundredths of the standard error.
        tolerance = 0.2 * expected.standard_error
        assert (row["low"], row["high"]) == pytest.approx(tuple(expected.confidence_interval), abs=tolerance)


def test_agreement(block, similarity, values, measure, human):
    rows = agreement(similarity, measure, K).to_pylist()
    everything = {**values, ("reference", "file"): human}
    assert len(rows) == 15
    for row, (a, b) in zip(rows, combinations(everything, 2), strict=True):
        assert (row["method_a"], row["group_a"], row["method_b"], row["group_b"]) == (*a, *b)
        check(row, everything[a], everything[b])


def check(row, one, other):
    shares = []
    for c in range(CLASSES):
        if known := candidates(c, one, other):
            sets = [set(nearest(matrix, c, known)) for matrix in (one, other)]
            shares.append(len(sets[0] & sets[1]) / min(K, len(known)))
    assert row["classes"] == len(shares)
    assert row["overlap"] == pytest.approx(np.mean(shares), rel=1e-12)  # a sum in another order
    assert row["spearman"] == pytest.approx(correlation(one, other), abs=1e-9)
    stderr = np.std(shares) / np.sqrt(len(shares))
    # The normal interval, which the skewness of thirty shares makes no more than a guide.
    assert (row["low"], row["high"]) == pytest.approx(
        np.mean(shares) + np.array([-1.96, 1.96]) * stderr, abs=0.5 * stderr
    )


def test_without_a_reference_there_is_no_judgement(similarity):
    table = judgement(similarity, [], K)
    assert len(table) == 0
    assert table.column_names[:3] == ["method", "group", "measure"]
    assert len(agreement(similarity, [], K)) == 10


def test_without_hidden_there_is_no_difference(tmp_path, values, measure):
    del values["hidden", "all"]
    table = judgement(write(tmp_path / "without.zarr", IDS, values), measure, K)
    assert table["difference"].null_count == table["low"].null_count == len(table) == 4
    assert table["mean"].null_count == 0


def test_more_classes_than_can_be_ranked_have_no_spearman(similarity, measure, monkeypatch, caplog):
    expected = [judgement(similarity, measure, K), agreement(similarity, measure, K)]
    monkeypatch.setattr(stored, "_RANKABLE", CLASSES - 1)
    caplog.set_level("INFO")
    found = [judgement(similarity, measure, K), agreement(similarity, measure, K)]
    for table, whole in zip(found, expected, strict=True):
        assert table["spearman"].null_count == len(table)
        assert table.drop_columns("spearman").equals(whole.drop_columns("spearman"))
    assert sum("spearman" in record.message for record in caplog.records) == 2


def test_two_runs_are_compared_by_class_id(block, tmp_path, similarity, values):
    # The other run lacks three of the classes, has one more, another order, other groups and other values.
    random = np.random.default_rng(2)
    order = random.permutation(CLASSES)[3:]
    ids = [IDS[i] for i in order] + ["only here"]
    size = len(ids)
    others = {
        name: matrices.symmetric(random, size) for name in (("welch", "all"), ("hidden", "all"), ("welch", "early"))
    }
    other = write(tmp_path / "other.zarr", ids, others)
    rows = compare(similarity, other, K).to_pylist()
    assert [(row["method"], row["group"]) for row in rows] == [("welch", "all"), ("hidden", "all")]
    for row in rows:
        name = (row["method"], row["group"])
        one = np.full((CLASSES, CLASSES), np.nan)
        one[np.ix_(order, order)] = values[name][np.ix_(order, order)]
        two = np.full((CLASSES, CLASSES), np.nan)
        two[np.ix_(order, order)] = others[name][:-1, :-1]
        check(row, one, two)


def test_a_run_agrees_with_itself(similarity):
    table = compare(similarity, similarity, K)
    assert set(table["overlap"].to_pylist()) == set(table["high"].to_pylist()) == {1.0}
    np.testing.assert_allclose(table["spearman"], 1, rtol=1e-12)


def test_runs_without_a_class_or_a_method_in_common(tmp_path, similarity):
    hidden = np.eye(2)
    matrices.write(tmp_path / "a.zarr", [IDS[0], "b"], {"hidden": hidden})
    with pytest.raises(LabelsimError, match="class ids in common"):
        compare(similarity, open_store(tmp_path / "a.zarr"), K)
    matrices.write(tmp_path / "b.zarr", IDS[:2], {"output": hidden})
    with pytest.raises(LabelsimError, match="no method in common: gap, hidden, welch against output"):
        compare(similarity, open_store(tmp_path / "b.zarr"), K)

import logging

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from labelsim.analysis.reference import reference
from labelsim.errors import LabelsimError

# knot, a number that is no offset, nail, a name, baseball, screw, a verb's number, tench, goldfish
IDS = ["n03627232", "n00000001", "n03804744", "cat", "n02799071", "n04153751", "v00001740", "n01440764", "n01443537"]
KNOWN = [0, 2, 4, 5, 7, 8]


def whole(matrix, classes):
    return matrix.rows(slice(0, classes))


def test_wordnet_by_wnid():
    found = {matrix.group: whole(matrix, len(IDS)) for matrix in reference(IDS, None)}
    assert list(found) == ["wup", "path", "lin"]
    known = np.isin(np.arange(len(IDS)), KNOWN)
    for matrix in found.values():
        np.testing.assert_array_equal(np.isnan(matrix), ~np.outer(known, known))
        others = np.where(np.eye(len(IDS), dtype=bool), np.nan, matrix)
        # The nearest to a knot are a nail and a screw, and fishes are nearest to each other.
        assert set(np.argsort(-others[0])[:2]) == {2, 5}
        assert np.nanargmax(others[7]) == 8
    # Two of tests/statistics/wordnet_pairs.csv, in float32.
    assert found["path"][7, 8] == pytest.approx(1 / 3, rel=1e-6)
    assert found["lin"][7, 8] == pytest.approx(0.763169498302, rel=1e-6)


def test_rows_in_blocks_join_without_a_seam(tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text("class_id,neighbor_id,similarity\ncat,n01440764,0.25\nn01443537,cat,0.5\n")
    for matrix in [*reference(IDS, None), *reference(IDS, file)]:
        parts = [matrix.rows(slice(start, min(start + 2, len(IDS)))) for start in range(0, len(IDS), 2)]
        np.testing.assert_array_equal(np.concatenate(parts), whole(matrix, len(IDS)))


@pytest.mark.parametrize("ids", [[], ["cat", "dog"], ["n01440764", "dog"], ["n00000001", "n00000002"]])
def test_there_is_no_reference_where_it_knows_no_two_classes(ids, caplog, tmp_path):
    caplog.set_level(logging.INFO)
    assert reference(ids, None) == []
    file = tmp_path / "pairs.csv"
    file.write_text("class_id,neighbor_id,similarity\ndog,wolf,1\ndog,dog,1\n")
    assert reference(ids, file) == []
    assert [record.message.split(" knows")[0] for record in caplog.records] == ["WordNet 3.0", str(file)]


def test_a_file_in_one_direction_or_both(tmp_path):
    file = tmp_path / "pairs.csv"
    rows = ["001,b,0.5", "b,c,0.2", "c,b,0.4", "b,c,0.6", "b,b,9", "c,unknown,7", "unknown,other,7"]
    file.write_text("\n".join(["class_id,neighbor_id,similarity", *rows]) + "\n")
    (matrix,) = reference(["c", "001", "1", "b"], file)
    assert (matrix.method, matrix.group) == ("reference", "file")
    nan = np.nan
    expected = [[nan, nan, nan, 0.4], [nan, nan, nan, 0.5], [nan, nan, nan, nan], [0.4, 0.5, nan, nan]]
    np.testing.assert_allclose(whole(matrix, 4), expected, rtol=1e-6)  # float32


def test_a_table_of_numbers_in_parquet(tmp_path):
    table = pa.table({"similarity": [3, 1], "class_id": [10, 9], "neighbor_id": [9, 8], "more": ["x", "y"]})
    parquet.write_table(table, tmp_path / "pairs.parquet")
    (matrix,) = reference(["8", "9", "10"], tmp_path / "pairs.parquet")
    np.testing.assert_array_equal(whole(matrix, 3), [[np.nan, 1, np.nan], [1, np.nan, 3], [np.nan, 3, np.nan]])


@pytest.mark.parametrize(
    "text",
    [
        "class_id,neighbor,similarity\na,b,1\n",
        "class_id,neighbor_id,similarity\na,b,near\n",
        "class_id,neighbor_id,similarity\na,b,\n",
        "class_id,neighbor_id,similarity\na,b,nan\n",
        "class_id,neighbor_id,similarity\na,b,inf\n",
        "class_id,neighbor_id,similarity\na,b,1,2\n",
        "",
        None,
    ],
)
def test_a_file_that_is_wrong_is_named_with_its_key(tmp_path, text):
    file = tmp_path / "pairs.csv"
    if text is not None:
        file.write_text(text)
    with pytest.raises(LabelsimError) as caught:
        reference(["a", "b"], file)
    assert "analysis.reference.file" in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_missing_similarity_in_parquet_is_an_error(tmp_path):
    table = pa.table({"class_id": ["a", "b"], "neighbor_id": ["b", "c"], "similarity": [1.0, None]})
    parquet.write_table(table, tmp_path / "pairs.parquet")
    with pytest.raises(LabelsimError, match="row 2 of"):
        reference(["a", "b"], tmp_path / "pairs.parquet")

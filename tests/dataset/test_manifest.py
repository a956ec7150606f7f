"""The table of samples, made of many tables: the texts of 100 million images pass 2 GB, those of a table do not."""

import numpy as np
import pyarrow as pa
import pytest

from labelsim.dataset.manifest import FOUND, SAMPLES, repeats, sample_table
from labelsim.errors import LabelsimError

CLASSES = ["z", "a", "a-b", "no images"]  # in no order, as labels are
LABEL_IDS = ["a-b", "z", "a"]  # in the order in which the labels were met


def chunks(*rows: list[tuple[str, str, str, int]]) -> pa.Table:
    """Tables of (name, class_id, path, offset), each with a dictionary of its own paths."""
    tables = []
    for part in rows:
        names, class_ids, *more = zip(*part, strict=True)
        numbers = [LABEL_IDS.index(class_id) for class_id in class_ids]
        tables.append(pa.table([names, numbers, *more, [1] * len(part)], schema=FOUND))
    return pa.concat_tables([FOUND.empty_table(), *tables])


def some(n: int) -> list[tuple[str, str, str, int]]:
    random = np.random.default_rng(0)
    return [(f"{i:x}.png", CLASSES[random.integers(3)], f"{i % 5}.tar", i) for i in random.permutation(n)]


def test_texts_have_offsets_of_64_bits():
    texts = {name: SAMPLES.field(name).type for name in ("sample_id", "class_id", "path")}
    assert set(texts.values()) == {pa.large_string()}
    assert FOUND.field("name").type == pa.large_string()


def test_rows_of_many_tables_are_sorted_together():
    rows = some(400)
    found = chunks(*(rows[i : i + 7] for i in range(0, 400, 7)))
    assert found["label"].num_chunks > 50
    samples = sample_table(found, LABEL_IDS, CLASSES)
    assert samples.schema == SAMPLES
    expected = sorted((f"{c}/{name}", CLASSES.index(c), c, path, offset, 1) for name, c, path, offset in rows)
    assert list(zip(*samples.to_pydict().values(), strict=True)) == expected


def test_ids_that_repeat_are_counted_across_tables():
    rows = some(60)
    found = chunks(rows[:20], rows[20:], rows[:1], [("new.png", *rows[3][1:])], rows[:2])
    assert repeats(found, LABEL_IDS) == 3
    with pytest.raises(LabelsimError, match=f"{rows[0][1]}/{rows[0][0]}.*{rows[0][2]}"):
        sample_table(found, LABEL_IDS, CLASSES)


def test_no_rows():
    assert repeats(FOUND.empty_table(), []) == 0
    assert sample_table(FOUND.empty_table(), [], []).equals(SAMPLES.empty_table())


def test_several_labels_may_mean_one_class():
    found = chunks([("1.png", "z", "0.tar", 0), ("1.png", "a", "0.tar", 1), ("2.png", "a-b", "1.tar", 2)])
    samples = sample_table(found, ["one", "one", "two"], ["two", "one"])
    assert samples["sample_id"].to_pylist() == ["one/1.png", "one/2.png", "two/1.png"]
    assert samples["class_index"].to_pylist() == [1, 1, 0]
    assert repeats(found, ["one", "one", "one"]) == 1

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelsim.dataset.sampling import choose, folds
from labelsim.dataset.shards import automatic_aim, boundaries, cut, row_digests

# of the ids n0/0.JPEG to n0/11.JPEG, 100 bytes each
KNOWN_SHARDS = [("41068b9d8614fb0e", 0, 5), ("c23a5587ba7953b5", 5, 8), ("c48b7f79413d09df", 8, 12)]
KNOWN_FOLDS = [4, 2, 4, 7, 3, 2, 5, 3, 0, 5, 1, 7]
KNOWN_CHOICE = ["n0/0.JPEG", "n0/1.JPEG", "n0/6.JPEG"]


def make(sample_ids: Sequence[str], sizes: Sequence[int] | None = None) -> pa.Table:
    return pa.table(
        {
            "sample_id": pa.array(sample_ids, pa.string()),
            "class_index": pa.array(np.zeros(len(sample_ids)), pa.int32()),
            "bytes": pa.array(range(len(sample_ids)) if sizes is None else sizes, pa.int64()),
        }
    )


def replace(table: pa.Table, name: str, values: np.ndarray) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, pa.array(values, table[name].type))


def sample_ids(n: int, seed: int = 0) -> list[str]:
    return sorted(f"class {i % 7}/{i:x} {seed} ü.JPEG" for i in range(n))


@pytest.mark.parametrize(
    ("images", "aim"),
    [
        (0, 16_384),
        (1_000, 16_384),
        (262_143, 16_384),
        (262_144, 16_384),
        (524_287, 16_384),
        (524_288, 32_768),
        (1_048_575, 32_768),
        (1_281_167, 65_536),
        (4_194_303, 131_072),
        (4_194_304, 262_144),
        (14_197_122, 262_144),
        (100_000_000, 262_144),
    ],
)
def test_automatic_aim(images, aim):
    assert automatic_aim(images) == aim


@settings(max_examples=200)
@given(n=st.integers(0, 600), aim=st.integers(1, 90), seed=st.integers(0, 1000))
def test_shards_partition_the_rows_within_bounds(n, aim, seed):
    shards = cut(make(sample_ids(n, seed)), aim)
    assert [i for _, start, stop in shards for i in range(start, stop)] == list(range(n))
    assert len({name for name, _, _ in shards}) == len(shards)
    lengths = [stop - start for _, start, stop in shards]
    assert all(0 < length <= 2 * aim for length in lengths)
    if len(lengths) > 1:
        assert min(lengths) >= (aim - 1) // 2


def test_boundaries_by_the_definition():
    rng = np.random.default_rng(0)
    for n, aim in [(400, 9), (400, 10), (50, 1), (5, 40), (39, 40)]:
        keys = rng.integers(0, 2**52, n, dtype=np.uint64)
        w = (aim - 1) // 2
        minima = {i for i in range(w, n - w) if keys[i] == keys[i - w : i + w + 1].min()}
        found = boundaries(keys, aim)
        assert found.dtype == np.int64
        assert found[0] == 0
        # those beyond the minima are the cuts of shards longer than 2 aim
        edges = sorted({0, *minima, n})
        assert set(edges[:-1]) <= set(found.tolist())
        for extra in set(found.tolist()) - set(edges):
            start, stop = max(e for e in edges if e < extra), min(e for e in edges if e > extra)
            assert stop - start > 2 * aim


def test_keys_next_to_each_other_near_two_to_the_52_are_told_apart():
    keys = np.array([2**52 - 1] * 3 + [2**52 - 2] + [2**52 - 1] * 3, np.uint64)
    assert boundaries(keys, 7).tolist() == [0, 3]


def test_long_shard_is_cut_at_the_smallest_key_that_leaves_both_parts_long():
    keys = np.arange(100, 121, dtype=np.uint64)  # ascending: no smallest key has a full neighbourhood
    keys[[3, 12]] = [1, 50]
    # aim 8: w = 3, so row 3 and row 12 are minima already and no shard is longer than 16
    assert boundaries(keys, 8).tolist() == [0, 3, 12]
    # no minima: of the rows 4 to 17 the first has the smallest key, and the rest, of 17, is cut again
    assert boundaries(np.arange(21, dtype=np.uint64), 8).tolist() == [0, 4, 8]


def test_no_rows_no_shards():
    assert cut(make([]), 10) == []
    assert boundaries(np.array([], np.uint64), 10).tolist() == []
    assert row_digests(make([])).shape == (0, 16)


def test_mean_length_is_about_what_was_aimed_at():
    lengths = np.diff(boundaries(np.random.default_rng(1).integers(0, 2**52, 200_000, dtype=np.uint64), 101))
    # some 2,000 shards: the mean's standard error is about 1; cutting the long ones makes it smaller
    assert 90 < lengths.mean() < 105


@pytest.mark.parametrize("change", ["insert", "remove"])
def test_one_row_more_or_less_changes_few_shards(change):
    rng = np.random.default_rng(2)
    aim, n, trials = 64, 2000, 120
    new = []
    for trial in range(trials):
        before = sample_ids(n, trial)
        where = int(rng.integers(n))
        after = before[:where] + before[where + (change == "remove") :]
        if change == "insert":
            after.insert(where, before[where - 1] + "+")
        sizes = {sample_id: len(sample_id) for sample_id in [*before, *after]}
        old_shards = cut(make(before, [sizes[i] for i in before]), aim)
        new_shards = cut(make(after, [sizes[i] for i in after]), aim)
        shift = len(after) - len(before)
        kept = {(name, start) for name, start, stop in old_shards if stop <= where - 4 * aim}
        kept |= {(name, start + shift) for name, start, stop in old_shards if start >= where + 4 * aim}
        assert kept <= {(name, start) for name, start, _ in new_shards}
        new.append(len({name for name, _, _ in new_shards} - {name for name, _, _ in old_shards}))
    assert max(new) <= 3
    assert np.mean(np.array(new) <= 2) >= 0.9
    # nearly always one: a row is a boundary, or was next to becoming one, only about once in `aim` rows
    assert np.mean(np.array(new) == 1) >= 0.8


@settings(max_examples=50)
@given(row=st.integers(0, 799), seed=st.integers(0, 1000))
def test_a_changed_size_renames_its_shard_only(row, seed):
    table = make(sample_ids(800, seed))
    sizes = table["bytes"].to_numpy().copy()
    sizes[row] += 1
    old, new = cut(table, 50), cut(replace(table, "bytes", sizes), 50)
    assert [edges for _, *edges in old] == [edges for _, *edges in new]
    renamed = [(start, stop) for (a, start, stop), (b, _, _) in zip(old, new, strict=True) if a != b]
    assert len(renamed) == 1
    assert renamed[0][0] <= row < renamed[0][1]


def test_a_changed_content_renames_its_shard_only():
    table = make(sample_ids(300))
    content = [f"{i:032x}" for i in range(300)]
    old = cut(table.append_column("content", pa.array(content)), 50)
    content[123] = "f" * 32
    new = cut(table.append_column("content", pa.array(content)), 50)
    assert sum(a != b for a, b in zip(old, new, strict=True)) == 1
    assert {name for name, _, _ in old}.isdisjoint(name for name, _, _ in cut(table, 50))


def test_names_depend_neither_on_class_index_nor_on_chunks_nor_on_the_locator():
    table = make(sample_ids(500))
    other = replace(table, "class_index", np.arange(500)).append_column("path", table["sample_id"])
    pieces = pa.concat_tables([other.slice(0, 123), other.slice(123)])
    assert pieces["sample_id"].num_chunks == 2
    assert cut(pieces, 40) == cut(table, 40)


def test_digests_keep_the_columns_apart():
    rows = [("1a", 1, "b"), ("a", 11, "b"), ("a", 1, "1b"), ("a", 1, "b1"), ("ab", 1, ""), ("b\0a", 1, "")]
    ids, sizes, content = zip(*rows, strict=True)
    digests = row_digests(make(ids, sizes).append_column("content", pa.array(content)))
    assert digests.shape == (len(rows), 16)
    assert digests.dtype == np.uint8
    assert len(np.unique(digests, axis=0)) == len(rows)


def test_hashes_are_the_same_everywhere():
    # known answers: a change of them would name every shard of every run anew
    table = make([f"n0/{i}.JPEG" for i in range(12)], [100] * 12)
    assert cut(table, 5) == KNOWN_SHARDS
    assert folds(table["sample_id"].to_pylist()).tolist() == KNOWN_FOLDS
    assert choose(table, 3)["sample_id"].to_pylist() == KNOWN_CHOICE


@settings(max_examples=50)
@given(k=st.integers(1, 60), seed=st.integers(0, 1000))
def test_choice_is_bounded_stable_and_in_order(k, seed):
    ids = sample_ids(120, seed)
    table = replace(make(ids), "class_index", np.repeat([0, 2, 3], [70, 49, 1]))
    chosen = choose(table, k)
    assert chosen.schema == table.schema
    assert np.bincount(chosen["class_index"].to_numpy()).tolist() == [min(k, 70), 0, min(k, 49), 1]
    rows = chosen["bytes"].to_pylist()  # the row numbers
    assert rows == sorted(rows)
    assert set(choose(table, k + 1)["sample_id"].to_pylist()) >= set(chosen["sample_id"].to_pylist())
    # an image that is not chosen makes no difference
    others = table.filter(pa.array(np.isin(np.arange(120), rows) | (np.arange(120) % 2 == 0)))
    assert choose(others, k).equals(chosen.combine_chunks())


def test_choice_of_none():
    assert choose(make([]), 3).num_rows == 0


def test_folds_are_even_and_belong_to_the_sample():
    ids = sample_ids(8000)
    fold = folds(ids)
    assert fold.dtype == np.int8
    # 1,000 in each, with a standard deviation of 30: five of them are never passed by chance
    assert np.all(np.abs(np.bincount(fold, minlength=8) - 1000) < 150)
    assert np.array_equal(folds(ids[::-1]), fold[::-1])
    assert folds(ids, 3).max() == 2
    assert folds([]).shape == (0,)


def test_folds_choice_and_boundaries_are_independent():
    ids = sample_ids(8000)
    table = replace(make(ids), "class_index", np.repeat(np.arange(8), 1000))
    chosen = folds(choose(table, 500)["sample_id"].to_pylist())
    # 4,000 chosen, 500 in each fold with a standard deviation of 21
    assert np.all(np.abs(np.bincount(chosen, minlength=8) - 500) < 105)
    first = folds([ids[start] for _, start, _ in cut(table, 10)])
    # some 800 boundaries, 100 in each fold with a standard deviation of 10
    assert np.all(np.abs(np.bincount(first, minlength=8) - len(first) / 8) < 50)

"""The table of samples, from what a source found in its archives."""

from collections.abc import Sequence

import pyarrow as pa
from pyarrow import compute

from labelsim.errors import LabelsimError

__all__ = ["FOUND", "SAMPLES", "joined", "repeats", "sample_table"]

# `path` and `offset` are the locator. `offset` says where in the file a sample lies: the first byte of a tar member,
# the row of a Parquet table; null for a file of its own. Texts are large: those of 72 million images pass 2 GB.
SAMPLES = pa.schema(
    [
        ("sample_id", pa.large_string()),
        ("class_index", pa.int32()),
        ("class_id", pa.large_string()),
        ("path", pa.large_string()),
        ("offset", pa.int64()),
        ("bytes", pa.int64()),
    ]
)

# `name` is the sample_id without the class_id. Classes and archives are few: each is held once, and a number a row.
FOUND = pa.schema(
    [
        ("name", pa.large_string()),
        ("class_id", pa.dictionary(pa.int32(), pa.large_string())),
        ("path", pa.dictionary(pa.int32(), pa.large_string())),
        ("offset", pa.int64()),
        ("bytes", pa.int64()),
    ]
)


def sample_table(found: pa.Table, classes: Sequence[str]) -> pa.Table:
    """Make the table of a source's samples.

    Parameters
    ----------
    found : pyarrow.Table
        One row a sample, with the columns of `FOUND`, in any order.
    classes : sequence of str
        Class ids; the position is the class_index.

    Returns
    -------
    pyarrow.Table
        With the columns of `SAMPLES`, sorted by sample_id.

    Raises
    ------
    LabelsimError
        If two samples have the same id.
    """
    ids, order = _sorted_ids(found)
    if _repeats(ids):
        raise LabelsimError(_twice(found))
    class_index = compute.index_in(found["class_id"], value_set=pa.array(classes, pa.large_string()))
    columns = {
        "sample_id": ids,
        "class_index": class_index.take(order),
        **{name: found[name].take(order) for name in ("class_id", "path", "offset", "bytes")},
    }
    return pa.table(columns, schema=SAMPLES)


def joined(first: pa.ChunkedArray, separator: str, second: pa.ChunkedArray) -> pa.ChunkedArray:
    """Join two columns, of any type that can be text, row by row."""
    text = pa.large_string()
    return compute.binary_join_element_wise(first.cast(text), second.cast(text), pa.scalar(separator, text))


def repeats(found: pa.Table) -> int:
    """How many samples have an id that another one has already."""
    return _repeats(_sorted_ids(found)[0])


def _repeats(ids: pa.Array) -> int:
    # sorted, equal ids are neighbours; a table of hashes would take several times the memory
    return int(compute.sum(compute.equal(ids[1:], ids[:-1])).as_py() or 0)


def _sorted_ids(found: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Return the ids in their order, and the rows that they are of."""
    ids = _sample_ids(found).combine_chunks()
    order = compute.sort_indices(ids)
    return ids.take(order), order


def _sample_ids(found: pa.Table) -> pa.ChunkedArray:
    return joined(found["class_id"], "/", found["name"])


def _twice(found: pa.Table) -> str:
    ids = _sample_ids(found)
    counts = ids.value_counts()
    twice = counts.field("values").filter(compute.greater(counts.field("counts"), 1))
    first = twice[0].as_py()
    rows = found.filter(compute.equal(ids, first)).to_pylist()
    places = " and ".join(f"{row['path']} at byte {row['offset']:,}" for row in rows[:2])
    more = f", and {len(twice) - 1:,} more like it" if len(twice) > 1 else ""
    return (
        f"dataset.source: two images would be the same sample {first!r}: in {places}{more}. "
        "Take one of them away, or give it another name, so that none is lost unnoticed."
    )

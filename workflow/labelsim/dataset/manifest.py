"""The manifest: the table of a dataset's images, one row each, with their ids and in their order."""

from collections.abc import Sequence

import pyarrow as pa
from pyarrow import compute

from labelsim.errors import LabelsimError

__all__ = ["FOUND", "SAMPLES", "joined", "repeats", "sample_table"]

# `path` and `offset` say where a sample lies: `offset` is the first byte of a tar member or the row of a Parquet table,
# and null for a file of its own. Texts are large, as those of 72 million images take more than 2 GB.
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

# What a source lists before class ids are known: `name` is the sample_id without the class id, `label` the number of a
# label. There are few archives: each path is stored once, and a number per row.
FOUND = pa.schema(
    [
        ("name", pa.large_string()),
        ("label", pa.int32()),
        ("path", pa.dictionary(pa.int32(), pa.large_string())),
        ("offset", pa.int64()),
        ("bytes", pa.int64()),
    ]
)


def sample_table(found: pa.Table, label_ids: Sequence[str], classes: Sequence[str]) -> pa.Table:
    """Make the table of a source's samples.

    Parameters
    ----------
    found : pyarrow.Table
        One row per sample, in any order, with the columns of `FOUND`.
    label_ids : sequence of str
        Class id of each label.
    classes : sequence of str
        Class ids in the order of the class index.

    Returns
    -------
    pyarrow.Table
        With the columns of `SAMPLES`, sorted by sample_id.

    Raises
    ------
    LabelsimError
        If two samples have the same id.
    """
    ids, order = _sorted_ids(found, label_ids)
    if _repeats(ids):
        raise LabelsimError(_same_id(found, label_ids))
    class_ids = _class_ids(found, label_ids)
    class_index = compute.index_in(class_ids, value_set=pa.array(classes, pa.large_string()))
    columns = {
        "sample_id": ids,
        "class_index": class_index.take(order),
        "class_id": class_ids.take(order),
        **{name: found[name].take(order) for name in ("path", "offset", "bytes")},
    }
    return pa.table(columns, schema=SAMPLES)


def joined(first: pa.ChunkedArray, separator: str, second: pa.ChunkedArray) -> pa.ChunkedArray:
    """Join two columns as text, row by row."""
    text = pa.large_string()
    return compute.binary_join_element_wise(first.cast(text), second.cast(text), pa.scalar(separator, text))


def repeats(found: pa.Table, label_ids: Sequence[str]) -> int:
    """Count the samples that have the id of another one; parameters as for `sample_table`."""
    return _repeats(_sorted_ids(found, label_ids)[0])


def _repeats(ids: pa.Array) -> int:
    # equal ids are neighbours here; a hash table would take several times the memory
    return int(compute.sum(compute.equal(ids[1:], ids[:-1])).as_py() or 0)


def _sorted_ids(found: pa.Table, label_ids: Sequence[str]) -> tuple[pa.Array, pa.Array]:
    """Return the sorted ids, and the row of each."""
    ids = _sample_ids(found, label_ids).combine_chunks()
    order = compute.sort_indices(ids)
    return ids.take(order), order


def _class_ids(found: pa.Table, label_ids: Sequence[str]) -> pa.ChunkedArray:
    dictionary = pa.array(label_ids, pa.large_string())
    chunks = [pa.DictionaryArray.from_arrays(numbers, dictionary) for numbers in found["label"].chunks]
    return pa.chunked_array(chunks, pa.dictionary(pa.int32(), pa.large_string()))


def _sample_ids(found: pa.Table, label_ids: Sequence[str]) -> pa.ChunkedArray:
    return joined(_class_ids(found, label_ids), "/", found["name"])


def _same_id(found: pa.Table, label_ids: Sequence[str]) -> str:
    ids = _sample_ids(found, label_ids)
    counts = ids.value_counts()
    repeated = counts.field("values").filter(compute.greater(counts.field("counts"), 1))
    rows = found.filter(compute.equal(ids, repeated[0])).slice(0, 2).to_pylist()
    places = " and ".join(
        row["path"] + ("" if row["offset"] is None else f" at byte {row['offset']:,}") for row in rows
    )
    more = f"; {len(repeated) - 1:,} more ids repeat" if len(repeated) > 1 else ""
    return (
        f"dataset.source: two images have the same id {repeated[0].as_py()!r}: {places}{more}. Rename or remove one of "
        "them."
    )

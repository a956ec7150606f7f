"""The table of samples, from what a source found in its archives."""

from collections.abc import Sequence

import pyarrow as pa
from pyarrow import compute

from labelsim.dataset.sources import SAMPLES
from labelsim.errors import LabelsimError

__all__ = ["FOUND", "repeats", "sample_table"]

# `name` is the sample_id without the class_id
FOUND = pa.schema([(name, SAMPLES.field(name).type) for name in ("class_id", "path", "offset", "bytes")]).insert(
    0, pa.field("name", pa.string())
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
        With the columns of `labelsim.dataset.sources.SAMPLES`, sorted by sample_id.

    Raises
    ------
    LabelsimError
        If two samples have the same id.
    """
    if repeats(found):
        raise LabelsimError(_twice(found))
    columns = {
        "sample_id": _sample_ids(found),
        "class_index": compute.index_in(found["class_id"], value_set=pa.array(classes, pa.string())),
        **{name: found[name] for name in ("class_id", "path", "offset", "bytes")},
    }
    samples = pa.table(columns, schema=SAMPLES)
    return samples.sort_by("sample_id").combine_chunks()


def repeats(found: pa.Table) -> int:
    """How many samples have an id that another one has already."""
    ids = _sample_ids(found)
    # sorted, equal ids are neighbours; a table of hashes would take several times the memory
    ids = ids.take(compute.sort_indices(ids)).combine_chunks()
    return int(compute.sum(compute.equal(ids[1:], ids[:-1])).as_py() or 0)


def _sample_ids(found: pa.Table) -> pa.ChunkedArray:
    return compute.binary_join_element_wise(found["class_id"], found["name"], "/")


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

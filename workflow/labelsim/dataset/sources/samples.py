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
        With the columns of `labelsim.dataset.sources.SAMPLES`, sorted by (class_index, sample_id).

    Raises
    ------
    LabelsimError
        If two samples have the same id.
    """
    samples = pa.table(
        {
            "sample_id": _sample_ids(found),
            "class_index": compute.index_in(found["class_id"], value_set=pa.array(classes, pa.string())),
            **{name: found[name] for name in ("class_id", "path", "offset", "bytes")},
        },
        schema=SAMPLES,
    )
    if repeats(found):
        raise LabelsimError(_twice(samples))
    return samples.sort_by([("class_index", "ascending"), ("sample_id", "ascending")]).combine_chunks()


def repeats(found: pa.Table) -> int:
    """How many samples have an id that another one has already."""
    return len(found) - int(compute.count_distinct(_sample_ids(found)).as_py())


def _sample_ids(found: pa.Table) -> pa.ChunkedArray:
    return compute.binary_join_element_wise(found["class_id"], found["name"], "/")


def _twice(samples: pa.Table) -> str:
    counts = samples["sample_id"].value_counts()
    twice = compute.filter(counts, compute.greater(counts.field("counts"), 1)).field("values")
    first = twice[0].as_py()
    rows = samples.filter(compute.equal(samples["sample_id"], first)).to_pylist()
    places = " and ".join(f"{row['path']} at byte {row['offset']:,}" for row in rows[:2])
    more = f", and {len(twice) - 1:,} more like it" if len(twice) > 1 else ""
    return (
        f"dataset.source: two images would be the same sample {first!r}: in {places}{more}. "
        "Take one of them away, or give it another name, so that none is lost unnoticed."
    )

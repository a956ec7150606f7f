"""Columns of a CSV or Parquet file that the user wrote."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
from pyarrow import csv, parquet

from labelsim.errors import LabelsimError, listed

__all__ = ["open_table", "read_columns", "read_pairs"]


def open_table(path: Path, what: str, *choices: tuple[str, ...]) -> tuple[tuple[str, ...], pa.Table]:
    """Read some columns, in CSV as text.

    Parameters
    ----------
    path : Path
        CSV file with a header, or Parquet file (`.parquet`).
    what : str
        Beginning of the error messages.
    *choices : tuple of str
        Names of the columns; of several choices the first that the file has.

    Returns
    -------
    names : tuple of str
        The columns that were read.
    table : pyarrow.Table
        With these columns.

    Raises
    ------
    LabelsimError
        If the file cannot be read, or lacks a column.
    """
    *others, last = choices[0]
    columns = f"{', '.join(others)} and {last}"
    try:
        if path.suffix.lower() == ".parquet":
            table = parquet.read_table(path)
        else:
            # without types 001 would be read as 1
            types = {column: pa.string() for names in choices for column in names}
            table = csv.read_csv(path, convert_options=csv.ConvertOptions(column_types=types))
    except (OSError, pa.ArrowException) as error:
        reason = (getattr(error, "strerror", None) or str(error)).splitlines()[0]
        raise LabelsimError(
            f"{what}: {path} cannot be read: {reason}. It must be a CSV or Parquet file with the columns {columns}."
        ) from error
    names = next((some for some in choices if all(table.column_names.count(name) == 1 for name in some)), None)
    if names is None:
        raise LabelsimError(
            f"{what}: {path} must have the columns {columns}, once each; its columns are: "
            f"{', '.join(table.column_names) or 'none'}"
        )
    return names, table.select(names)


def read_columns(path: Path, what: str, *choices: tuple[str, str]) -> tuple[tuple[str, str], list[tuple[str, str]]]:
    """Read two columns as text.

    Parameters
    ----------
    path, what, *choices
        As in `open_table`; two columns.

    Returns
    -------
    names : (str, str)
        The columns that were read.
    rows : list of (str, str)
        Their values; those of the second without spaces around them.

    Raises
    ------
    LabelsimError
        If the file cannot be read, or lacks a column or a value.
    """
    (first, second), table = open_table(path, what, *choices)
    columns = [[text or "" for text in table[name].cast(pa.string()).to_pylist()] for name in (first, second)]
    rows = [(text, value.strip()) for text, value in zip(*columns, strict=True)]
    if incomplete := next((i for i, (text, value) in enumerate(rows, start=1) if not text.strip() or not value), None):
        raise LabelsimError(f"{what}: row {incomplete} of {path} has no {first} or no {second}")
    return (first, second), rows


def read_pairs(path: Path, key: str, value: str, what: str) -> dict[str, str]:
    """Read the values of one column by those of another; as `read_columns`, but it is an error if a key repeats."""
    _, rows = read_columns(path, what, (key, value))
    if twice := [text for text, times in Counter(text for text, _ in rows).items() if times > 1]:
        raise LabelsimError(f"{what}: {path} has a {key} more than once: {listed(twice)}")
    return dict(rows)

"""Stores of similarity matrices that no stage computed."""

from pathlib import Path

import numpy as np

from labelsim.storage.zarr_store import Array, Writer

ROWS = 7  # in a chunk


def write(path: Path, ids: list[str], matrices: dict[str, np.ndarray], groups: tuple[str, ...] = ("all",)) -> None:
    """Write `similarity.zarr`: (group, class, neighbor) for methods with layer groups, (class, neighbor) for others."""
    labels = {"group_name": groups}
    labels |= {f"{side}_{label}": ids for side in ("class", "neighbor") for label in ("id", "name")}
    arrays = {
        name: Array(("group", "class", "neighbor")[-matrix.ndim :], matrix.shape, "float32", chunks(matrix))
        for name, matrix in matrices.items()
    }
    for name, values in labels.items():
        arrays[name] = Array((name.partition("_")[0],), (len(values),), "str", coordinate=True)
    writer = Writer(path, arrays, identity="")
    for name, matrix in matrices.items():
        for index in np.ndindex(*(-(-size // chunk) for size, chunk in zip(matrix.shape, chunks(matrix), strict=True))):
            part = [slice(i * n, (i + 1) * n) for i, n in zip(index, chunks(matrix), strict=True)]
            writer.put(name, index, matrix[tuple(part)].astype(np.float32))
    for name, values in labels.items():
        writer.put_whole(name, np.array(values, dtype=object))
    writer.commit({"excluded_channels": {}})


def chunks(matrix: np.ndarray) -> tuple[int, ...]:
    return (1, ROWS, matrix.shape[-1])[-matrix.ndim :]


def symmetric(random: np.random.Generator, classes: int, levels: int = 50) -> np.ndarray:
    """A random symmetric matrix with ties."""
    values = random.integers(0, levels, (classes, classes)) / levels
    return np.triu(values) + np.triu(values, 1).T

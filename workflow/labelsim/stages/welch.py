"""welch: the t statistic of every class and channel."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from labelsim.analysis.class_moments import of_classes
from labelsim.statistics.moments import Moments
from labelsim.statistics.welch import Welch, usable_channels, welch
from labelsim.storage.moment_store import CHANNELS_PER_CHUNK, channel_blocks, class_labels
from labelsim.storage.zarr_store import Array, Writer, blocks, load, open_store

__all__ = ["welch_statistics"]

logger = logging.getLogger(__name__)

_ROWS = 1024  # classes in a chunk
_VALUES = 2**22  # values of t at a time: 32 MiB, and about five times as much with df and intermediate results


def welch_statistics(moments: Path, output: Path) -> None:
    """Write `t` and `df` (class, channel), a block of channels at a time.

    Parameters
    ----------
    moments : Path
        As `merge` wrote them.
    output : Path
        The Zarr store to write. `usable` is true for channels whose t is finite for every class.
    """
    dataset = open_store(moments)
    classes, channels = dataset.sizes["class"], dataset.sizes["channel"]
    table = Array(
        ("class", "channel"),
        (classes, channels),
        "float64",
        (min(classes, _ROWS), min(channels, CHANNELS_PER_CHUNK)),
    )
    arrays = {
        "t": table,
        "df": table,
        "usable": Array(("channel",), (channels,), "bool"),
        "class_id": Array(("class",), (classes,), "str", coordinate=True),
        "class_name": Array(("class",), (classes,), "str", coordinate=True),
        "layer": Array(("channel",), (channels,), "str", coordinate=True),
        "layer_channel": Array(("channel",), (channels,), "int32", coordinate=True),
    }
    writer = Writer(output, arrays, identity=dataset.attrs["digest"])
    usable = np.zeros(channels, dtype=bool)
    parts = zip(channel_blocks(channels), of_classes(dataset, "gap"), strict=True)
    for j, (part, block) in enumerate(parts):
        result = _welch(block)
        for i, rows in enumerate(blocks(classes, _ROWS)):
            writer.put("t", (i, j), result.t[rows])
            writer.put("df", (i, j), result.df[rows])
        usable[part] = usable_channels(result.t)
    writer.put_whole("usable", usable)
    for name, values in class_labels(dataset).items():
        writer.put_whole(name, values)
    for name in ("layer", "layer_channel"):
        writer.put_whole(name, load(dataset, name))
    writer.commit({"excluded_channels": int((~usable).sum())})
    logger.info(
        "t of %s classes and %s channels; %s channels are left out because t is not finite for some class",
        f"{classes:,}",
        f"{channels:,}",
        f"{(~usable).sum():,}",
    )


def _welch(block: Moments) -> Welch:
    """Welch's test, some channels at a time, to limit the memory for intermediate results."""
    shape = block.mean.shape
    result = Welch(np.empty(shape), np.empty(shape))
    for part in blocks(shape[1], max(1, _VALUES // max(1, shape[0]))):
        result.t[:, part], result.df[:, part] = welch(
            Moments(block.count, np.ascontiguousarray(block.mean[:, part]), np.ascontiguousarray(block.m2[:, part]))
        )
    return result

"""welch: the t statistic of every class and channel."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from labelsim.moment_store import CHANNELS_PER_CHUNK, blocks, channel_blocks, class_labels, of_classes
from labelsim.statistics.welch import usable_channels, welch
from labelsim.store import Array, Writer, load, open_store

__all__ = ["welch_statistics"]

logger = logging.getLogger(__name__)

_ROWS = 1024  # classes in a chunk


def welch_statistics(moments: Path, output: Path) -> None:
    """Write `t` and `df` (class, channel), a block of channels at a time.

    Parameters
    ----------
    moments : Path
        As `merge` wrote them.
    output : Path
        The Zarr store to write. `usable` tells the channels whose t is finite for every class.
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
        result = welch(block)
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
        "t of %s classes and %s channels; %s channels left out because some class's t is not finite",
        f"{classes:,}",
        f"{channels:,}",
        f"{(~usable).sum():,}",
    )

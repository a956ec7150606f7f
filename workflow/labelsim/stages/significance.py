"""significance: the channels in which each class differs most from all other images."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyarrow import compute

from labelsim.analysis import significance as analysis
from labelsim.storage.json_files import read_document
from labelsim.storage.parquet import table_metadata, write_table
from labelsim.storage.zarr_store import open_store

__all__ = ["significance"]

logger = logging.getLogger(__name__)


def significance(
    welch: Path, moments: Path, network: Path, config: Mapping[str, Any], version: str, output: Path, by_class: Path
) -> None:
    """Write `channels.parquet` and `class_significance.parquet`.

    Parameters
    ----------
    welch, moments, network : Path
        As the stages of these names (`merge` for the moments) wrote them.
    config : mapping
        The whole configuration: `analysis.significance`, and metadata for the tables.
    version : str
        Of labelsim.
    output, by_class : Path
        The tables to write, with a row for each channel of a class, and for each class.
    """
    settings, moment_data = config["analysis"]["significance"], open_store(moments)
    metadata = table_metadata(config, read_document(network), moment_data.attrs, version) | {"significance": settings}
    channels, alternative = settings["channels"], settings["alternative"]
    table, classes = analysis.significance(open_store(welch), moment_data, channels, alternative)
    write_table(table, output, metadata)
    write_table(classes, by_class, metadata)
    if not moment_data.sizes["channel"]:
        logger.info("The network has no layers that are probed, hence no channels to test")
    elif (mean := compute.mean(compute.add(classes["up"], classes["down"])).as_py()) is not None:
        logger.info("%.0f channels of a class on average have q < %s", mean, analysis.THRESHOLD)

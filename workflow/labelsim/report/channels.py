"""Tables of channels and layers, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
from rich.markup import escape
from rich.table import Table

__all__ = ["draw_evidence", "draw_images", "draw_layers", "draw_significance"]


def draw_evidence(channels: pa.Table) -> Table:
    """Draw the channels that contribute most to the similarity of two classes.

    Parameters
    ----------
    channels : pyarrow.Table
        Rows of `evidence.parquet` for a pair of classes, at least one.
    """
    rows = channels.to_pylist()
    own, neighbor = (escape(rows[0][f"{side}_name"]) for side in ("class", "neighbor"))
    table = _table(f"Channels that make {own} and {neighbor} alike", "layer", "channel", "contribution", "share")
    for name in (own, neighbor):
        table.add_column(name, justify="right")
    for row in rows:
        values = (f"{row[f'{side}_value']:.3g}" for side in ("class", "neighbor"))
        table.add_row(str(row["channel_rank"]), *_channel(row), *_contribution(row), *values)
    return table


def draw_layers(layers: pa.Table) -> Table:
    """Draw the contribution of each layer to the similarity of two classes.

    Parameters
    ----------
    layers : pyarrow.Table
        Rows of `evidence_layers.parquet` for a pair of classes.
    """
    table = _table("By layer", "layer", "contribution", "share")
    for number, row in enumerate(layers.to_pylist(), start=1):
        table.add_row(str(number), escape(row["layer"]), *_contribution(row))
    return table


def draw_images(channels: pa.Table, images: pa.Table, names: Mapping[str, str]) -> Table:
    """Draw the images of each class with the highest activations of some channels.

    Parameters
    ----------
    channels : pyarrow.Table
        Rows of `evidence.parquet` for a pair of classes.
    images : pyarrow.Table
        As `labelsim.analysis.activations.highest_activations` returns it.
    names : mapping of str to str
        Names of the classes by id.
    """
    found: dict[tuple[str, int, str], list[str]] = {}
    for row in images.to_pylist():
        line = f"{escape(row['sample_id'])}  {row['activation']:.3g}"
        found.setdefault((row["layer"], row["layer_channel"], row["class_id"]), []).append(line)
    table = _table("Images with the highest activation (not relevance)", "layer", "channel")
    for name in names.values():
        table.add_column(escape(name))
    for number, row in enumerate(channels.to_pylist(), start=1):
        lists = ("\n".join(found.get((row["layer"], row["layer_channel"], id_), [])) for id_ in names)
        table.add_row(str(number), *_channel(row), *lists)
    return table


def draw_significance(channels: pa.Table, reference: str) -> Table:
    """Draw the channels in which a class differs most from its reference.

    Parameters
    ----------
    channels : pyarrow.Table
        Rows of `channels.parquet` for a class, at least one.
    reference : str
        What the class is compared with.
    """
    rows = channels.to_pylist()
    title = f"Channels in which {escape(rows[0]['class_name'])} differs most from {escape(reference)}"
    table = _table(title, "layer", "channel", "t", "log10 q", "effect size", "mean", f"mean of {escape(reference)}")
    for row in rows:
        values = (f"{row[name]:.3g}" for name in ("mean", "mean_rest"))
        numbers = f"{row['t']:+.1f}", f"{row['log10_q']:.1f}", f"{row['effect_size']:+.2f}"
        table.add_row(str(row["rank"]), *_channel(row), *numbers, *values)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table("", title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column == "layer" else "right")
    return table


def _channel(row: Mapping[str, Any]) -> Sequence[str]:
    return escape(row["layer"]), str(row["layer_channel"])


def _contribution(row: Mapping[str, Any]) -> Sequence[str]:
    share = "" if row["share"] is None or row["similarity"] <= 0 else f"{100 * row['share']:.1f} %"
    return f"{row['contribution']:+.4f}", share

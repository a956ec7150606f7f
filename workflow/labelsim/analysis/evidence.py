"""Evidence: the channels and layers that make two classes alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute

from labelsim.analysis.matrices import columns
from labelsim.errors import LabelsimError
from labelsim.methods import METHODS
from labelsim.network.layer_groups import layer_groups
from labelsim.statistics.evidence import Evidence, contributions
from labelsim.storage.moment_store import class_labels
from labelsim.storage.parquet import read_metadata
from labelsim.storage.zarr_store import load

if TYPE_CHECKING:
    import xarray

__all__ = ["between", "evidence"]


class _Channels:
    """The channels of a run: the layer of each, and the layers of each group.

    Attributes
    ----------
    layers : list of str
        Names of the layers.
    layer, layer_channel : (channel,) int
        Index in `layers`, and index in the layer.
    groups : list of str
        Names of the groups.
    members : (group, layer) bool
        The layers of each group.
    """

    def __init__(self, moments: xarray.Dataset, globs: Mapping[str, Sequence[str]]) -> None:
        names = load(moments, "layer").tolist()
        self.layers = list(dict.fromkeys(names))
        position = {name: i for i, name in enumerate(self.layers)}
        self.layer = np.array([position[name] for name in names], np.int32)
        self.layer_channel = load(moments, "layer_channel")
        groups = layer_groups(self.layers, globs)
        self.groups = list(groups)
        self.members = np.array([np.isin(self.layers, members) for members in groups.values()], bool)

    def tables(self, pairs: pa.Table, group: NDArray[np.int32], found: Evidence) -> tuple[pa.Table, pa.Table]:
        """Rows for the channels that were found, and for the layers of the pairs' groups."""
        names = pa.array(self.layers, pa.string())
        pair, place = np.nonzero(found.channel >= 0)
        channel = found.channel[pair, place]
        values = {
            "channel_rank": place.astype(np.int32) + 1,
            "layer": pa.DictionaryArray.from_arrays(self.layer[channel], names),
            "layer_channel": self.layer_channel[channel],
            **_contribution(found.contribution[pair, place], found.similarity[pair]),
            "class_value": found.first[pair, place],
            "neighbor_value": found.second[pair, place],
        }
        by_channel = _with(pairs.take(pa.array(pair)), values)
        pair, layer = np.nonzero(self.members[group])
        values = {
            "layer": pa.DictionaryArray.from_arrays(pa.array(layer, pa.int32()), names),
            **_contribution(found.by_layer[pair, layer], found.similarity[pair]),
        }
        return by_channel, _with(pairs.take(pa.array(pair)), values)


def evidence(neighbors: pa.Table, stores: Mapping[str, xarray.Dataset], channels: int) -> tuple[pa.Table, pa.Table]:
    """Find the channels of the largest contributions to the similarity of each neighbor, and contributions by layer.

    Parameters
    ----------
    neighbors : pyarrow.Table
        `neighbors.parquet` of a run.
    stores : mapping of str to xarray.Dataset
        Its merged moments (`moments`) and, if a method compares them, its t statistics (`welch`).
    channels : int
        Number of channels for each neighbor.

    Returns
    -------
    channels : pyarrow.Table
        The columns of `neighbors`, for its methods whose similarity is a sum over channels, and `channel_rank` (1 for
        the largest contribution), `layer`, `layer_channel`, `contribution`, `share` (of the similarity; null if that is
        0), and what the two classes are represented by (`class_value`, `neighbor_value`): t for welch, the mean
        activation for gap.
    layers : pyarrow.Table
        The same columns of `neighbors`, and `layer`, `contribution` and `share` for all layers of the group, in the
        order of the network. The contributions of a neighbor's layers add up to its similarity.

    Notes
    -----
    Channels that are left out of welch contribute nothing. Texts are dictionaries, as most of them repeat often.
    """
    settings = read_metadata(neighbors)["similarity"]
    known = _Channels(stores["moments"], settings["layer_groups"])
    encoded = _encoded(neighbors)
    nothing = np.empty((0, 2), np.int32)
    found = contributions([], nothing, nothing[:, 0], known.members[:0], known.layer, channels)
    parts = [known.tables(encoded.slice(0, 0), nothing[:, 0], found)]
    for method in sorted(name for name in settings["methods"] if METHODS[name].by_channel):
        pairs = encoded.filter(compute.equal(neighbors["method"], method)).combine_chunks()
        group = compute.index_in(pairs["group"].cast(pa.string()), pa.array(known.groups)).to_numpy()
        indices = np.column_stack([pairs[name].to_numpy() for name in ("class_index", "neighbor_index")])
        used = _used(known, method, stores)
        found = contributions(columns(stores, METHODS[method]), indices, group, used, known.layer, channels)
        parts.append(known.tables(pairs, group, found))
    by_channel, by_layer = (pa.concat_tables(tables) for tables in zip(*parts, strict=True))
    return by_channel, by_layer


def between(
    stores: Mapping[str, xarray.Dataset],
    method: str,
    group: str,
    globs: Mapping[str, Sequence[str]],
    own: int,
    neighbor: int,
    channels: int,
) -> tuple[pa.Table, pa.Table]:
    """Find the evidence for the similarity of any two classes, also if neither is among the neighbors of the other.

    Parameters
    ----------
    stores : mapping of str to xarray.Dataset
        As for `evidence`.
    method, group : str
        A method whose similarity is a sum over channels, and a layer group.
    globs : mapping of str to sequence of str
        The layer groups of the run: the configuration's `similarity.layer_groups`.
    own, neighbor : int
        Indices of the classes.
    channels : int
        Number of channels.

    Returns
    -------
    channels, layers : pyarrow.Table
        As `evidence` returns them, without `rank`.

    Raises
    ------
    LabelsimError
        If either class has no similarities under this method.
    """
    known = _Channels(stores["moments"], globs)
    number = known.groups.index(group)
    used = _used(known, method, stores)[[number]]
    vectors = np.hstack([block[[own, neighbor]] for block in columns(stores, METHODS[method])])
    row: dict[str, Any] = {"method": method, "group": group}
    labels = {name: values.tolist() for name, values in class_labels(stores["moments"]).items()}
    for side, index, vector in zip(("class", "neighbor"), (own, neighbor), vectors[:, used[0]], strict=True):
        id_, name = (labels[label][index] for label in ("class_id", "class_name"))
        if not np.isfinite(vector).all() or not vector.any():
            raise LabelsimError(
                f"{name} has no similarities under {method}; the notes in classes.parquet give the reason"
            )
        row |= {f"{side}_index": index, f"{side}_id": id_, f"{side}_name": name}
    only = np.zeros(1, np.int32)
    found = contributions([vectors], np.array([[0, 1]]), only, used, known.layer, channels)
    pair = pa.Table.from_pylist([row | {"similarity": float(found.similarity[0])}])
    return known.tables(pair, only + number, found)


def _used(known: _Channels, method: str, stores: Mapping[str, xarray.Dataset]) -> NDArray[np.bool_]:
    """Channels that a method compares in each group, (group, channel)."""
    used = known.members[:, known.layer]
    return used & load(stores["welch"], "usable") if METHODS[method].store == "welch" else used


def _contribution(contribution: NDArray[np.float64], similarity: NDArray[np.float64]) -> dict[str, pa.Array]:
    with np.errstate(divide="ignore", invalid="ignore"):
        share = contribution / similarity
    return {"contribution": pa.array(contribution), "share": pa.array(share, mask=~np.isfinite(share))}


def _encoded(table: pa.Table) -> pa.Table:
    """A table whose texts are dictionaries."""
    for i, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            table = table.set_column(i, field.name, table[i].combine_chunks().dictionary_encode())
    return table


def _with(table: pa.Table, columns: Mapping[str, pa.Array | NDArray[np.generic]]) -> pa.Table:
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return table

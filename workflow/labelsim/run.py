"""A run: where its files lie, and how to read them once they are there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelsim.errors import LabelsimError
from labelsim.storage.json_files import read_document

# The heavy libraries are imported where they are used: every job of the workflow imports this module.
if TYPE_CHECKING:
    import pyarrow as pa
    import xarray

__all__ = ["Paths", "Run", "committed", "figure_names", "open_run", "reported_warning"]


@dataclass(frozen=True)
class Paths:
    """Paths of a run's files, as text, for rules and stages alike.

    `shard` may be a shard's name or a Snakemake wildcard.

    Attributes
    ----------
    root : str
        The run's folder.
    """

    root: str

    manifest = property(lambda self: f"{self.root}/manifest.parquet")
    network = property(lambda self: f"{self.root}/network.json")
    preflight = property(lambda self: f"{self.root}/preflight.json")
    index = property(lambda self: f"{self.root}/shards/index.json")
    class_index = property(lambda self: f"{self.root}/shards/classes.json")
    class_ids = property(lambda self: f"{self.root}/shards/class_ids.json")
    moments = property(lambda self: f"{self.root}/moments.zarr")
    welch = property(lambda self: f"{self.root}/welch.zarr")
    similarity = property(lambda self: f"{self.root}/similarity.zarr")
    neighbors = property(lambda self: f"{self.root}/neighbors.parquet")
    classes = property(lambda self: f"{self.root}/classes.parquet")
    summary = property(lambda self: f"{self.root}/summary.json")

    def shard(self, shard: str) -> str:
        """Rows of the manifest that make one shard."""
        return f"{self.root}/shards/{shard}.parquet"

    def features(self, shard: str) -> str:
        """Features of a shard's images."""
        return f"{self.root}/features/{shard}.zarr"

    def rejects(self, shard: str) -> str:
        """Images of a shard that could not be used."""
        return f"{self.root}/features/{shard}.rejects.parquet"

    def stats(self, shard: str) -> str:
        """How the extraction of a shard went."""
        return f"{self.root}/features/{shard}.stats.json"

    def shard_moments(self, shard: str) -> str:
        """Moments of a shard's classes."""
        return f"{self.root}/moments/{shard}.zarr"

    def class_figure(self, name: str) -> str:
        """Figure of one class and its neighbours."""
        return f"{self.root}/report/neighbors/{name}.png"

    def heatmap(self, method: str) -> str:
        """Heat map of one similarity matrix."""
        return f"{self.root}/report/heatmaps/{method}.png"

    def log(self, stage: str) -> str:
        """Log of a stage's job."""
        return f"{self.root}/logs/{stage}.log"


def figure_names(labels: Sequence[str]) -> dict[str, str]:
    """File names, without ending, for what the user calls some classes.

    Parameters
    ----------
    labels : sequence of str
        Class names or ids, none twice.

    Returns
    -------
    dict of str to str
        File name to label. Letters and digits stay, the rest becomes hyphens; a number is appended
        where two labels would share a name.
    """
    names: dict[str, str] = {}
    for label in labels:
        words = "".join(c if c.isalnum() else " " for c in label).split()
        stem = "-".join(words) or "class"
        candidates = (stem if n == 1 else f"{stem}-{n}" for n in count(1))
        names[next(name for name in candidates if name not in names)] = label
    return names


def committed(store: str) -> str:
    """The file that stands for a Zarr store in a rule: its root metadata, written last."""
    return f"{store}/zarr.json"


def reported_warning(summary: Path) -> str | None:
    """What the summary of a run warns of; None if there is nothing, or no summary that can be read."""
    try:
        return read_document(summary)["warning"] if summary.exists() else None
    except LabelsimError:
        return None


class Run:
    """A finished run's tables (Arrow) and arrays (xarray).

    Parameters
    ----------
    folder : path
        The run's folder, ``results/<run>``.

    Examples
    --------
    >>> run = labelsim.open_run("results/demo")  # doctest: +SKIP
    >>> run.neighbors().to_pandas()  # doctest: +SKIP
    >>> run.similarity()["welch"].sel(group="all")  # doctest: +SKIP
    """

    def __init__(self, folder: str | Path) -> None:
        self.paths = Paths(str(folder))
        if not Path(folder).is_dir():
            raise LabelsimError(f"{folder} is not the folder of a run; expected one such as results/demo")

    def neighbors(self) -> pa.Table:
        """The top-k table: method, group, class, rank, neighbour and similarity."""
        return self._table(self.paths.neighbors)

    def classes(self) -> pa.Table:
        """One row a class: images used and rejected, top-1 and top-5 accuracy where known, notes."""
        return self._table(self.paths.classes)

    def summary(self) -> dict[str, Any]:
        """The run at a glance: images, network, accuracy beside the published one, and a warning if they do not fit."""
        return read_document(Path(self.paths.summary))

    def manifest(self) -> pa.Table:
        """One row an image."""
        return self._table(self.paths.manifest)

    def rejects(self) -> pa.Table:
        """Images that could not be used, with the reason, of all shards."""
        import pyarrow as pa

        tables = [self._table(self.paths.rejects(shard)) for shard in self.shards()]
        return pa.concat_tables(tables)

    def shards(self) -> list[str]:
        """Names of the shards, in the order of the manifest."""
        return [shard["name"] for shard in read_document(Path(self.paths.index))["shards"]]

    def network(self) -> dict[str, Any]:
        """The network: its layers, head and transform, and the digest of its weights."""
        return read_document(Path(self.paths.network))

    def features(self, shard: str) -> xarray.Dataset:
        """Gap, hidden state and logits of every image of a shard."""
        dataset = self._store(self.paths.features(shard))
        # Classes may have been added since the shard was extracted: its classes are known by their ids.
        from labelsim.dataset.classes import read_classes

        index = {id_: i for i, id_ in enumerate(read_classes(Path(self.paths.index).parent)[0])}
        current = [index[id_] for id_ in dataset["class_id"].values.tolist()]
        return dataset.assign_coords(class_index=("sample", current))

    def moments(self) -> xarray.Dataset:
        """Count, mean and sum of squared deviations, by fold and class."""
        return self._store(self.paths.moments)

    def welch(self) -> xarray.Dataset:
        """Welch's t and its degrees of freedom, by class and channel."""
        return self._store(self.paths.welch)

    def similarity(self) -> xarray.Dataset:
        """The similarity matrices; `group` selects the layer group by name."""
        dataset = self._store(self.paths.similarity)
        return dataset.set_index(group="group_name")

    def provenance(self) -> dict[str, Any]:
        """What the tables were made from: model, weights, dataset, version."""
        from labelsim.storage.parquet import read_metadata

        return read_metadata(self.neighbors())

    def _table(self, path: str) -> pa.Table:
        from labelsim.storage.parquet import read_table

        return read_table(Path(path))

    def _store(self, path: str) -> xarray.Dataset:
        from labelsim.storage.zarr_store import open_store

        return open_store(Path(path))


def open_run(folder: str | Path) -> Run:
    """Open the results of a run.

    Parameters
    ----------
    folder : path
        The run's folder, such as ``results/demo``.

    Returns
    -------
    Run
        Its methods read one table or store each, when called.

    Raises
    ------
    LabelsimError
        If there is no such folder; its methods raise it for what is missing or damaged.
    """
    return Run(folder)

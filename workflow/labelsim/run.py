"""A run: the paths of its files, and how to read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelsim.errors import LabelsimError
from labelsim.storage.json_files import read_document

# Heavy libraries are imported where they are used, as every job of the workflow imports this module.
if TYPE_CHECKING:
    import pyarrow as pa
    import xarray

__all__ = ["Paths", "Run", "committed", "figure_names", "open_run", "reported_warning"]


def _file(path: str) -> property:
    return property(lambda self: f"{self.root}/{path}")


def _files(path: str) -> Callable[[Paths, str], str]:
    return lambda self, name: f"{self.root}/{path.format(name)}"


@dataclass(frozen=True)
class Paths:
    """Paths of a run's files, as text, for rules and stages alike; some by the name of a shard, class or method.

    A name may be a Snakemake wildcard.

    Attributes
    ----------
    root : str
        The run's folder.
    """

    root: str

    manifest = _file("manifest.parquet")
    network = _file("network.json")
    preflight = _file("preflight.json")
    index = _file("shards/index.json")
    class_index = _file("shards/classes.json")
    class_ids = _file("shards/class_ids.json")
    shard = _files("shards/{}.parquet")  # rows of the manifest
    features = _files("features/{}.zarr")
    rejects = _files("features/{}.rejects.parquet")  # images that could not be used
    stats = _files("features/{}.stats.json")  # how the extraction went
    shard_moments = _files("moments/{}.zarr")
    moments = _file("moments.zarr")
    welch = _file("welch.zarr")
    conformal = _file("conformal.zarr")
    head = _file("head.zarr")
    similarity = _file("similarity.zarr")
    neighbors = _file("neighbors.parquet")
    classes = _file("classes.parquet")
    summary = _file("summary.json")
    analysis = _files("analysis/{}.parquet")
    class_figure = _files("report/neighbors/{}.png")
    heatmap = _files("report/heatmaps/{}.png")
    explorer = _file("report/explorer.html")
    log = _files("logs/{}.log")


def figure_names(labels: Sequence[str]) -> dict[str, str]:
    """File names, without extension, for some classes.

    Parameters
    ----------
    labels : sequence of str
        Unique class names or ids.

    Returns
    -------
    dict of str to str
        File name to label. Characters other than letters and digits become hyphens; a number is appended if two
        labels would have the same file name.
    """
    names: dict[str, str] = {}
    for label in labels:
        words = "".join(c if c.isalnum() else " " for c in label).split()
        stem = "-".join(words) or "class"
        candidates = (stem if n == 1 else f"{stem}-{n}" for n in count(1))
        names[next(name for name in candidates if name not in names)] = label
    return names


def committed(store: str) -> str:
    """The file that represents a Zarr store in a rule: its root metadata, which is written last."""
    return f"{store}/zarr.json"


def reported_warning(summary: Path) -> str | None:
    """The warning in the summary of a run; None if there is none, or if the summary cannot be read."""
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

    def stable_neighbors(self) -> pa.Table:
        """The top-k table with the columns of `stability.parquet`; without them if that is missing or outdated."""
        neighbors = self.neighbors()
        if not Path(self.paths.analysis("stability")).exists():
            return neighbors
        stability = self.analysis("stability")
        return stability if stability.select(neighbors.column_names).equals(neighbors) else neighbors

    def analysis(self, name: str) -> pa.Table:
        """A table of the analyses beyond the paper, such as `stability` or `channels`."""
        return self._table(self.paths.analysis(name))

    def classes(self) -> pa.Table:
        """One row a class: images used and rejected, top-1 and top-5 accuracy where known, notes."""
        return self._table(self.paths.classes)

    def summary(self) -> dict[str, Any]:
        """The run at a glance: images, network, accuracy, published accuracy, and a warning if they differ."""
        return read_document(Path(self.paths.summary))

    def manifest(self) -> pa.Table:
        """One row an image."""
        return self._table(self.paths.manifest)

    def rejects(self) -> pa.Table:
        """Images of all shards that could not be used, with the reason."""
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
        # Classes may have been added since the shard was extracted, which changes the indices.
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
        """The model, weights, dataset and versions that the tables were computed with."""
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
        Each method reads one table or store.

    Raises
    ------
    LabelsimError
        If the folder does not exist; the methods raise it for missing or damaged files.
    """
    return Run(folder)

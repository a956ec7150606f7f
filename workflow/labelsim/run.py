"""A run: the paths of its files, and how to read them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelsim.errors import LabelsimError, near
from labelsim.methods import ALIASES
from labelsim.storage.json_files import read_document

# Heavy libraries are imported where they are used, as every job of the workflow imports this module.
if TYPE_CHECKING:
    import pyarrow as pa
    import xarray

__all__ = ["Paths", "Run", "committed", "figure_names", "open_run", "reported_warning"]


_MADE_FROM = ("dataset_digest", "weights_digest", "probe", "precision")  # metadata of all tables
_CHECKS = ("digest", "files", "identity", "dataset_digest")  # attributes by which a store is verified


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
    >>> run.matrix("welch")  # doctest: +SKIP
    >>> run.features(class_id="n02799071")["hidden"].mean("sample")  # doctest: +SKIP
    """

    def __init__(self, folder: str | Path) -> None:
        self.paths = Paths(str(folder))
        if not Path(folder).is_dir():
            raise LabelsimError(f"{folder} is not the folder of a run; expected one such as results/demo")

    def __repr__(self) -> str:
        try:
            facts = self._facts()
        except LabelsimError as error:
            facts = {"error": str(error).partition("\n")[0]}
        return "\n".join([f"<labelsim run {self.paths.root}>", *(f"  {key:<9}{value}" for key, value in facts.items())])

    def _facts(self) -> dict[str, str]:
        """What the run is, as far as it is made."""
        from labelsim.jobs.progress import read_progress

        facts, progress = {}, read_progress(Path(self.paths.root))
        finished = progress.stage == "finished"
        summary = self.summary() if finished else None
        if Path(self.paths.network).exists():
            network = self.network()
            weights = f" ({summary['weights']})" if summary and summary["weights"] else ""
            channels = f"{sum(channels for _, channels in network['layers']):,} channels"
            facts["model"] = f"{network['model']}{weights}: {len(network['layers'])} layers, {channels}"
        if progress.shards:
            classes = read_document(Path(self.paths.index))["classes"]
            facts["dataset"] = f"{progress.images:,} images of {classes:,} classes, {len(progress.shards):,} shards"
            facts["dataset"] += f"; {progress.rejected:,} images could not be used" * bool(progress.rejected)
        if summary:
            facts["methods"] = ", ".join(summary["methods"])
            facts["groups"] = ", ".join(summary["groups"])
        done = f", {progress.done:,} images extracted" if progress.shards else ""
        facts["state"] = "finished" if finished else f"not finished: at the stage {progress.stage}{done}"
        return facts

    def neighbors(self) -> pa.Table:
        """The top-k table: method, group, class, rank, neighbour and similarity."""
        return self._table(self.paths.neighbors)

    def stable_neighbors(self) -> pa.Table:
        """The top-k table with the columns of `stability.parquet`; without them if that is missing or outdated."""
        neighbors = self.neighbors()
        if not Path(self.paths.analysis("stability")).exists():
            return neighbors
        stability = self._table(self.paths.analysis("stability"))
        return stability if stability.select(neighbors.column_names).equals(neighbors) else neighbors

    def analysis(self, name: str) -> pa.Table:
        """A table of the analyses beyond the paper, such as `stability` or `channels`.

        Raises
        ------
        LabelsimError
            If it is missing or damaged, or was made of other images or another network than the table of neighbors.
        """
        from labelsim.storage.parquet import read_metadata

        table, made = self._table(self.paths.analysis(name)), self.provenance()
        own = read_metadata(table)
        if any(own.get(key) != made.get(key) for key in _MADE_FROM):
            raise LabelsimError(
                f"{self.paths.analysis(name)} is outdated: it was made of other images or another network than "
                f"{self.paths.neighbors}. Switch its analysis on (in the section `analysis` of the configuration) and "
                "run the workflow again."
            )
        return table

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

    def features(self, shard: str | None = None, *, class_id: str | None = None) -> xarray.Dataset:
        """Gap, hidden state and logits of every image of a shard, or of a class.

        Parameters
        ----------
        shard : str, optional
            One of `shards()`; it is read when its values are used.
        class_id : str, optional
            Only the images of this class: of the shard or, without one, of all shards, in the order of the manifest.
            They are read into memory.

        Returns
        -------
        xarray.Dataset
            `gap` (sample, channel), `hidden` (sample, unit), `logits` (sample, output), with `sample_id`, `class_id`,
            `class_name` and `class_index` of each sample. Images that could not be used are NaN.

        Raises
        ------
        LabelsimError
            If neither is given, there is no such class, or a store is missing or damaged.
        """
        import numpy as np

        from labelsim.dataset.classes import read_classes

        ids, names = read_classes(Path(self.paths.index).parent)
        if class_id is not None and class_id not in ids:
            raise LabelsimError(f"class_id: there is no class {class_id!r} in {self.paths.root}{near(class_id, ids)}")
        if shard is None and class_id is None:
            raise LabelsimError("features: give a shard (one of run.shards()) or a class_id; all would be too large")
        shards = self.shards()
        if shard is not None and shard not in shards:
            raise LabelsimError(f"shard: there is no shard {shard!r} in {self.paths.root}{near(shard, shards)}")
        parts = [self._store(self.paths.features(name)) for name in (shards if shard is None else [shard])]
        if class_id is None:
            (dataset,) = parts
        else:
            import xarray

            parts = [part.isel(sample=np.flatnonzero(part["class_id"].values == class_id)) for part in parts]
            # The channels are the same in all shards.
            dataset = xarray.concat(
                [part.load() for part in parts],
                "sample",
                data_vars="minimal",
                coords="minimal",
                compat="override",
                combine_attrs="drop",
            )
        # Classes may have been added since the shard was extracted, which changes the indices.
        index = {id_: i for i, id_ in enumerate(ids)}
        current = np.array([index[id_] for id_ in dataset["class_id"].values.tolist()], dtype=np.int64)
        labels = np.array([names[i] for i in current], dtype=object)
        return dataset.assign_coords(class_index=("sample", current), class_name=("sample", labels))

    def moments(self) -> xarray.Dataset:
        """Count, mean and sum of squared deviations, by fold and class."""
        return self._store(self.paths.moments)

    def welch(self) -> xarray.Dataset:
        """Welch's t and its degrees of freedom, by class and channel."""
        return self._store(self.paths.welch)

    def similarity(self) -> xarray.Dataset:
        """The similarity matrices; `group` selects the layer group by name.

        Methods without layer groups, such as `hidden`, have no dimension `group`.
        """
        dataset = self._store(self.paths.similarity).set_index(group="group_name")
        for matrix in dataset.data_vars.values():
            if "group" not in matrix.dims:
                matrix.attrs["note"] = "no layer groups: leave .sel(group=...) out"
        return dataset

    def matrix(self, method: str, group: str = "all") -> xarray.DataArray:
        """One similarity matrix.

        Parameters
        ----------
        method : str
            One of the run's methods, such as `welch`; S, H and P are welch, hidden and gap.
        group : str
            A layer group.

        Returns
        -------
        xarray.DataArray
            (class, neighbor), NaN where a class has no similarity.

        Raises
        ------
        LabelsimError
            If the run has no such method or group, or the method has no layer groups.
        """
        dataset, method = self.similarity(), ALIASES.get(method, method)
        if method not in dataset.data_vars:
            raise LabelsimError(f"method: the run has no {method!r}{near(method, sorted(map(str, dataset.data_vars)))}")
        if "group" not in dataset[method].dims:
            if group != "all":
                raise LabelsimError(f"group: {method} has no layer groups; leave group out")
            return dataset[method]
        if group not in dataset["group"].values:
            known = near(group, dataset["group"].values.tolist())
            raise LabelsimError(f"group: there is no layer group {group!r}{known}")
        return dataset[method].sel(group=group)

    def provenance(self) -> dict[str, Any]:
        """The model, weights, dataset and versions that the tables were computed with."""
        from labelsim.storage.parquet import read_metadata

        return read_metadata(self.neighbors())

    def _table(self, path: str) -> pa.Table:
        from labelsim.storage.parquet import read_table

        return read_table(Path(path))

    def _store(self, path: str) -> xarray.Dataset:
        from labelsim.storage.zarr_store import open_store

        dataset = open_store(Path(path))
        dataset.attrs = {key: value for key, value in dataset.attrs.items() if key not in _CHECKS}
        return dataset


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

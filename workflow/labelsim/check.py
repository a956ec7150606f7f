"""check: every file of a run is read, and held against what was written down about it and what it was made from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from labelsim.dataset.shards import shard_name
from labelsim.errors import LabelsimError
from labelsim.network.outputs import identifying
from labelsim.run import Paths, committed
from labelsim.storage.damage import command
from labelsim.storage.digests import canonical, digest
from labelsim.storage.json_files import read_document
from labelsim.storage.moment_store import merged_identity
from labelsim.storage.parquet import read_metadata, read_table
from labelsim.storage.zarr_store import attributes, digests, load, open_store, verify

__all__ = ["Findings", "check"]

_T = TypeVar("_T")
_Step = Callable[[], None]


@dataclass
class Findings:
    """What a check found.

    Attributes
    ----------
    damaged : list of (Path, str)
        What has to be made anew (a file, or a store's folder), and a line that says why; a store may stand there for
        several of its files.
    missing : list of Path
        What is not made yet.
    outdated : list of (Path, str)
        What was made from something else than what lies there now, and a line that says so.
    extracted, averaged, shards : int
        Shards that have features, shards that have moments, and all shards.
    images, files, size : int
        What was verified; `size` in bytes.
    former, former_size : int
        Files, and their bytes, of shards that belong to the run no more.
    """

    damaged: list[tuple[Path, str]] = field(default_factory=list)
    missing: list[Path] = field(default_factory=list)
    outdated: list[tuple[Path, str]] = field(default_factory=list)
    extracted: int = 0
    averaged: int = 0
    shards: int = 0
    images: int = 0
    files: int = 0
    size: int = 0
    former: int = 0
    former_size: int = 0

    @property
    def whole(self) -> bool:
        """Whether everything is there, whole, and made from what is there."""
        return not (self.damaged or self.missing or self.outdated)

    def lines(self) -> list[str]:
        """The findings for people: a line a problem, and what to do."""
        found = [line for _, line in (*self.damaged, *self.outdated)]
        if self.damaged and not self.shards:
            found.append("Without the index of the shards no more can be said.")
        if self.damaged:
            found += ["", "Make anew what is damaged or missing, where the workflow was run:"]
            found += ["  " + command(path for path, _ in self.damaged)]
        if self.missing or self.outdated:
            found += ["", *self._unfinished()]
        verified = f"{self.files:,} files, {_megabytes(self.size)}"
        if self.whole:
            found.append(f"All is well: {self.shards:,} shards of {self.images:,} images; {verified} verified.")
        else:
            found += ["", f"Then check again. Whole are {verified}."]
        if self.former:
            size = _megabytes(self.former_size)
            found.append(
                f"{self.former:,} files of former shards lie behind ({size}). Nothing reads them: delete them."
            )
        return found

    def _unfinished(self) -> list[str]:
        """What is missing or outdated, and what to do about it."""
        found = ["The run is not finished."]
        if self.shards:
            of = f"of {self.shards:,} shards"
            found = [f"The run is not finished: {self.extracted:,} {of} extracted, {self.averaged:,} {of} averaged."]
        others = [str(path) for path in self.missing if path.parent.name not in ("features", "moments")]
        if others:
            found.append(f"Not there yet: {', '.join(others)}.")
        found += ["Run the workflow to its end:", "  snakemake [your options]"]
        if self.outdated:
            found += ["If that finds nothing to do:", "  " + command(path for path, _ in self.outdated)]
        return found


def check(folder: Path, watch: Callable[[Sequence[_Step]], Iterable[_Step]] = iter) -> Findings:
    """Verify a run, finished or not.

    Parameters
    ----------
    folder : Path
        The run's folder, such as ``results/demo``.
    watch : callable, optional
        Is given the steps of the check, and hands them on one by one: a progress bar.

    Returns
    -------
    Findings
        Empty but for its numbers where all is well. No more than a chunk, or a table, is in memory at a time.

    Raises
    ------
    LabelsimError
        If the folder is not that of a run.
    """
    paths = Paths(str(folder))
    if not any(Path(path).exists() for path in (paths.manifest, paths.network, paths.index, f"{folder}/features")):
        raise LabelsimError(f"{folder} is not the folder of a run; expected one such as results/demo")
    checking = _Check(paths)
    for step in watch(checking.steps()):
        step()
    return checking.findings


class _Check:
    """The steps of a check, in the order that data flows; what is missing is damage if its successor is there."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self.findings = Findings()
        root = Path(paths.root)
        stores = [paths.moments, paths.welch, paths.similarity]
        # What is there of the stages after extract, the last first.
        tables = any(Path(path).exists() for path in (paths.neighbors, paths.classes, paths.summary))
        later = [Path(committed(store)).exists() for store in stores]
        self._has_successor = {store: tables or any(later[i + 1 :]) for i, store in enumerate(stores)}
        begun = tables or any(later) or any(root.glob("features/*.zarr/zarr.json"))
        self._index = self._document(paths.index, begun) or {}
        self._network = self._document(paths.network, begun)
        self._begun = begun or Path(paths.index).exists()
        # Whether the moments of all classes were made from these shards, so that every one of them has been there.
        self._merged = bool(self._index) and self._attribute(paths.moments, "dataset_digest") == self._index["digest"]

    def steps(self) -> list[_Step]:
        """The check in steps; without the index there is but one."""
        shards = self._index.get("shards", [])
        self.findings.shards = len(shards)
        if not shards:
            return [self._manifest]
        return [
            self._manifest,
            *(partial(self._shard, shard["name"]) for shard in shards),
            self._stores,
            self._tables,
            self._figures,
            self._leftovers,
        ]

    def _manifest(self) -> None:
        """The manifest is that of which the shards were cut, and the classes are those of the index."""
        manifest = self._table(self._paths.manifest, self._begun)
        if not self._index:
            return
        if manifest is not None:
            self.findings.images = len(manifest)
            ends = list(accumulate(shard["images"] for shard in self._index["shards"]))
            spans = zip([0, *ends], ends, strict=False)
            names = [shard_name(manifest.slice(start, stop - start)) for start, stop in spans]
            if ends[-1] != len(manifest) or names != [shard["name"] for shard in self._index["shards"]]:
                self._outdated(self._paths.index, f"was not cut from {self._paths.manifest} as it is there")
        classes = self._document(self._paths.class_index, True)
        stands_for = self._document(self._paths.class_ids, True)
        if classes is None or stands_for is None:
            return
        ids, names = ([entry[key] for entry in classes["classes"]] for key in ("id", "name"))
        if digest(canonical(ids)) != stands_for["digest"] or digest(canonical(names)) != self._index["names"]:
            self._outdated(self._paths.class_index, f"does not hold the classes of {self._paths.index}")

    def _shard(self, name: str) -> None:
        """A shard's table, features, rejects and moments, each against the one before."""
        paths = self._paths
        rows = self._table(paths.shard(name), True)
        if rows is not None and shard_name(rows) != name:
            self._damaged(paths.shard(name), "does not hold the rows that it is named after")
        moments = Path(committed(paths.shard_moments(name))).exists()
        whole = self._store(paths.features(name), moments or self._merged)
        made = Path(committed(paths.features(name))).exists()
        self.findings.extracted += made
        self.findings.averaged += moments
        rejects = self._table(paths.rejects(name), made) if made else None
        if made:
            self._document(paths.stats(name), made)
        if whole:
            self._features(name, rows, rejects)
        if self._store(paths.shard_moments(name), self._merged):
            self._made_from(paths.shard_moments(name), paths.features(name))

    def _features(self, name: str, rows: Any, rejects: Any) -> None:
        """Features are of a shard's images; those of rejected images, and no others, are empty."""
        path = self._paths.features(name)
        dataset = open_store(Path(path))
        made_by = json.loads(dataset.attrs["identity"])["network"]
        if self._network is not None and made_by != identifying(self._network):
            self._outdated(path, f"was made by another network than that of {self._paths.network}")
        ids = load(dataset, "sample_id").tolist()
        if rows is not None and ids != rows["sample_id"].to_pylist():
            self._damaged(path, f"is not of the images of {self._paths.shard(name)}")
        chunk = dataset["hidden"].encoding["chunks"][0]
        parts = [slice(start, start + chunk) for start in range(0, len(ids), chunk)]
        empty = np.concatenate([np.isnan(load(dataset, "hidden", sample=part)).any(axis=1) for part in parts])
        if empty.sum() != dataset.attrs["rejected"]:
            rejected = dataset.attrs["rejected"]
            self._damaged(path, f"has {empty.sum():,} empty rows, but {rejected:,} images were rejected")
        elif rejects is not None and rejects["sample_id"].to_pylist() != [ids[i] for i in np.flatnonzero(empty)]:
            self._damaged(self._paths.rejects(name), f"does not list the images whose rows are empty in {path}")

    def _stores(self) -> None:
        """The stores of all classes, each against the one before."""
        paths = self._paths
        if self._store(paths.moments, self._has_successor[paths.moments]):
            parts = [self._attribute(paths.shard_moments(shard["name"]), "digest") for shard in self._index["shards"]]
            if not self._merged:
                self._outdated(paths.moments, "was made from the images before the last scan")
            elif None not in parts and self._attribute(paths.moments, "identity") != merged_identity(
                self._index["digest"], parts
            ):
                self._outdated(paths.moments, "was made from other moments of the shards than those that are there")
        # Without the method welch, the similarities are made from the moments, and no rule asks for t.
        files = self._attribute(paths.similarity, "files")
        with_t = files is None or "welch/zarr.json" in files
        sources = {paths.welch: paths.moments, paths.similarity: paths.welch if with_t else paths.moments}
        for store, source in sources.items():
            wanted = store != paths.welch or with_t or Path(committed(store)).exists()
            if wanted and self._store(store, self._has_successor[store]):
                self._made_from(store, source)

    def _tables(self) -> None:
        """The tables and the summary are of the same images and weights as what they were made from."""
        for path in (self._paths.neighbors, self._paths.classes):
            table = self._table(path, False)
            if table is None:
                continue
            told = read_metadata(table)
            self._told(path, told)
            for method in told["similarity"]["methods"]:
                heatmap = Path(self._paths.heatmap(method))
                if path == self._paths.neighbors and not heatmap.exists():
                    self.findings.missing.append(heatmap)

        summary = self._document(self._paths.summary, False)
        if summary is not None:
            self._told(self._paths.summary, summary)

    def _told(self, path: str, told: Mapping[str, Any]) -> None:
        """Note a table or summary that tells of other images or weights than those of the run."""
        dataset = self._attribute(self._paths.moments, "dataset_digest")
        weights = None if self._network is None else self._network["weights_digest"]
        if dataset not in (None, told["dataset_digest"]) or weights not in (None, told["weights_digest"]):
            self._outdated(path, "was made from other images, or with other weights")

    def _figures(self) -> None:
        """The pictures are whole: PNG has a checksum in every part."""
        for path in sorted(Path(self._paths.root, "report").rglob("*.png")):
            try:
                with Image.open(path) as image:
                    image.verify()
            except Exception as error:  # Pillow raises many kinds
                self._damaged(path, f"is damaged: {error}")
            else:
                self._count(path)

    def _leftovers(self) -> None:
        """Files of shards that the index does not name."""
        names = {shard["name"] for shard in self._index["shards"]} | {"index", "classes", "class_ids"}
        for folder in ("shards", "features", "moments"):
            for path in Path(self._paths.root, folder).glob("*"):
                if path.name.lstrip(".").split(".")[0] not in names:
                    files = [file for file in (path, *path.rglob("*")) if file.is_file()]
                    self.findings.former += len(files)
                    self.findings.former_size += sum(file.stat().st_size for file in files)

    def _document(self, path: str, has_successor: bool) -> dict[str, Any] | None:
        return self._read(path, read_document, has_successor)

    def _table(self, path: str, has_successor: bool) -> Any:
        return self._read(path, read_table, has_successor)

    def _read(self, path: str, read: Callable[[Path], _T], has_successor: bool) -> _T | None:
        """A file's contents; None where it is missing or damaged, which is noted."""
        file = Path(path)
        if not file.exists():
            self._absent(path, has_successor)
            return None
        try:
            contents = read(file)
        except LabelsimError as error:
            self.findings.damaged.append((file, _first_line(error)))
            return None
        self._count(file)
        return contents

    def _store(self, path: str, has_successor: bool) -> bool:
        """Whether a store is there and whole; what is not is noted."""
        if not Path(committed(path)).exists():
            self._absent(committed(path), has_successor)
            return False
        try:
            found = verify(Path(path))
            files = digests(Path(path))
        except LabelsimError as error:
            found = [_first_line(error)]
        self.findings.damaged += [(Path(path), line) for line in found]
        if found:
            return False
        for name in ("zarr.json", *files):
            self._count(Path(path, name))
        return True

    def _made_from(self, path: str, source: str) -> None:
        """Note a store that was made from another store than the one that is there."""
        source_digest = self._attribute(source, "digest")
        if source_digest not in (None, self._attribute(path, "identity")):
            self._outdated(path, f"was not made from {source} as it is there")

    def _attribute(self, store: str, name: str) -> Any:
        """An attribute of a store; None if the store is not there, or damaged."""
        try:
            return attributes(Path(store)).get(name)
        except LabelsimError:
            return None

    def _absent(self, path: str, has_successor: bool) -> None:
        if has_successor:
            self._damaged(path, "is missing")
        else:
            file = Path(path)
            self.findings.missing.append(file.parent if file.name == "zarr.json" else file)

    def _damaged(self, path: str | Path, what: str) -> None:
        self.findings.damaged.append((Path(path), f"{path} {what}"))

    def _outdated(self, path: str, what: str) -> None:
        self.findings.outdated.append((Path(path), f"{path} {what}"))

    def _count(self, path: Path) -> None:
        self.findings.files += 1
        self.findings.size += path.stat().st_size


def _first_line(error: LabelsimError) -> str:
    return str(error).partition("\n")[0]


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"

"""check: compare every file of a run with its recorded checksums, and with its inputs."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
from PIL import Image

from labelsim.dataset.shards import shard_name
from labelsim.errors import LabelsimError
from labelsim.jobs.former import SHARD, files_in, former, is_former
from labelsim.network.outputs import identifying
from labelsim.report.explorer.page import verify_page
from labelsim.run import Paths, committed
from labelsim.storage.damage import command, unreadable
from labelsim.storage.digests import file_digest
from labelsim.storage.json_files import read_document
from labelsim.storage.moment_store import merged_identity
from labelsim.storage.parquet import read_metadata, read_table
from labelsim.storage.zarr_store import attributes, digests, verify

__all__ = ["Findings", "check"]

_OTHER = {
    "dataset_digest": "another dataset",
    "weights_digest": "other weights",
    "network": "another network",
    "neighbors_digest": "other neighbors",
}
# Tables of an analysis that are made together: where one of them is there, the other is missing.
_TOGETHER = (
    ("stability", "class_stability"),
    ("evidence", "evidence_layers"),
    ("channels", "class_significance"),
    ("examples", "evidence_images"),
    ("wordnet", "wordnet_pairs"),
    ("map", "tree"),
)


@dataclass
class Findings:
    """Result of a check.

    Attributes
    ----------
    damaged, outdated : list of (Path, str)
        A file or a store's folder, and a line about the problem; a store has a line for each damaged file.
    missing : list of Path
        Files that do not exist, although files made from them do.
    unmade : list of str
        Files that the workflow has not made yet.
    shards, images, files, size : int
        Numbers of shards and images, of intact files, and of their bytes.
    former : list of Path
        Files of outdated shards.
    """

    damaged: list[tuple[Path, str]] = field(default_factory=list)
    outdated: list[tuple[Path, str]] = field(default_factory=list)
    missing: list[Path] = field(default_factory=list)
    unmade: list[str] = field(default_factory=list)
    shards: int = 0
    images: int = 0
    files: int = 0
    size: int = 0
    former: list[Path] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the run is finished, and all files are intact and up to date."""
        return not (self.damaged or self.missing or self.outdated or self.unmade)

    def _of_analyses(self) -> bool:
        return any(path.parent.name == "analysis" for path, _ in self.outdated)

    def lines(self) -> list[str]:
        """A line for each problem, and how to fix it."""
        found = [line for _, line in self.damaged]
        found += [f"{path} is missing" for path in self.missing]
        found += [line for _, line in self.outdated]
        if self.damaged or self.missing:
            found += ["", "Make these files again, in the folder where you ran the workflow:"]
            found += ["  " + command([*(path for path, _ in self.damaged), *self.missing])]
        if self.unmade:
            found += ["", f"The run is not finished. Not made yet: {', '.join(self.unmade)}."]
        if self.outdated or self.unmade:
            found += ["", "Run the workflow to the end:", "  snakemake [your options]"]
        if self.outdated:
            found += ['If it says "Nothing to be done":', "  " + command(path for path, _ in self.outdated)]
            found += ["Delete outdated tables of analyses that are switched off."] * self._of_analyses()
        intact = f"{self.files:,} files ({_megabytes(self.size)}) are intact"
        if self.ok:
            found.append(f"All {intact} and up to date: {self.shards:,} shards, {self.images:,} images.")
        else:
            found += ["", f"Then check again. {intact}."]
        if self.former:
            size = _megabytes(sum(path.stat().st_size for path in self.former))
            found.append(
                f"{len(self.former):,} files ({size}) belong to outdated shards; `labelsim clean` deletes them."
            )
        return found


def check(folder: Path, watch: Callable[[Sequence[Path]], Iterable[Path]] = iter) -> Findings:
    """Verify all stores, tables, JSON files, figures and the explorer page of a run, finished or not.

    Parameters
    ----------
    folder : Path
        The run's folder, such as ``results/demo``.
    watch : callable, optional
        Iterates over the files and stores to verify, as a progress bar does.

    Returns
    -------
    Findings

    Raises
    ------
    LabelsimError
        If the folder is not that of a run, or cannot be read.
    """
    paths = Paths(str(folder))
    if not any(Path(path).exists() for path in (paths.manifest, paths.network, paths.index, f"{folder}/features")):
        raise LabelsimError(f"{folder} is not the folder of a run; expected one such as results/demo")
    run = _Check(folder, paths)
    for path in watch([path for path in _outputs(folder) if not run.is_former(path)]):
        run.verify(path)
    run.find_missing()
    run.compare()
    if run.findings.shards:
        run.findings.former = [file for path in former(folder) for file in files_in(path)]
    return run.findings


class _Check:
    """The records of a run, and the findings so far."""

    def __init__(self, folder: Path, paths: Paths) -> None:
        self._folder = folder
        self._paths = paths
        self._records: dict[Path, Mapping[str, Any]] = {}  # attributes of stores, metadata of tables, JSON contents
        try:
            self._index = read_document(Path(paths.index))
        except LabelsimError:  # reported when it is verified
            self._index = {"digest": None, "shards": []}
        self._shards = [shard["name"] for shard in self._index["shards"]]
        self.findings = Findings(shards=len(self._shards))

    def is_former(self, path: Path) -> bool:
        """Whether a file belongs to a shard that the index does not name."""
        return bool(self._shards) and is_former("".join(path.relative_to(self._folder).parts[1:2]), self._shards)

    def verify(self, path: Path) -> None:
        """Find damage in a file or store, and keep its record."""
        files = [path]
        try:
            if path.suffix == ".zarr":
                self._records[path] = attributes(path)
                files = [path / name for name in ("zarr.json", *digests(path))]
                damage = verify(path)
            elif path.suffix == ".html":
                files, damage = verify_page(path), []
            else:
                self._records[path], damage = self._read(path), []
        except LabelsimError as error:
            damage = [str(error).partition("\n")[0]]
        self.findings.damaged += [(path, line) for line in damage]
        if not damage:
            self.findings.files += len(files)
            self.findings.size += sum(file.stat().st_size for file in files)

    def _read(self, path: Path) -> Mapping[str, Any]:
        if path.suffix == ".json":
            return read_document(path)
        if path.suffix == ".parquet":
            table = read_table(path)
            if path == Path(self._paths.manifest):
                self._compare_with_index(table)
            if path == Path(self._paths.shard(path.stem)) and shard_name(table) != path.stem:
                raise LabelsimError(f"{path} does not contain the rows of the shard {path.stem}")
            return read_metadata(table)
        try:
            with Image.open(path) as image:
                image.verify()  # PNG has checksums
        except Exception as error:  # Pillow raises many kinds
            raise LabelsimError(f"{path} is damaged: {error}") from None
        return {}

    def _compare_with_index(self, manifest: pa.Table) -> None:
        self.findings.images = len(manifest)
        sizes = [shard["images"] for shard in self._index["shards"]]
        parts = [manifest.slice(end - size, size) for end, size in zip(accumulate(sizes), sizes, strict=True)]
        if self._shards and (sum(sizes) != len(manifest) or list(map(shard_name, parts)) != self._shards):
            self._outdated(Path(self._paths.index), f"was made from another {self._paths.manifest}")

    def find_missing(self) -> None:
        """Find files that do not exist: they are missing if a later output exists, else not made yet."""
        paths, shards = self._paths, self._shards
        of_shards = (paths.features, paths.rejects, paths.stats, paths.shard_moments)
        tables = [paths.neighbors, paths.classes, paths.summary]
        together = [[paths.analysis(name) for name in names] for names in _TOGETHER]
        # Outputs with the digest of this dataset were made from all shards.
        merged = any(record.get("dataset_digest", "") == self._index["digest"] for record in self._records.values())
        unmade: Counter[str] = Counter()
        for group, needed in (
            ([paths.manifest, paths.class_index, paths.class_ids, *map(paths.shard, shards)], _exists(paths.index)),
            ([paths.index, paths.network], any((self._folder / "features").glob("*.zarr/zarr.json"))),
            ([find(shard) for find in of_shards for shard in shards], merged),
            ([paths.moments, paths.similarity], any(map(_exists, tables))),
            (tables, False),
            *((made, True) for made in together if any(map(_exists, made))),
        ):
            absent = [Path(path) for path in group if not _exists(path)]
            if needed:
                self.findings.missing += absent
            else:
                unmade.update(str(path.with_name(SHARD.sub("*", path.name))) for path in absent)
        self.findings.unmade = [f"{name} ({n} of {len(shards)})" if "*" in name else name for name, n in unmade.items()]

    def compare(self) -> None:
        """Find outputs of another dataset, network or store than the existing ones."""
        now = {"dataset_digest": self._index["digest"]}
        if (network := self._records.get(Path(self._paths.network))) is not None:
            now |= {"weights_digest": network["weights_digest"], "network": identifying(network)}
        if Path(self._paths.neighbors) in self._records:
            now["neighbors_digest"] = file_digest(Path(self._paths.neighbors))
        stores = {path: record for path, record in self._records.items() if path.suffix == ".zarr"}
        parts = [stores.get(Path(self._paths.shard_moments(shard)), {}).get("digest", "") for shard in self._shards]
        sources = {record["digest"] for record in stores.values()} | {merged_identity(self._index["digest"], parts)}
        known = not self.findings.damaged + self.findings.missing  # whether the digests of all stores are known
        for path, record in self._records.items():
            made_from = {key: record.get(key) for key in ("dataset_digest", "weights_digest", "neighbors_digest")}
            identity = record.get("identity", "")
            if identity.startswith("{"):  # of features, which are not made from a store
                made_from |= json.loads(identity)
            elif known and identity and identity not in sources:
                self._outdated(path, "was made from a store that has changed")
            for key, value in now.items():
                if value is not None and made_from.get(key) not in (None, value):
                    self._outdated(path, f"was made from {_OTHER[key]}")
            if made_from.get("shard", path.stem) != path.stem:
                self.findings.damaged.append((path, f"{path} belongs to shard {made_from['shard']}"))

    def _outdated(self, path: Path, what: str) -> None:
        if path not in dict(self.findings.outdated):
            self.findings.outdated.append((path, f"{path} {what}"))


def _outputs(folder: Path) -> Iterator[Path]:
    """Finished stores, tables, JSON files, figures and the explorer page in a run's folder."""
    for parent, folders, files in os.walk(folder, onerror=_raise):
        stores = [name for name in folders if name.endswith(".zarr")]
        folders[:] = sorted(set(folders) - set(stores))
        yield from (path for name in sorted(stores) if _exists(path := Path(parent, name)))
        endings = (".parquet", ".json", ".png", "explorer.html")
        yield from (Path(parent, name) for name in sorted(files) if name.endswith(endings))


def _raise(error: OSError) -> NoReturn:
    raise unreadable(Path(error.filename), error)


def _exists(path: str | Path) -> bool:
    return Path(committed(str(path)) if str(path).endswith(".zarr") else path).exists()


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"

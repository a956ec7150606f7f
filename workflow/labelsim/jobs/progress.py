"""How far a run is, read from the files that its jobs write, while they run anywhere. Nothing is written or locked."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

from labelsim.errors import LabelsimError
from labelsim.run import Paths, committed
from labelsim.storage.digests import digest
from labelsim.storage.json_files import read_document

__all__ = ["Progress", "ShardProgress", "State", "read_progress"]

State = Literal["finished", "running", "silent", "waiting"]
_RECENT = 50  # chunks of a job that its rate is taken over
_SILENT = 120.0  # seconds without a chunk that are never unusual


@dataclass(frozen=True)
class ShardProgress:
    """How far the extraction of a shard is.

    Attributes
    ----------
    name : str
        The shard.
    images, done, rejected : int
        Numbers of its images, of those that are recorded, and of those of them that cannot be used.
    state : str
        `waiting`: not started. `silent`: started, but for unusually long nothing was recorded.
    idle : float
        Seconds since the job started or recorded a chunk, while the shard is not finished.
    rate : float
        Images that a running job recorded each second, recently.
    seconds : mapping of str to float
        Seconds that the job waited so far, by what it waited for.
    device : str
        "cpu" or the name of the GPU; empty if not known yet.
    """

    name: str
    images: int
    done: int = 0
    rejected: int = 0
    state: State = "waiting"
    idle: float = 0.0
    rate: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)
    device: str = ""


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes
    ----------
    stage : str
        The first stage whose results are not all there; "finished" if the tables are.
    made : list of str
        What the run has made, in words.
    shards : list of ShardProgress
        In the order of the index; empty if the images are not cut into shards yet.
    """

    stage: str
    made: list[str]
    shards: list[ShardProgress]

    def having(self, *states: State) -> list[ShardProgress]:
        """Shards in one of some states."""
        return [shard for shard in self.shards if shard.state in states]

    @property
    def images(self) -> int:
        """Number of images of all shards."""
        return sum(shard.images for shard in self.shards)

    @property
    def done(self) -> int:
        """Number of images that are recorded."""
        return sum(shard.done for shard in self.shards)

    @property
    def rejected(self) -> int:
        """Number of images that cannot be used, so far."""
        return sum(shard.rejected for shard in self.shards)

    @property
    def rate(self) -> float:
        """Images that all running jobs record each second."""
        return sum(shard.rate for shard in self.shards)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until all images are done at this rate; None if no job is known to run."""
        return (self.images - self.done) / self.rate if self.rate else None

    @property
    def seconds(self) -> Mapping[str, float]:
        """Seconds that the running jobs waited, by what for; of the finished ones if none is running."""
        # How long a running job took to start says little: it may have started just now.
        running = [{**shard.seconds, "starting": 0.0} for shard in self.having("running") if shard.seconds]
        total: Counter[str] = Counter()
        for seconds in running or [dict(shard.seconds) for shard in self.having("finished")]:
            total.update(seconds)
        return total

    @property
    def device(self) -> str:
        """What the extraction computes on."""
        shards = [*self.having("running"), *self.having("finished")]
        return next((shard.device for shard in shards if shard.device), "")


def read_progress(folder: Path, now: float | None = None) -> Progress:
    """Read how far a run is.

    Parameters
    ----------
    folder : Path
        The run's folder, such as ``results/demo``.
    now : float, optional
        The Unix time to count from; the present one.

    Returns
    -------
    Progress
        Jobs that write meanwhile are not disturbed; what they deleted counts as not made.

    Raises
    ------
    LabelsimError
        If the folder is not that of a run, or a JSON file of it is damaged.
    """
    paths = Paths(str(folder))
    if not any(map(_exists, (paths.manifest, paths.network, paths.index, f"{folder}/logs"))):
        raise LabelsimError(f"{folder} is not the folder of a run; expected one such as results/demo")
    now = time.time() if now is None else now
    index = _document(paths.index)
    shards = [_shard(paths, shard["name"], shard["images"], now) for shard in index["shards"]] if index else []
    moments = sum(_exists(committed(paths.shard_moments(shard.name))) for shard in shards if shard.state == "finished")
    there = {  # what the stages make, in their order
        "scan": _exists(paths.manifest),
        "shard": index is not None,
        "network": _exists(paths.network),
        "preflight": _exists(paths.preflight),
        "extract": all(shard.state == "finished" for shard in shards),
        "moments": moments == len(shards),
        "merge": _exists(committed(paths.moments)),
        "welch": _exists(committed(paths.welch)),
        "similarity": _exists(committed(paths.similarity)),
        "neighbors": index is not None and _tables_fit(paths, index),
    }
    # Not all methods need `welch`.
    stage = next((name for name, found in there.items() if not found and name != "welch"), "finished")
    # What comes later, if it is there, was made by an earlier run.
    before = takewhile(lambda name: name != stage, there)
    made = [name for name in before if there[name]]
    if stage in ("extract", "moments") and moments:
        made.append(f"moments ({moments:,} of {len(shards):,} shards)")
    for what, files in (("tables of analyses", "analysis/*.parquet"), ("figures", "report/**/*.png")):
        if stage == "finished" and (number := len(list(folder.glob(files)))):
            made.append(f"{what} ({number:,})")
    return Progress(stage, made, shards)


def _tables_fit(paths: Paths, index: Mapping[str, Any]) -> bool:
    """Whether the tables are there, and of these images and this network."""
    summary, network = _document(paths.summary), _document(paths.network)
    if summary is None or network is None or not all(map(_exists, (paths.neighbors, paths.classes))):
        return False
    made_from = summary["dataset_digest"], summary["weights_digest"]
    return made_from == (index["digest"], network["weights_digest"])


def _shard(paths: Paths, name: str, images: int, now: float) -> ShardProgress:
    if _exists(committed(paths.features(name))) and (stats := _document(paths.stats(name))):
        return ShardProgress(
            name,
            images,
            done=images,
            rejected=stats["images_rejected"],
            state="finished",
            seconds=stats.get("seconds_by_part", {}),  # earlier versions wrote others
            device=stats["device"],
        )
    journal = Path(paths.features(name)).with_suffix(".journal")
    try:
        # A job that resumes writes the journal anew: its time tells of jobs that have not recorded a chunk yet.
        idle = max(0.0, now - journal.stat().st_mtime)
        notes = _notes(journal.read_text(encoding="utf-8", errors="replace"))
    except FileNotFoundError:
        return ShardProgress(name, images)
    chunks = {note["chunk"]: note for note in notes}  # the last note of a chunk that was computed again
    rate, interval = _pace(notes)
    silent = idle > max(_SILENT, 10 * interval)
    return ShardProgress(
        name,
        images,
        done=sum(stop - start for start, stop in (note["rows"] for note in chunks.values())),
        rejected=sum(len(note["rejects"]) for note in chunks.values()),
        state="silent" if silent else "running",
        idle=idle,
        rate=0.0 if silent else rate,
        seconds=notes[-1]["seconds"] if notes else {},
        device=notes[-1]["versions"]["device"] if notes else "",
    )


def _pace(notes: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Images a second, and seconds a chunk, over the newest chunks of the job that recorded the last note."""
    if not notes:
        return 0.0, 0.0
    end, seconds = notes[-1]["at"], notes[-1]["seconds"]
    start = end - sum(seconds.values())
    own = [note for note in notes if note["at"] >= start]  # earlier ones are of jobs that were stopped
    recent = own[-_RECENT:]
    begin = own[-_RECENT - 1]["at"] if len(own) > _RECENT else start + seconds["starting"]
    duration = max(end - begin, 1e-3)  # several writers may record at once
    return sum(note["rows"][1] - note["rows"][0] for note in recent) / duration, duration / len(recent)


def _notes(journal: str) -> list[dict[str, Any]]:
    """Notes of a journal's whole lines, without those of earlier versions, which did not say what was waited for."""
    lines = (line.partition(" ") for line in journal.split("\n"))
    entries = [json.loads(text) for expected, _, text in lines if digest(text) == expected]
    return [entry["note"] for entry in entries if "seconds" in entry.get("note", {})]


def _document(path: str) -> dict[str, Any] | None:
    """A JSON file's contents; None if it is not there."""
    try:
        return read_document(Path(path))
    except LabelsimError as error:
        if isinstance(error.__context__, FileNotFoundError):
            return None
        raise


def _exists(path: str) -> bool:
    return Path(path).exists()

"""A run in progress, made by hand: what its jobs leave behind, with times of our own."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from labelsim.jobs.clock import PARTS
from labelsim.run import Paths
from labelsim.storage.json_files import write_document
from labelsim.storage.zarr_store import Array, Writer

CHUNK = 256
GPU = "NVIDIA H100"


def cut(paths: Paths, shards: Mapping[str, int], preflight: bool = True) -> None:
    """What the stages before the extraction leave: shards with so many images each."""
    Path(paths.root, "logs").mkdir(parents=True, exist_ok=True)
    Path(paths.manifest).touch()
    listed = [{"name": name, "images": images} for name, images in shards.items()]
    write_document(Path(paths.index), {"digest": "of the images", "shards": listed})
    write_document(Path(paths.network), {"weights_digest": "of the weights"})
    if preflight:
        write_document(Path(paths.preflight), {})


def seconds(start: float, **parts: float) -> dict[str, float]:
    """Seconds of a job by part; those that are not named are 0."""
    return dict.fromkeys(PARTS, 0.0) | {"starting": start} | parts


def note(
    chunk: int, images: int, at: float, waited: Mapping[str, float], rejects: Sequence[int] = (), device: str = GPU
) -> dict:
    """What `extract` notes of a chunk."""
    return {
        "chunk": chunk,
        "rows": [chunk * CHUNK, min((chunk + 1) * CHUNK, images)],
        "rejects": [[row, "empty file"] for row in rejects],
        "underflow": {},
        "versions": {"device": device},
        "at": at,
        "seconds": dict(waited),
    }


def record(paths: Paths, shard: str, images: int, notes: Sequence[Mapping]) -> Writer:
    """What a job that started and recorded some chunks leaves, at the time of its last note."""
    store = Path(paths.features(shard))
    arrays = {"hidden": Array(("sample", "unit"), (images, 1), "float32", (CHUNK, 1))}
    writer = Writer(store, arrays, "identity", store.with_suffix(".journal"))
    for entry in notes:
        start, stop = entry["rows"]
        writer.put("hidden", (entry["chunk"], 0), np.zeros((stop - start, 1)))
        writer.record([("hidden", (entry["chunk"], 0))], dict(entry))
    if notes:
        touch(paths, shard, notes[-1]["at"])
    return writer


def touch(paths: Paths, shard: str, at: float) -> None:
    """Date a journal."""
    os.utime(Path(paths.features(shard)).with_suffix(".journal"), (at, at))


def finish(paths: Paths, shard: str, images: int, rejected: int = 0, **parts: float) -> None:
    """What the extraction of a whole shard leaves."""
    whole = [note(i, images, 0.0, seconds(1.0)) for i in range(-(-images // CHUNK))]
    writer = record(paths, shard, images, whole)
    stats = {"device": GPU, "images": images, "images_rejected": rejected, "seconds_by_part": seconds(1.0, **parts)}
    write_document(Path(paths.stats(shard)), stats)
    writer.commit({})

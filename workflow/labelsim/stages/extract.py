"""extract: one forward pass over the images of a shard; gap, hidden state and logits into its store."""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from labelsim.dataset.sources import open_source
from labelsim.errors import LabelsimError
from labelsim.images.decode import first_line
from labelsim.images.loader import Images, batches
from labelsim.images.transform import split_transform
from labelsim.jobs.clock import Clock, advice
from labelsim.methods import VARIABLES
from labelsim.network.device import exclusive_device, has_fast_bfloat16
from labelsim.network.inference import Inference, automatic_batch_size, out_of_memory, precision_of
from labelsim.network.model import load_described, versions
from labelsim.network.outputs import feature_parts, identifying
from labelsim.network.probes import Features
from labelsim.report.underflow import underflow_warning
from labelsim.statistics import underflow
from labelsim.storage.json_files import read_document, write_document
from labelsim.storage.parquet import read_metadata, read_table, write_table
from labelsim.storage.zarr_store import Array, Writer

__all__ = ["extract"]

logger = logging.getLogger(__name__)

ROWS_PER_CHUNK = 256
_LATE = 0.001  # seconds of waiting for a batch that was not ready
_WRITERS = 4  # threads, which wait for the disk much of the time
_REJECTS = pa.schema([(name, pa.string()) for name in ("sample_id", "class_id", "reason")])


def extract(
    shard: Path,
    network: Path,
    store: Path,
    rejects: Path,
    stats: Path,
    config: Mapping[str, Any],
    code: str,
    threads: int = 1,
    sources: Mapping[str, str] | None = None,
) -> None:
    """Extract the features of one shard, continuing where an earlier job was stopped.

    Parameters
    ----------
    shard : Path
        Rows of the manifest.
    network : Path
        As the stage `network` wrote it: the network must still be that one.
    store : Path
        The Zarr store to write: `gap` (sample, channel), `hidden` (sample, unit), `logits`
        (sample, output). Rows of images that could not be used are NaN.
    rejects, stats : Path
        The Parquet table of images that could not be used, and the JSON file of rates.
    config : mapping
        The whole configuration.
    code : str
        Fingerprint of this stage's code.
    threads : int
        Cores to use.
    sources : mapping of str to str, optional
        Digests of the files that define the network and the transform, by key of the configuration, as they are now:
        they must be those that `network` recorded.

    Raises
    ------
    LabelsimError
        If the network is not the one described, or the device is not there.
    """
    clock = Clock()
    rows = read_table(shard)
    description = read_document(network)
    _check_sources(sources or {}, description["sources"], network)
    torch.set_num_threads(max(1, threads))
    with exclusive_device(config["extract"]["device"]) as device:
        model = load_described(config["model"], config["probe"], description, network)
        model.to(device, config["extract"]["precision"])
        parts = split_transform(model.transform)
        arrays = _arrays(rows, description, config["store"])
        identity = json.dumps(
            {
                "shard": shard.stem,
                "network": identifying(description),
                "precision": config["extract"]["precision"],
                "compile": config["extract"]["compile"],
                "dtype": config["store"]["dtype"],
                "code": code,
            },
            sort_keys=True,
        )
        writer = Writer(store, arrays, identity, journal=store.with_suffix(".journal"))
        dataset = config["dataset"]
        source = open_source(dataset["source"], read_metadata(rows)["format"], dataset["labels"], dataset["columns"])
        images = Images(source, rows, parts.image, model.input_shape, parts.dtype)
        done = {note["chunk"]: note for note in writer.kept if not _may_do_better(note["rejects"], images)}
        rows_per_chunk, _ = arrays["gap"].chunk_shape()
        chunks = _chunks(len(rows), rows_per_chunk)
        pending = {index: span for index, span in chunks.items() if index not in done}
        left = sum(stop - start for start, stop in pending.values())
        resumed = f"; resumed, {len(rows) - left:,} of them done before" if left < len(rows) else ""
        logger.info("Shard %s: %s images on %s%s", shard.stem, f"{len(rows):,}", device, resumed)
        if device.type == "cpu" and config["extract"]["precision"] == "float32" and has_fast_bfloat16():
            logger.info("This processor computes faster in bfloat16 (extract.precision; docs/imagenet.md has the cost)")
        made = versions(device)
        if others := _distinct([note["versions"] for note in done.values() if note["versions"] != made]):
            logger.warning("Shard %s: chunks that are kept were computed by %s; now it is %s", shard.stem, others, made)
        batch_size = config["extract"]["batch_size"]
        if batch_size == "auto":
            batch_size = automatic_batch_size(device, model.input_shape)
        batch_size = min(batch_size, rows_per_chunk)
        halved = {index: note["halved"] for index, note in done.items() if "halved" in note}
        write = partial(_write_chunk, writer, description, config["extract"]["precision"])
        workers = _workers(config["extract"]["workers"], threads, device)
        with _memory_is_enough(), precision_of(config["extract"]["precision"], device):
            inference = Inference(model, parts.batch, device, batch_size, config["extract"]["compile"])
            inference.warm_up(images.empty(batch_size).zero_().permute(0, 3, 1, 2))
            clock.lap({"starting": 1})
            done |= _run(shard.stem, images, pending, inference, write, batch_size, halved, workers, made, clock)
        _put_coordinates(writer, rows, description)
        table = _reject_table(rows, done)
        write_table(table, rejects, {})
        lost = underflow.total(note["underflow"] for note in done.values())
        used, dtype = len(rows) - len(table), config["store"]["dtype"]
        if text := underflow_warning(lost, feature_parts(description), used, dtype):
            logger.warning("%s", text)
        clock.lap({"finishing": 1})
        rate = left / (clock.total - clock.seconds["starting"])
        logger.info("%s images in %.1f s, %.1f a second; %d rejected", f"{left:,}", clock.total, rate, len(table))
        logger.info("Most time went to %s", advice(clock.seconds, made["device"]))
        summary = {
            "device": made["device"],
            "images": len(rows),
            "images_resumed": len(rows) - left,
            "images_rejected": len(table),
            "underflow": lost,
            "images_per_second": round(rate, 2),
            "seconds": round(clock.total, 3),
            "seconds_by_part": clock.rounded(),
        }
        write_document(stats, summary)
        computed_by = _distinct([note["versions"] for note in done.values()])
        attributes = {"rejected": len(table), "underflow": lost, "computed_by": computed_by}
        writer.commit({"shard": shard.stem, **attributes})


def _distinct(versions: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    return [dict(entries) for entries in sorted({tuple(sorted(found.items())) for found in versions})]


def _may_do_better(rejects: Sequence[Sequence[Any]], images: Images) -> bool:
    """Whether an image of a chunk that was rejected is not, or not for that reason, now: it may have been mended."""
    return any(images[row][1] != reason for row, reason in rejects)


def _run(
    shard: str,
    images: Images,
    chunks: Mapping[int, tuple[int, int]],
    inference: Inference,
    write: Callable[..., dict[str, Any]],
    batch_size: int,
    halved: Mapping[int, int],
    workers: int,
    made: Mapping[str, str],
    clock: Clock,
) -> dict[int, dict[str, Any]]:
    """Compute and write the given chunks; return the note of each, which is the journal's."""
    # Batches are cut at fixed rows of a chunk: a resumed store equals an uninterrupted one bit for bit.
    cuts = {
        index: [range(low, min(low + batch_size, stop)) for low in range(start, stop, batch_size)]
        for index, (start, stop) in chunks.items()
    }
    cuda = inference.device.type == "cuda"
    # On a CPU the network's threads wait for one another: a process that takes a core from one of them halts all.
    decoded = batches(images, [cut for parts in cuts.values() for cut in parts], workers, cuda, 0 if cuda else 19)
    largest = max((stop - start for start, stop in chunks.values()), default=0)
    progress = _Progress(shard, sum(stop - start for start, stop in chunks.values()))
    notes: dict[int, dict[str, Any]] = {}
    writing: deque[tuple[Future[dict[str, Any]], Features]] = deque()

    def written() -> Features:
        """Wait until a chunk is written; return its memory, for another chunk."""
        future, room = writing.popleft()
        note = future.result()
        notes[note["chunk"]] = note
        clock.lap({"waiting_for_writers": 1})
        return room

    with ThreadPoolExecutor(_WRITERS) as pool:
        for index, (start, stop) in chunks.items():
            room = written() if len(writing) > _WRITERS else inference.room(largest)
            # Where memory ran out before a kill it would again, and batches of other sizes give other last bits.
            inference.size = min([inference.size, *(size for chunk, size in halved.items() if chunk < index)])
            reasons: list[str] = []
            for cut in cuts[index]:
                batch = next(decoded)
                late = clock.lap(batch.seconds) > _LATE
                rows = slice(cut.start - start, cut.stop - start)
                computed = inference.submit(batch.pixels, [values[rows] for values in room])
                clock.lap(_shares(inference.spent, batch.seconds if late else {"network": 1.0}))
                reasons += batch.reasons
                progress.advance(len(cut))
            note = {"chunk": index, "rows": [start, stop], "versions": made, "seconds": clock.rounded()}
            if inference.size < batch_size:
                note["halved"] = inference.size
            values = {name: values[: stop - start] for name, values in zip(VARIABLES, room, strict=True)}
            writing.append((pool.submit(write, computed, values, reasons, note), room))
        while writing:
            written()
    return notes


def _shares(spent: Mapping[str, float], waited_for: Mapping[str, float]) -> dict[str, float]:
    """What a batch's time is spent on, the launch of its work on a GPU being spent on what limits the job meanwhile."""
    whole = sum(waited_for.values()) or 1.0
    launching = {part: spent.get("launching", 0.0) * share / whole for part, share in waited_for.items()}
    parts = {part: seconds for part, seconds in spent.items() if part != "launching"}
    return {part: parts.get(part, 0.0) + launching.get(part, 0.0) for part in {*parts, *launching}}


@contextmanager
def _memory_is_enough() -> Iterator[None]:
    """Say what to do where there is too little memory for a single image."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        gpu = isinstance(error, torch.OutOfMemoryError)
        what = "The GPU has too little memory" if gpu else "The job has too little memory: give it more (mem_mb)"
        raise LabelsimError(f"{what} ({first_line(error)}). What was extracted so far is kept.") from error


def _write_chunk(
    writer: Writer,
    network: Mapping[str, Any],
    precision: str,
    computed: Callable[[], None],
    features: Mapping[str, torch.Tensor],
    reasons: Sequence[str],
    note: dict[str, Any],
) -> dict[str, Any]:
    """Write and record one chunk, with NaN in the rows of images that cannot be used; return its note."""
    computed()
    index, (start, _) = note["chunk"], note["rows"]
    values = {name: block.numpy() for name, block in features.items()}
    with np.errstate(over="ignore"):
        stored = {name: block.astype(writer.dtype(name), copy=False) for name, block in values.items()}
    hint = "" if precision == "float32" else "; extract.precision: float32 may avoid that"
    dtype = writer.dtype("gap")
    faults = {
        row: f"too large for {dtype}: {names}; store.dtype: float32 avoids that" for row, names in _not_finite(stored)
    }
    faults |= {row: f"the network's output is not finite: {names}{hint}" for row, names in _not_finite(values)}
    faults |= {row: reason for row, reason in enumerate(reasons) if reason}
    for block in stored.values():
        block[list(faults)] = np.nan
    note |= {
        "rejects": [[start + row, faults[row]] for row in sorted(faults)],
        "underflow": underflow.count(values, stored, feature_parts(network)),
    }
    written = [name for name, block in stored.items() if block.size]  # without channels, `gap` has no chunks
    for name in written:
        writer.put(name, (index, 0), stored[name])
    writer.record([(name, (index, 0)) for name in written], note | {"at": time.time()})
    return note


def _not_finite(blocks: Mapping[str, NDArray[np.floating]]) -> Iterator[tuple[int, str]]:
    """Rows with values that are not finite, and the names of the variables that have them."""
    finite = {name: np.isfinite(block).all(axis=1) for name, block in blocks.items()}
    for row in np.flatnonzero(~np.all(list(finite.values()), axis=0)).tolist():
        yield row, ", ".join(name for name in blocks if not finite[name][row])


def _check_sources(found: Mapping[str, str], expected: Mapping[str, str], path: Path) -> None:
    """Refuse files that were edited since the network was described: shards would be of two networks."""
    for key, digest in expected.items():
        if found.get(key, digest) != digest:
            raise LabelsimError(
                f"{key}: the file was changed after {path} was written, and shards may have been made with it as it "
                "was.\nRun the same command again, and leave the file as it is until the extraction has ended."
            )


def _arrays(rows: pa.Table, network: Mapping[str, Any], store: Mapping[str, Any]) -> dict[str, Array]:
    n = len(rows)
    chunk = ROWS_PER_CHUNK if store["rows_per_chunk"] == "auto" else store["rows_per_chunk"]
    channels = sum(count for _, count in network["layers"])
    widths = {"channel": channels, "unit": network["hidden_units"], "output": network["outputs"]}
    arrays = {
        name: Array(("sample", dim), (n, widths[dim]), store["dtype"], (min(chunk, n), widths[dim]))
        for name, dim in VARIABLES.items()
    }
    return arrays | {
        "sample_id": Array(("sample",), (n,), "str", coordinate=True),
        "class_id": Array(("sample",), (n,), "str", coordinate=True),
        "class_index": Array(("sample",), (n,), "int32", coordinate=True),
        "layer": Array(("channel",), (channels,), "str", coordinate=True),
        "layer_channel": Array(("channel",), (channels,), "int32", coordinate=True),
    }


def _put_coordinates(writer: Writer, rows: pa.Table, network: Mapping[str, Any]) -> None:
    for name in ("sample_id", "class_id", "class_index"):
        writer.put_whole(name, rows[name].to_numpy())
    channels = [(name, channel) for name, count in network["layers"] for channel in range(count)]
    writer.put_whole("layer", np.array([name for name, _ in channels], dtype=object))
    writer.put_whole("layer_channel", np.array([channel for _, channel in channels], dtype=np.int32))


def _chunks(rows: int, chunk: int) -> dict[int, tuple[int, int]]:
    return {i: (start, min(start + chunk, rows)) for i, start in enumerate(range(0, rows, chunk))}


def _workers(workers: int | str, threads: int, device: torch.device) -> int:
    if isinstance(workers, int):
        return workers
    # On a CPU the network needs the cores as well; the system shares them out.
    return max(1, threads // 2 if device.type == "cpu" else threads)


def _reject_table(rows: pa.Table, notes: Mapping[int, Mapping[str, Any]]) -> pa.Table:
    found = sorted((row, reason) for note in notes.values() for row, reason in note["rejects"])
    taken = rows.select(["sample_id", "class_id"]).take([row for row, _ in found]) if found else None
    columns = taken.to_pydict() if taken is not None else {"sample_id": [], "class_id": []}
    return pa.table({**columns, "reason": [reason for _, reason in found]}, schema=_REJECTS)


class _Progress:
    """A line in the log now and then: a bar would get in the way of other jobs on the same terminal."""

    EVERY = 30.0  # seconds

    def __init__(self, shard: str, total: int) -> None:
        self._shard = shard
        self._total = total
        self._done = 0
        self._start = self._last = time.perf_counter()

    def advance(self, images: int) -> None:
        """Count images that are through."""
        self._done += images
        now = time.perf_counter()
        if now - self._last >= self.EVERY:
            self._last = now
            rate = self._done / (now - self._start)
            logger.info(
                "Shard %s: %s of %s images, %.0f a second", self._shard, f"{self._done:,}", f"{self._total:,}", rate
            )

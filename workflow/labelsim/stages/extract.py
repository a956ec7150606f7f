"""extract: one forward pass over the images of a shard; gap, hidden state and logits into its store."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
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
from labelsim.methods import VARIABLES
from labelsim.network.device import exclusive_device
from labelsim.network.model import Model, load_model, versions
from labelsim.network.outputs import identifying
from labelsim.network.probes import Features
from labelsim.statistics import underflow
from labelsim.storage.json_files import read_document, write_document
from labelsim.storage.parquet import read_metadata, read_table, write_table
from labelsim.storage.zarr_store import Array, Writer

__all__ = ["BATCH_SIZE", "extract", "precision_of"]

logger = logging.getLogger(__name__)

ROWS_PER_CHUNK = 256
BATCH_SIZE = {"cpu": 32, "cuda": 256}
_REJECTS = pa.schema([(name, pa.string()) for name in ("sample_id", "class_id", "reason")])


@dataclass
class Stats:
    """How an extraction went: numbers of images, seconds, and values lost in the store by part of the features."""

    images: int
    resumed: int
    rejected: int = 0
    underflow: dict[str, int] = field(default_factory=dict)
    starting: float = 0.0
    total: float = 0.0
    waiting: float = 0.0
    computing: float = 0.0
    writing: float = 0.0


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
    started = time.perf_counter()
    rows = read_table(shard)
    description = read_document(network)
    _check_sources(sources or {}, description["sources"], network)
    torch.set_num_threads(max(1, threads))
    with exclusive_device(config["extract"]["device"]) as device:
        model = load_model(config["model"], config["probe"])
        _check(model.describe(), description, network)
        model.to(device)
        parts = split_transform(model.transform)
        arrays = _arrays(rows, description, config["store"])
        identity = json.dumps(
            {
                "shard": shard.stem,
                "network": identifying(description),
                "precision": config["extract"]["precision"],
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
        chunks = _chunks(len(rows), arrays["gap"].chunk_shape()[0])
        figures = Stats(images=len(rows), resumed=sum(stop - start for i, (start, stop) in chunks.items() if i in done))
        logger.info(
            "Shard %s: %s images on %s%s",
            shard.stem,
            f"{len(rows):,}",
            device,
            f"; resumed, {figures.resumed:,} of them done before" if figures.resumed else "",
        )
        pending = {index: span for index, span in chunks.items() if index not in done}
        figures.starting = time.perf_counter() - started
        made = versions(device)
        if others := _distinct([note["versions"] for note in done.values() if note["versions"] != made]):
            logger.warning("Shard %s: chunks that are kept were computed by %s; now it is %s", shard.stem, others, made)
        write = partial(_write_chunk, writer, description, config["extract"]["precision"], made, figures)
        done |= _run(
            shard.stem, images, pending, parts.batch, model, write, device, config["extract"], threads, figures
        )
        _put_coordinates(writer, rows, description)
        table = _reject_table(rows, done)
        figures.rejected = len(table)
        figures.underflow = underflow.total(note["underflow"] for note in done.values())
        figures.total = time.perf_counter() - started
        write_table(table, rejects, {})
        write_document(stats, _summary(figures, device))
        used = len(rows) - len(table)
        if lost := underflow.warning(figures.underflow, description, used, config["store"]["dtype"]):
            logger.warning("%s", lost)
        computed_by = _distinct([note["versions"] for note in done.values()])
        attributes = {"rejected": len(table), "underflow": figures.underflow, "computed_by": computed_by}
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
    normalise: Callable[[torch.Tensor], torch.Tensor],
    model: Model,
    write: Callable[[int, int, Mapping[str, NDArray[np.float32]], Sequence[str]], dict[str, Any]],
    device: torch.device,
    config: Mapping[str, Any],
    threads: int,
    figures: Stats,
) -> dict[int, dict[str, Any]]:
    """Compute and write the given chunks; return the note of each, which is the journal's."""
    notes: list[dict[str, Any]] = []
    batch_size = BATCH_SIZE[device.type] if config["batch_size"] == "auto" else config["batch_size"]
    # Batches are cut at fixed rows of a chunk: a resumed store equals an uninterrupted one bit for bit.
    cuts = [
        range(low, min(low + batch_size, stop))
        for start, stop in chunks.values()
        for low in range(start, stop, batch_size)
    ]
    workers = _workers(config["workers"], threads, device)
    # On a CPU the network's threads wait for one another: a process that takes a core from one of them halts all.
    niceness = 19 if device.type == "cpu" else 0
    decoded = _timed(batches(images, cuts, workers, device.type == "cuda", niceness), figures)
    writing: Future[dict[str, Any]] | None = None
    progress = _Progress(shard, sum(map(len, cuts)), figures)
    largest = max(map(len, cuts), default=0)
    with _memory_is_enough(largest), precision_of(config["precision"], device), ThreadPoolExecutor(1) as pool:
        for index, (start, stop) in chunks.items():
            parts: list[Features] = []
            reasons: list[str] = []
            for _ in range(start, stop, batch_size):
                pixels, batch_reasons = next(decoded)
                began = time.perf_counter()
                features = model.features(normalise(pixels.to(device, non_blocking=True)))
                parts.append(Features(*(part.cpu() for part in features)))
                figures.computing += time.perf_counter() - began
                reasons.extend(batch_reasons)
                progress.advance(len(batch_reasons))
            values = {name: torch.cat([getattr(part, name) for part in parts]).numpy() for name in VARIABLES}
            if writing is not None:
                notes.append(writing.result())  # at most one chunk waits while the next is computed
            writing = pool.submit(write, index, start, values, reasons)
        if writing is not None:
            notes.append(writing.result())
    return {note["chunk"]: note for note in notes}


@contextmanager
def _memory_is_enough(batch: int) -> Iterator[None]:
    """Say what to do where memory runs out, the GPU's or the job's, for batches of so many images."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            where, what = "The GPU has", f"Set extract.batch_size below {batch}"
        elif isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # as torch says it on a CPU
            where, what = "The job has", f"Give it more (mem_mb), or set extract.batch_size below {batch}"
        else:
            raise
        raise LabelsimError(
            f"{where} too little memory for a batch of {batch} images ({first_line(error)}).\n{what}, and run the same "
            "command again: it continues from here."
        ) from error


def _write_chunk(
    writer: Writer,
    network: Mapping[str, Any],
    precision: str,
    made: Mapping[str, str],
    figures: Stats,
    index: int,
    start: int,
    values: Mapping[str, NDArray[np.float32]],
    reasons: Sequence[str],
) -> dict[str, Any]:
    """Write and record one chunk, with NaN in the rows of images that cannot be used; return its note."""
    began = time.perf_counter()
    with np.errstate(over="ignore"):
        stored = {name: block.astype(writer.dtype(name)) for name, block in values.items()}
    hint = "" if precision == "float32" else "; extract.precision: float32 may avoid that"
    dtype = writer.dtype("gap")
    faults = {
        row: f"too large for {dtype}: {names}; store.dtype: float32 avoids that" for row, names in _not_finite(stored)
    }
    faults |= {row: f"the network's output is not finite: {names}{hint}" for row, names in _not_finite(values)}
    faults |= {row: reason for row, reason in enumerate(reasons) if reason}
    for block in stored.values():
        block[list(faults)] = np.nan
    written = [name for name, block in stored.items() if block.size]  # without channels, `gap` has no chunks
    for name in written:
        writer.put(name, (index, 0), stored[name])
    note = {
        "chunk": index,
        "rejects": [[start + row, faults[row]] for row in sorted(faults)],
        "underflow": underflow.count(values, stored, network),
        "versions": made,
    }
    writer.record([(name, (index, 0)) for name in written], note)
    figures.writing += time.perf_counter() - began
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


def _check(found: Mapping[str, Any], expected: Mapping[str, Any], path: Path) -> None:
    """Refuse a network that is not the one that the rest of the run was made with."""
    for key, value in json.loads(json.dumps(found)).items():
        if value != expected[key]:
            raise LabelsimError(
                f"The network is not the one described in {path}: {key} is {value!r}, not {expected[key]!r}.\n"
                "A builder that draws random weights must be seeded; otherwise delete that file and run again."
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


def _timed(
    batches: Iterator[tuple[torch.Tensor, list[str]]], figures: Stats
) -> Iterator[tuple[torch.Tensor, list[str]]]:
    """The same batches; the time spent waiting for them goes into `figures`."""
    while True:
        began = time.perf_counter()
        batch = next(batches, None)
        figures.waiting += time.perf_counter() - began
        if batch is None:
            return
        yield batch


def precision_of(precision: str, device: torch.device) -> Any:
    """Context in which the network computes in the precision asked for."""
    torch.backends.cudnn.deterministic = True  # a resumed store must equal an uninterrupted one
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    if precision in ("float32", "tf32"):
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, precision))


def _reject_table(rows: pa.Table, notes: Mapping[int, Mapping[str, Any]]) -> pa.Table:
    found = sorted((row, reason) for note in notes.values() for row, reason in note["rejects"])
    taken = rows.select(["sample_id", "class_id"]).take([row for row, _ in found]) if found else None
    columns = taken.to_pydict() if taken is not None else {"sample_id": [], "class_id": []}
    return pa.table({**columns, "reason": [reason for _, reason in found]}, schema=_REJECTS)


def _summary(figures: Stats, device: torch.device) -> dict[str, Any]:
    computed = figures.images - figures.resumed
    busy = figures.waiting + figures.computing
    rate = computed / busy if busy else 0.0
    waiting = figures.waiting / busy if busy else 0.0
    logger.info(
        "%s images computed, %.1f a second; %.0f %% of the time spent waiting for data; %d rejected",
        f"{computed:,}",
        rate,
        100 * waiting,
        figures.rejected,
    )
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "images": figures.images,
        "images_resumed": figures.resumed,
        "images_rejected": figures.rejected,
        "underflow": figures.underflow,
        "images_per_second": round(rate, 2),
        "waiting_share": round(waiting, 4),
        "seconds": round(figures.total, 2),
        "seconds_starting": round(figures.starting, 2),
        "seconds_waiting_for_images": round(figures.waiting, 2),
        "seconds_in_network": round(figures.computing, 2),
        "seconds_writing": round(figures.writing, 2),
    }


class _Progress:
    """A line in the log now and then: a bar would get in the way of other jobs on the same terminal."""

    EVERY = 30.0  # seconds

    def __init__(self, shard: str, total: int, figures: Stats) -> None:
        self._shard = shard
        self._total = total
        self._figures = figures
        self._done = 0
        self._start = self._last = time.perf_counter()

    def advance(self, images: int) -> None:
        """Count images that are through."""
        self._done += images
        now = time.perf_counter()
        if now - self._last >= self.EVERY:
            self._last = now
            logger.info(
                "Shard %s: %s of %s images, %.0f a second, %.0f %% of the time waiting for data",
                self._shard,
                f"{self._done:,}",
                f"{self._total:,}",
                self._done / (now - self._start),
                100 * self._figures.waiting / (self._figures.waiting + self._figures.computing),
            )

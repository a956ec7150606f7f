"""Features of new images, by the network of a run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, redirect_stdout
from json import loads
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from labelsim.dataset.formats.folder import FolderSource
from labelsim.errors import LabelsimError
from labelsim.images.loader import Images
from labelsim.images.transform import split_transform
from labelsim.jobs.provenance import identity
from labelsim.network.inference import Inference, precision_of
from labelsim.network.model import Model, load_described
from labelsim.run import Run
from labelsim.storage.zarr_store import blocks

__all__ = ["NewImages", "image_features", "load_network", "working_folder"]

_BATCH = 32  # images


class NewImages(NamedTuple):
    """Features of N images, of which U can be used.

    Attributes
    ----------
    reasons : list of str
        For each of the N images, why it cannot be used; empty for one that can.
    gap : (U, D) float32
        A(X).
    hidden : (U, M) float32
        h(X).
    logits : (U, K) float32
        The network's output.
    """

    reasons: list[str]
    gap: NDArray[np.float32]
    hidden: NDArray[np.float32]
    logits: NDArray[np.float32]


@contextmanager
def working_folder(run: Run) -> Iterator[Path]:
    """Work in the folder that holds `results`, to which relative paths of a run's configuration refer."""
    folder = Path(os.path.abspath(run.paths.root)).parents[1]  # noqa: PTH100 (`results` may be a link)
    with chdir(folder):
        yield folder


def load_network(run: Run, settings: Mapping[str, Any]) -> Model:
    """Load the network of a run.

    Parameters
    ----------
    run : Run
        The run.
    settings : mapping
        Its provenance: `model` and `probe` are used.

    Returns
    -------
    Model
        On the CPU, prepared for the precision of the run.

    Raises
    ------
    LabelsimError
        If it cannot be loaded, or is not the network that the run was made with.
    """
    description, path = run.network(), Path(run.paths.network)
    # What a builder prints is no part of a command's output.
    with working_folder(run) as folder, redirect_stdout(sys.stderr):
        try:
            model = load_described(settings["model"], settings["probe"], description, path)
        except LabelsimError as error:
            raise LabelsimError(f"{error}\nRelative paths in the run's configuration start from {folder}.") from error
        found = loads(identity("network", settings)).get("files", {})
    # The weights may be the same where the code that computes with them is not.
    if edited := [key for key, digest in description["sources"].items() if found.get(key) != digest]:
        key = edited[0]
        value = settings["model"][key.removeprefix("model.")]
        raise LabelsimError(
            f"The network is not the one described in {path}: {key}: {value!r} was edited since.\n"
            "Restore it as it was, or run the workflow again."
        )
    model.to(torch.device("cpu"), settings["precision"])
    return model


def image_features(model: Model, precision: str, paths: Sequence[Path]) -> NewImages:
    """Compute the features of image files as the stage `extract` does, on the CPU.

    Parameters
    ----------
    model : Model
        As `load_network` returns it.
    precision : str
        That of the run.
    paths : sequence of Path
        The files.
    """
    parts = split_transform(model.transform)
    rows = pa.table({"path": [str(path) for path in paths], "bytes": [0] * len(paths)})
    images = Images(FolderSource(Path()), rows, parts.image, model.input_shape, parts.dtype)
    device = torch.device("cpu")
    inference = Inference(model, parts.batch, device, _BATCH)
    reasons: list[str] = []
    found = []
    with precision_of(precision, device):
        for part in blocks(len(paths), _BATCH):
            size = part.stop - part.start
            pixels, features = images.empty(size), inference.room(size)
            of_part = images.load(images.read(range(part.start, part.stop)), pixels)
            inference.submit(pixels.permute(0, 3, 1, 2), features)()
            values = [block.numpy() for block in features]
            finite = np.all([np.isfinite(block).all(axis=1) for block in values], axis=0)
            of_part = [
                reason or ("" if sound else "the network's output is not finite")
                for reason, sound in zip(of_part, finite, strict=True)
            ]
            usable = np.array([not reason for reason in of_part])
            found.append([block[usable] for block in values])
            reasons += of_part
    return NewImages(reasons, *(np.concatenate(blocks) for blocks in zip(*found, strict=True)))

"""Decoding and transforming per core: labelsim's front-end against torchvision's reference, on the same files.

The reference is what torchvision documents: Pillow opens and converts, the weights' own transform makes float tensors,
which are stacked. Both have one thread, and take turns; times are of the processor. What they give must be the same,
bit for bit. Two short cuts are measured as well that labelsim does not take, as they change pixels.

    python benchmarks/front_end.py                   # generated photographs
    python benchmarks/front_end.py --images FOLDER   # your own: a folder with JPEG files anywhere in it
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import photos
import pyarrow as pa
import results
import simplejpeg
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision.datasets.folder import pil_loader
from torchvision.models import get_weight

from labelsim.images.decode import decode
from labelsim.images.loader import Images, batches
from labelsim.images.transform import split_transform

TRANSFORM = get_weight("ResNet34_Weights.IMAGENET1K_V1").transforms()
HALVES = split_transform(TRANSFORM)
(RESIZED,), (CROP,) = TRANSFORM.resize_size, TRANSFORM.crop_size
REPEATS = 5
BATCH = 32


class Files:
    """A source whose rows are paths."""

    reads_in_groups = False

    def read(self, row: dict[str, Any]) -> bytes:
        """Read a file."""
        return Path(row["path"]).read_bytes()


def main() -> None:
    """Measure and write the table."""
    options = _options()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = options.images or photos.class_folders(Path(name), options.count)
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
        _measure(found[: options.count], "front_end-own" if options.images else "front_end")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="a folder of photographs; generated ones without it")
    parser.add_argument("--count", type=int, default=32, help="how many to take")
    return parser.parse_args()


def _measure(files: Sequence[Path], name: str) -> None:
    what, of = f"{len(files)} photographs", results.Result.of
    same = all(torch.equal(*pair) for pair in zip(_reference(files), _front_end(files), strict=True))
    spent = _in_turn(
        {
            "reference": lambda: deque(_reference(files), maxlen=0),
            "front-end": lambda: deque(_front_end(files), maxlen=0),
        }
    )
    found = [
        of("values that are the reference's, bit for bit", float(same), "of 1", ">= 1"),
        of(f"{what}: the reference", len(files) / median(spent["reference"]), "images/CPU s"),
        of(f"{what}: labelsim's front-end", len(files) / median(spent["front-end"]), "images/CPU s"),
        of(f"{what}: labelsim's front-end", results.ratio(spent["reference"], spent["front-end"]), "x", ">= 1.5"),
    ]
    found += [of(f"part: {part}", 1000 * took / len(files), "CPU ms") for part, took in _parts(files).items()]
    pixels = _bytes(decode, files)
    for short_cut, decoded in SHORT_CUTS.items():
        taken = _in_turn({"own": partial(_bytes, decode, files), "short": partial(_bytes, decoded, files)})
        apart = (_bytes(decoded, files).int() - pixels.int()).abs()
        found += [
            of(f"not used, changes pixels: {short_cut}", results.ratio(taken["own"], taken["short"]), "x"),
            of(f"not used, {short_cut}: values that differ", 100 * (apart > 0).float().mean().item(), "%"),
            of(f"not used, {short_cut}: largest difference of 255", apart.max().item(), ""),
        ]
    results.write(name, found)


def _reference(files: Sequence[Path]) -> Iterator[Tensor]:
    for start in range(0, len(files), BATCH):
        yield torch.stack([TRANSFORM(pil_loader(path)) for path in files[start : start + BATCH]])


def _front_end(files: Sequence[Path]) -> Iterator[Tensor]:
    rows = pa.table({"path": [str(path) for path in files], "bytes": [path.stat().st_size for path in files]})
    images = Images(Files(), rows, HALVES.image, (3, CROP, CROP), HALVES.dtype)  # type: ignore[arg-type]
    cuts = [range(start, min(start + BATCH, len(files))) for start in range(0, len(files), BATCH)]
    for batch in batches(images, cuts, workers=0):
        yield HALVES.batch(batch.pixels)


def _parts(files: Sequence[Path]) -> dict[str, float]:
    """Seconds of each step over all files."""
    data = [path.read_bytes() for path in files]
    images = [decode(one) for one in data]
    pictures = [Image.fromarray(image) for image in images]
    pixels = torch.stack([HALVES.image(image).permute(1, 2, 0) for image in images[:BATCH]]).permute(0, 3, 1, 2)
    parts = _in_turn(
        {
            "Pillow's decoding, for comparison": lambda: [pil_loader(path) for path in files],
            "decoding": lambda: [decode(one) for one in data],
            "of which JPEG to RGB": lambda: [simplejpeg.decode_jpeg(one, "RGB") for one in data],
            "resizing and cropping, to bytes": lambda: [HALVES.image(image) for image in images],
            "the same by torchvision, for comparison": lambda: [_whole(image) for image in pictures],
            "to floating-point numbers, normalised": lambda: [
                HALVES.batch(pixels) for _ in range(0, len(files), BATCH)
            ],
        }
    )
    return {part: median(took) for part, took in parts.items()}


def _bytes(decoded: Callable[[bytes], NDArray[np.uint8]], files: Sequence[Path]) -> Tensor:
    return torch.stack([HALVES.image(decoded(path.read_bytes())) for path in files])


def _whole(image: Image.Image) -> Tensor:
    """Resize and crop as torchvision does."""
    from torchvision.transforms import functional

    how = {"interpolation": TRANSFORM.interpolation, "antialias": TRANSFORM.antialias}
    return functional.pil_to_tensor(functional.center_crop(functional.resize(image, RESIZED, **how), CROP))


def _scaled(data: bytes) -> NDArray[np.uint8]:
    """Let libjpeg shrink by a power of two while it decodes."""
    return simplejpeg.decode_jpeg(data, "RGB", min_height=RESIZED, min_width=RESIZED)


def _fast(data: bytes) -> NDArray[np.uint8]:
    return simplejpeg.decode_jpeg(data, "RGB", fastdct=True, fastupsample=True)


SHORT_CUTS: Mapping[str, Callable[[bytes], NDArray[np.uint8]]] = {
    "scaling in the JPEG decoder": _scaled,
    "fast, inexact DCT and upsampling": _fast,
}


def _in_turn(works: Mapping[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Processor seconds of several pieces of work, done in turn."""
    rounds = [{name: _cpu(work) for name, work in works.items()} for _ in range(REPEATS)]
    return {name: [one[name] for one in rounds] for name in works}


def _cpu(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


if __name__ == "__main__":
    main()

"""Data and a network for trying labelsim out without a download: scikit-learn's handwritten digits.

The 1,797 digits (8 x 8, from the UCI repository) are cut into two halves: one trains a small ResNet, the
other is what the demo's run looks at.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torchvision.models import resnet18
from torchvision.transforms import v2

from labelsim.errors import LabelsimError

__all__ = ["Digits", "digits", "train", "transform", "write_digits"]

EPOCHS = 7
BATCH_SIZE = 64
LEARNING_RATE = 2e-3
MAX_SHIFT = 3  # pixels of the 32 x 32 input: less than one pixel of the 8 x 8 original
MIN_ACCURACY = 0.95


@dataclass(frozen=True)
class Digits:
    """One half of the digits.

    Attributes
    ----------
    index : ndarray of int64, shape (n,)
        The position in scikit-learn's dataset.
    image : ndarray of uint8, shape (n, 8, 8)
        The images, black 0 to white 255.
    label : ndarray of int64, shape (n,)
        The digit shown.
    """

    index: np.ndarray
    image: np.ndarray
    label: np.ndarray


def digits(training: bool) -> Digits:
    """Return one half of scikit-learn's digits; every digit is halved by itself, the same way each time.

    Parameters
    ----------
    training : bool
        The half to train with, or else the other one.

    Returns
    -------
    Digits
        The half, sorted by index.

    Raises
    ------
    LabelsimError
        If scikit-learn is not installed.

    References
    ----------
    `sklearn.datasets.load_digits`.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise LabelsimError(
            "the demo's digits come with scikit-learn, which is not installed: pip install 'labelsim[demo]'"
        ) from error
    bunch = load_digits()
    random = np.random.default_rng(0)
    chosen = []
    for digit in range(10):
        order = random.permutation(np.flatnonzero(bunch.target == digit))
        half = len(order) // 2
        chosen.append(order[:half] if training else order[half:])
    index = np.sort(np.concatenate(chosen))
    image = np.rint(bunch.images[index] * (255 / 16)).astype(np.uint8)
    return Digits(index, image, bunch.target[index].astype(np.int64))


def write_digits(folder: Path) -> int:
    """Write the half that the network is not trained with as class folders of 8-bit greyscale PNG files.

    The files are ``folder/<digit>/<index>.png``. The folder appears under its name when it is complete.

    Parameters
    ----------
    folder : Path
        Where to write; digits that lie there already are replaced.

    Returns
    -------
    int
        How many images were written.

    Raises
    ------
    LabelsimError
        If the folder holds anything else than digits, or scikit-learn is not installed.
    """
    classes = {str(digit) for digit in range(10)}
    if folder.exists() and not {entry.name for entry in folder.iterdir()} <= classes:
        raise LabelsimError(f"{folder} holds other things than the demo's digits: empty it or choose another folder")
    half = digits(training=False)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for name in classes:
        (partial / name).mkdir(parents=True)
    for index, image, label in zip(half.index, half.image, half.label, strict=True):
        Image.fromarray(image).save(partial / str(label) / f"{index:04d}.png")
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)
    return len(half.index)


def transform() -> Callable[[Image.Image], torch.Tensor]:
    """Return the digits network's transform.

    Returns
    -------
    callable
        PIL image, any mode and size -> float32 tensor of shape (3, 32, 32), values -1 to 1.
    """
    return v2.Compose(
        [
            v2.ToImage(),
            v2.RGB(),
            v2.Resize((32, 32), antialias=True),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean=[0.5] * 3, std=[0.5] * 3),
        ]
    )


def train(output: Path, metrics: Path, seed: int = 0, threads: int = 1) -> None:
    """Train torchvision's ResNet18 on one half of the digits and test it on the other.

    Parameters
    ----------
    output : Path
        Where the weights go: a state dict (``torch.save``), 10 outputs.
    metrics : Path
        Where the test's result goes: JSON with ``accuracy`` (0 to 1), ``images`` (how many were tested) and
        ``seconds`` (of the training).
    seed : int
        Of the initial weights, the batches and the shifts.
    threads : int
        How many threads torch may use; another number changes the weights' last digits. Where other work
        keeps the cores busy, two are far slower than one: they wait for each other in every small layer.

    Raises
    ------
    LabelsimError
        If fewer than 95 % are right: nothing is written then.
    """
    start = time.monotonic()
    with _deterministic(seed, threads):
        network = _fit(*_tensors(digits(training=True)))
        seconds = time.monotonic() - start
        images, labels = _tensors(digits(training=False))
        accuracy = _accuracy(network, images, labels)
    print(f"{accuracy:.2%} of {len(images)} digits right, trained in {seconds:.0f} s")
    if accuracy < MIN_ACCURACY:
        raise LabelsimError(
            f"only {accuracy:.1%} of the other half are recognized, the demo needs {MIN_ACCURACY:.0%}: "
            f"train the digits network with another seed than {seed}"
        )
    result = {"accuracy": accuracy, "images": len(images), "seconds": round(seconds, 1)}
    _replace(metrics, lambda path: path.write_text(json.dumps(result, indent=2) + "\n"))
    _replace(output, lambda path: torch.save(network.state_dict(), path))


def _tensors(half: Digits) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (n, 3, 32, 32) inputs and (n,) labels."""
    to_input = transform()
    return torch.stack([to_input(Image.fromarray(image)) for image in half.image]), torch.from_numpy(half.label)


def _fit(images: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    """Return a trained network, in evaluation mode."""
    # channels last is faster on a CPU; the weights are saved in the usual layout
    network = resnet18(weights=None, num_classes=10).to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    steps = len(images) // BATCH_SIZE  # an epoch; the few images beyond whole batches differ each time
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=EPOCHS * steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images))[: steps * BATCH_SIZE].view(steps, BATCH_SIZE):
            loss = nn.functional.cross_entropy(network(_shift(images[batch])), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval().to(memory_format=torch.contiguous_format)


def _shift(images: torch.Tensor) -> torch.Tensor:
    """Move a batch by a few pixels; what comes in at the border repeats the border."""
    size = images.shape[-1]
    top, left = torch.randint(2 * MAX_SHIFT + 1, (2,)).tolist()
    padded = nn.functional.pad(images, [MAX_SHIFT] * 4, mode="replicate")
    return padded[..., top : top + size, left : left + size]


@torch.inference_mode()
def _accuracy(network: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the fraction of images whose largest output is their label."""
    return float((network(images).argmax(dim=1) == labels).double().mean())


@contextmanager
def _deterministic(seed: int, threads: int) -> Iterator[None]:
    """Seed torch, limit its threads and forbid algorithms that vary from run to run; restored afterwards."""
    deterministic, before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True)
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(deterministic)
            torch.set_num_threads(before)


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name beside its own and rename it, so that half a file is never found."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    write(partial)
    partial.replace(path)

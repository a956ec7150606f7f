"""demo_network: a small network for the demo, trained in a minute, and its transform."""

import json
import logging
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torchvision.models import resnet18
from torchvision.transforms import v2

from labelsim.errors import LabelsimError
from labelsim.stages.demo_digits import Digits, digits
from labelsim.storage.atomic import write_whole

__all__ = ["demo_network", "transform"]

logger = logging.getLogger(__name__)

SEED = 0
EPOCHS = 7
BATCH_SIZE = 64
LEARNING_RATE = 2e-3
MAX_SHIFT = 3  # pixels of the 32 x 32 input: less than one pixel of the 8 x 8 original
MIN_ACCURACY = 0.95


def transform() -> Callable[[Image.Image], torch.Tensor]:
    """Return the transform of the demo's network.

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


def demo_network(output: Path, metrics: Path, threads: int = 1) -> None:
    """Train torchvision's ResNet18 on one half of the digits and test it on the other.

    Sets torch's seed, threads and deterministic algorithms for the whole process.

    Parameters
    ----------
    output : Path
        Where to write the weights: a state dict (`torch.save`), 10 outputs.
    metrics : Path
        Where to write the result of the test, as JSON: `accuracy` (0 to 1), `images` (number tested) and
        `seconds` (of training).
    threads : int
        Number of threads of torch. It changes the last digits of the weights. On busy cores two threads are far
        slower than one, because they wait for each other in every small layer.

    Raises
    ------
    LabelsimError
        If the accuracy is below 95 %. Then nothing is written.
    """
    torch.manual_seed(SEED)
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(threads)
    start = time.monotonic()
    network = _train(*_tensors(digits(training=True)))
    seconds = time.monotonic() - start
    images, labels = _tensors(digits(training=False))
    with torch.inference_mode():
        accuracy = float((network(images).argmax(dim=1) == labels).double().mean())
    logger.info("Accuracy %.2f %% on %d digits, trained in %.0f s", 100 * accuracy, len(images), seconds)
    if accuracy < MIN_ACCURACY:
        raise LabelsimError(
            f"the accuracy of the demo's network is {accuracy:.1%}; expected at least {MIN_ACCURACY:.0%}. "
            "Please report this, with the versions of torch and torchvision."
        )
    result = {"accuracy": accuracy, "images": len(images), "seconds": round(seconds, 1)}
    write_whole(metrics, f"{json.dumps(result, indent=2)}\n".encode())
    weights = BytesIO()
    torch.save(network.state_dict(), weights)
    write_whole(output, weights.getvalue())


def _tensors(half: Digits) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (n, 3, 32, 32) inputs and (n,) labels."""
    to_input = transform()
    return torch.stack([to_input(Image.fromarray(image)) for image in half.image]), torch.from_numpy(half.label)


def _train(images: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    """Return a trained network, in evaluation mode."""
    # channels last is faster on a CPU; the weights are saved in the usual layout
    network = resnet18(weights=None, num_classes=10).to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    steps = len(images) // BATCH_SIZE  # an epoch; the last, incomplete batch is left out
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
    """Move a batch by a few pixels; the border is repeated."""
    size = images.shape[-1]
    top, left = torch.randint(2 * MAX_SHIFT + 1, (2,)).tolist()
    padded = nn.functional.pad(images, [MAX_SHIFT] * 4, mode="replicate")
    return padded[..., top : top + size, left : left + size]

from collections.abc import Callable

import pytest
import torch
from torch import nn

from labelsim.network.inference import Inference, automatic_batch_size, precision_of
from labelsim.network.probes import Features

GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))
WIDTHS = (7, 5, 3)


class Sums:
    """Stands for a model: features that are exact, and memory for so many images at a time."""

    channels, hidden_units, outputs = WIDTHS
    memory_format = torch.channels_last

    def __init__(self, most: int, error: Callable[[], Exception] = torch.OutOfMemoryError) -> None:
        self.most = most
        self.error = error
        self.sizes: list[int] = []

    def features(self, batch: torch.Tensor) -> Features:
        if len(batch) > self.most:
            raise self.error()
        self.sizes.append(len(batch))
        sums = batch.sum(dim=(1, 2, 3))
        return Features(*(torch.stack([sums + i for i in range(width)], dim=1) for width in WIDTHS))


def pixels(count: int) -> torch.Tensor:
    values = torch.randint(0, 256, (count, 6, 4, 3), generator=torch.Generator().manual_seed(count), dtype=torch.uint8)
    return values.permute(0, 3, 1, 2)


def computed(inference: Inference, lengths: list[int]) -> list[torch.Tensor]:
    """Features of batches, whose pixels are overwritten as soon as they may be."""
    room = inference.room(sum(lengths))
    memory = [torch.empty((max(lengths), 6, 4, 3), dtype=torch.uint8).permute(0, 3, 1, 2) for _ in range(2)]
    waits, start = [], 0
    for number, length in enumerate(lengths):
        batch = memory[number % 2][:length]
        batch.copy_(pixels(length))
        waits.append(inference.submit(batch, [values[start : start + length] for values in room]))
        start += length
    for wait in waits:
        wait()
    return list(room)


def expected(lengths: list[int]) -> list[torch.Tensor]:
    sums = torch.cat([pixels(length).float().sum(dim=(1, 2, 3)) for length in lengths])
    return [torch.stack([sums + i for i in range(width)], dim=1) for width in WIDTHS]


@pytest.mark.parametrize(("side", "images"), [(8, 256), (64, 256), (160, 62), (224, 32), (600, 32)])
def test_a_cpu_takes_more_images_at_a_time_if_they_are_small(side, images):
    assert automatic_batch_size(torch.device("cpu"), (3, side, side)) == images
    assert automatic_batch_size(torch.device("cuda"), (3, side, side)) == 256


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("lengths", [[4], [1, 8, 3, 8, 8, 2], [8] * 20])
def test_batches_that_overlap_have_the_features_of_their_own_pixels(device, lengths):
    inference = Inference(Sums(8), torch.Tensor.float, torch.device(device), 8)
    for found, wanted in zip(computed(inference, lengths), expected(lengths), strict=True):
        assert torch.equal(found, wanted)  # sums of integers are exact


@pytest.mark.parametrize("device", ["cpu", GPU])
@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, lambda: RuntimeError("can't allocate memory")])
def test_where_memory_runs_out_batches_are_halved_from_there_on(device, error):
    model = Sums(3, error)
    inference = Inference(model, torch.Tensor.float, torch.device(device), 8)
    for found, wanted in zip(computed(inference, [2, 8, 8]), expected([2, 8, 8]), strict=True):
        assert torch.equal(found, wanted)
    assert inference.size == 2
    assert model.sizes == [2] + [2] * 8


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_too_little_memory_for_one_image_is_an_error(error):
    with pytest.raises(error):
        computed(Inference(Sums(0, error), torch.Tensor.float, torch.device("cpu"), 8), [8])


def test_other_errors_are_not_taken_for_lack_of_memory():
    def error() -> Exception:
        return RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        computed(Inference(Sums(1, error), torch.Tensor.float, torch.device("cpu"), 8), [8])


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_precision(precision):
    layer = nn.Conv2d(3, 4, 1)
    with precision_of(precision, torch.device("cpu")), torch.inference_mode():
        assert layer(torch.ones(1, 3, 2, 2)).dtype == getattr(torch, precision)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tf32_only_where_it_is_asked_for():
    values = torch.randn((512, 512), generator=torch.Generator().manual_seed(0)).cuda()
    exact = values.double() @ values.double()
    errors = {}
    for precision in ("float32", "tf32", "float32"):
        with precision_of(precision, torch.device("cuda")):
            errors[precision] = ((values @ values).double() - exact).abs().max().item()
    # 512 products: some 1e-5 in float32; with 10 bits of a factor some 1e-2
    assert errors["float32"] < 1e-3 < errors["tf32"]

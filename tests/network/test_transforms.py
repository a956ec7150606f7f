import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.data import create_transform
from torchvision import models, transforms
from torchvision.transforms import v2

from labelsim.network.transforms import split

SIZES = [(500, 375), (375, 500), (64, 64), (1000, 90), (90, 1000), (257, 224)]


def noise(size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.random.default_rng(size[0]).integers(0, 256, (size[1], size[0], 3), np.uint8)


def picture(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(noise(size))


def presets() -> dict:
    """Every distinct transform of torchvision's classification weights."""
    entries = (models.get_model_weights(name)["DEFAULT"] for name in models.list_models(module=models))
    return {repr(entry.transforms()): entry.transforms() for entry in entries}


@pytest.mark.parametrize("size", SIZES)
def test_halves_of_torchvisions_presets_give_what_the_whole_gives(size):
    for transform in presets().values():
        halves = split(transform)
        assert halves.dtype == torch.uint8
        both = [halves.image(noise(size)), halves.image(noise(size[::-1]))]
        whole = [transform(picture(size)), transform(picture(size[::-1]))]
        assert torch.equal(halves.batch(torch.stack(both)), torch.stack(whole))


@pytest.mark.parametrize("options", [{}, {"interpolation": "bicubic", "crop_pct": 0.95}, {"crop_mode": "squash"}])
def test_halves_of_timms_transforms_give_what_the_whole_gives(options):
    transform = create_transform(224, is_training=False, **options)
    halves = split(transform)
    assert halves.dtype == torch.uint8
    for size in SIZES:
        whole = transform(picture(size))
        assert torch.equal(halves.batch(halves.image(noise(size)).unsqueeze(0)).squeeze(0), whole)


@pytest.mark.parametrize("max_size", [None, 300, 3000])
@pytest.mark.parametrize("size", [*SIZES, (4000, 80)])
def test_halves_of_a_composed_transform_give_what_the_whole_gives(max_size, size):
    steps = [transforms.Resize(256, max_size=max_size), transforms.CenterCrop(224), transforms.ToTensor()]
    transform = transforms.Compose([*steps, transforms.Normalize([0.5] * 3, [0.25] * 3)])
    halves = split(transform)
    assert halves.dtype == torch.uint8
    assert torch.equal(halves.batch(halves.image(noise(size))[None])[0], transform(picture(size)))


def test_a_batch_is_normalised_alike_in_either_order_of_memory():
    transform = models.ResNet34_Weights.DEFAULT.transforms()
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16)
    halves = split(transform)
    plain = halves.batch(pixels.contiguous())
    last = halves.batch(pixels.contiguous(memory_format=torch.channels_last))
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(last, plain)
    scaled = pixels.to(torch.float32).div(255)
    assert torch.equal(last, v2.functional.normalize(scaled, transform.mean, transform.std))


def test_the_images_bytes_are_left_as_they_are():
    halves = split(models.ResNet34_Weights.DEFAULT.transforms())
    pixels = halves.image(noise((500, 375))).unsqueeze(0)
    before = pixels.clone()
    halves.batch(pixels)
    assert torch.equal(pixels, before)


def test_another_transform_stays_whole():
    transform = v2.Compose([v2.Resize((8, 8)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    halves = split(transform)
    assert halves.dtype == torch.float32
    assert torch.equal(halves.image(noise((64, 64))), transform(picture((64, 64))))
    batch = torch.rand(2, 3, 8, 8)
    assert torch.equal(halves.batch(batch), batch)


def test_a_transform_that_only_looks_like_a_preset_stays_whole():
    class ImageClassification:
        """Has the preset's name and values, and does something else."""

        resize_size, crop_size, mean, std, antialias = [8], [8], [0.5] * 3, [0.5] * 3, True
        interpolation = v2.InterpolationMode.BILINEAR

        def __call__(self, image: Image.Image) -> torch.Tensor:
            return torch.full((3, 8, 8), 7.0)

    halves = split(ImageClassification())
    assert halves.dtype == torch.float32
    assert torch.equal(halves.image(noise((64, 64))), torch.full((3, 8, 8), 7.0))


def test_half_precision_becomes_float32():
    halves = split(lambda image: torch.ones(3, 4, 4, dtype=torch.float16))
    assert halves.image(noise((64, 64))).dtype == torch.float32

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from timm.data import create_transform
from torchvision import models, transforms
from torchvision.transforms import v2

from labelsim.images.transform import gathered, split_transform

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
        parts = split_transform(transform)
        assert parts.dtype == torch.uint8
        both = [parts.image(noise(size)), parts.image(noise(size[::-1]))]
        whole = [transform(picture(size)), transform(picture(size[::-1]))]
        assert torch.equal(parts.batch(torch.stack(both)), torch.stack(whole))


@pytest.mark.parametrize("options", [{}, {"interpolation": "bicubic", "crop_pct": 0.95}, {"crop_mode": "squash"}])
def test_halves_of_timms_transforms_give_what_the_whole_gives(options):
    transform = create_transform(224, is_training=False, **options)
    parts = split_transform(transform)
    assert parts.dtype == torch.uint8
    for size in SIZES:
        whole = transform(picture(size))
        assert torch.equal(parts.batch(parts.image(noise(size)).unsqueeze(0)).squeeze(0), whole)


@pytest.mark.parametrize("max_size", [None, 300, 3000])
@pytest.mark.parametrize("size", [*SIZES, (4000, 80)])
def test_halves_of_a_composed_transform_give_what_the_whole_gives(max_size, size):
    steps = [transforms.Resize(256, max_size=max_size), transforms.CenterCrop(224), transforms.ToTensor()]
    transform = transforms.Compose([*steps, transforms.Normalize([0.5] * 3, [0.25] * 3)])
    parts = split_transform(transform)
    assert parts.dtype == torch.uint8
    assert torch.equal(parts.batch(parts.image(noise(size))[None])[0], transform(picture(size)))


def every_byte(order: torch.memory_format) -> torch.Tensor:
    """A batch in which every channel of every image has every byte, each in another order."""
    random = np.random.default_rng(0)
    planes = [random.permutation(256).astype(np.uint8).reshape(8, 32) for _ in range(15)]
    return torch.from_numpy(np.stack(planes)).view(5, 3, 8, 32).contiguous(memory_format=order)


def normalized(pixels: torch.Tensor, transform) -> torch.Tensor:
    """As torchvision's presets do it."""
    scaled = transforms.functional.convert_image_dtype(pixels, torch.float32)
    return transforms.functional.normalize(scaled, transform.mean, transform.std)


ORDERS = [torch.contiguous_format, torch.channels_last]
NORMALIZE = [models.ResNet34_Weights.DEFAULT.transforms(), models.ViT_L_16_Weights.IMAGENET1K_SWAG_E2E_V1.transforms()]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("transform", NORMALIZE)
def test_bytes_looked_up_in_a_table_are_those_that_torchvision_normalises(transform, order):
    pixels = every_byte(order)
    expected = normalized(pixels, transform)
    table = normalized(torch.arange(256, dtype=torch.uint8).expand(3, 1, 256), transform).flatten(1)
    for found in (gathered(pixels, table), split_transform(transform).batch(pixels)):
        assert found.dtype == torch.float32
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(found, expected)
    assert torch.equal(gathered(pixels[1:, :, ::2, 1:], table), expected[1:, :, ::2, 1:])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("transform", NORMALIZE)
def test_a_gpu_normalises_to_the_same_bits_without_waiting_for_the_host(transform, order):
    pixels, parts = every_byte(order), split_transform(transform)
    on_gpu = pixels.cuda()
    parts.batch(on_gpu)
    torch.cuda.set_sync_debug_mode("error")  # the table is there by now
    try:
        found = parts.batch(on_gpu)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found.cpu(), parts.batch(pixels))


def test_the_images_bytes_are_left_as_they_are():
    parts = split_transform(models.ResNet34_Weights.DEFAULT.transforms())
    pixels = parts.image(noise((500, 375))).unsqueeze(0)
    before = pixels.clone()
    parts.batch(pixels)
    assert torch.equal(pixels, before)


def test_another_transform_stays_whole():
    transform = v2.Compose([v2.Resize((8, 8)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    parts = split_transform(transform)
    assert parts.dtype == torch.float32
    assert torch.equal(parts.image(noise((64, 64))), transform(picture((64, 64))))
    batch = torch.rand(2, 3, 8, 8)
    assert torch.equal(parts.batch(batch), batch)


def test_a_transform_that_only_looks_like_a_preset_stays_whole():
    class ImageClassification:
        """Has the preset's name and values, and does something else."""

        resize_size, crop_size, mean, std, antialias = [8], [8], [0.5] * 3, [0.5] * 3, True
        interpolation = v2.InterpolationMode.BILINEAR

        def __call__(self, image: Image.Image) -> torch.Tensor:
            return torch.full((3, 8, 8), 7.0)

    parts = split_transform(ImageClassification())
    assert parts.dtype == torch.float32
    assert torch.equal(parts.image(noise((64, 64))), torch.full((3, 8, 8), 7.0))


def test_half_precision_becomes_float32():
    parts = split_transform(lambda image: torch.ones(3, 4, 4, dtype=torch.float16))
    assert parts.image(noise((64, 64))).dtype == torch.float32

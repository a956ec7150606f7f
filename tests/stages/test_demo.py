from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from labelsim.stages.demo_digits import demo_digits, digits
from labelsim.stages.demo_network import transform


def test_halves_are_disjoint_and_stratified():
    training, other = digits(training=True), digits(training=False)
    assert sorted([*training.position, *other.position]) == list(range(1797))
    np.testing.assert_array_less(np.abs(np.bincount(training.label) - np.bincount(other.label)), 2)


def test_the_halves_stay_the_same():
    first, second = digits(training=True), digits(training=True)
    np.testing.assert_array_equal(first.position, second.position)


def test_write_digits_writes_the_other_half(tmp_path: Path):
    folder = tmp_path / "images" / "digits"
    reference = folder.parent / "segments.csv"
    demo_digits(folder, reference)
    files = list(folder.glob("*/*.png"))
    assert {path.name for path in folder.iterdir()} == {str(digit) for digit in range(10)}
    assert len(files) == len(digits(training=False).position)
    assert {int(path.stem) for path in files}.isdisjoint(digits(training=True).position)
    dataset = load_digits()
    for path in files:
        index = int(path.stem)
        assert str(dataset.target[index]) == path.parent.name
        with Image.open(path) as image:
            assert (image.format, image.mode) == ("PNG", "L")
            np.testing.assert_array_equal(image, np.rint(dataset.images[index] / 16 * 255))
    assert {path.name for path in folder.parent.iterdir()} == {"digits", "segments.csv"}
    rows = reference.read_text(encoding="utf-8").split()
    assert len(rows) == 1 + 45
    # An 8 has all seven segments, a 1 two of them; a 3 lacks two, which a 2 has one of.
    assert {"1,8,0.2857", "2,3,0.6667"} <= set(rows)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_transform(mode: str):
    image = Image.fromarray(digits(training=False).image[0]).convert(mode)
    tensor = transform()(image)
    assert tensor.shape == (3, 32, 32)
    assert tensor.dtype == torch.float32
    assert torch.equal(tensor[0], tensor[1])
    assert torch.equal(tensor[0], tensor[2])
    white = transform()(Image.new(mode, (8, 8), "white"))
    assert torch.equal(white, torch.ones(3, 32, 32))

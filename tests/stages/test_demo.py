from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from labelsim.errors import LabelsimError
from labelsim.stages import demo


def test_halves_are_disjoint_and_stratified():
    training, other = demo.digits(training=True), demo.digits(training=False)
    assert sorted([*training.index, *other.index]) == list(range(1797))
    np.testing.assert_array_less(np.abs(np.bincount(training.label) - np.bincount(other.label)), 2)


def test_the_halves_stay_the_same():
    first, second = demo.digits(training=True), demo.digits(training=True)
    np.testing.assert_array_equal(first.index, second.index)


def test_write_digits_writes_the_other_half(tmp_path: Path):
    folder = tmp_path / "images" / "digits"
    count = demo.write_digits(folder)
    files = list(folder.glob("*/*.png"))
    assert {path.name for path in folder.iterdir()} == {str(digit) for digit in range(10)}
    assert len(files) == count == len(demo.digits(training=False).index)
    assert {int(path.stem) for path in files}.isdisjoint(demo.digits(training=True).index)
    dataset = load_digits()
    for path in files:
        index = int(path.stem)
        assert str(dataset.target[index]) == path.parent.name
        with Image.open(path) as image:
            assert (image.format, image.mode) == ("PNG", "L")
            np.testing.assert_array_equal(image, np.rint(dataset.images[index] / 16 * 255))
    assert [path.name for path in folder.parent.iterdir()] == ["digits"]


def test_write_digits_replaces_digits_only(tmp_path: Path):
    folder = tmp_path / "digits"
    (folder / "3").mkdir(parents=True)
    (folder / "3" / "stale.png").touch()
    demo.write_digits(folder)
    assert not (folder / "3" / "stale.png").exists()
    (folder / "thesis.txt").touch()
    with pytest.raises(LabelsimError, match="holds other things"):
        demo.write_digits(folder)
    assert (folder / "thesis.txt").exists()


def test_write_digits_that_fails_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save = Image.Image.save

    def full_disk(self: Image.Image, path: Path) -> None:
        if path.parent.name == "7":
            raise OSError("no space left on device")
        save(self, path)

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        demo.write_digits(tmp_path / "digits")
    assert not (tmp_path / "digits").exists()
    monkeypatch.undo()
    demo.write_digits(tmp_path / "digits")
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_transform(mode: str):
    image = Image.fromarray(demo.digits(training=False).image[0]).convert(mode)
    tensor = demo.transform()(image)
    assert tensor.shape == (3, 32, 32)
    assert tensor.dtype == torch.float32
    assert torch.equal(tensor[0], tensor[1])
    assert torch.equal(tensor[0], tensor[2])
    white = demo.transform()(Image.new(mode, (8, 8), "white"))
    assert torch.equal(white, torch.ones(3, 32, 32))

import io
import os
import pickle
import signal
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.datasets.folder import pil_loader
from torchvision.transforms import v2

from labelsim.dataset.formats.base import digest
from labelsim.dataset.sources import open_source
from labelsim.errors import LabelsimError
from labelsim.images.loader import Images, batches

SHAPE = (3, 8, 8)
OF_IMAGES = v2.Compose([v2.Resize((8, 8)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
RGB = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8))


def encode(image: Image.Image, format: str) -> bytes:
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


PNG, JPEG, CMYK = encode(RGB, "PNG"), encode(RGB, "JPEG"), encode(RGB.convert("CMYK"), "JPEG")


def transformed(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return OF_IMAGES(Image.fromarray(pixels))


@pytest.fixture
def dataset(tmp_path):
    """Make a function that gives the dataset of files written to a class folder."""

    def make(files: dict[str, bytes], transform: Callable = transformed) -> Images:
        folder = tmp_path / "class"
        folder.mkdir()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        source = open_source(tmp_path, "folder")
        return Images(source, source.list().samples, transform, SHAPE)

    return make


def only(images: Images) -> tuple[torch.Tensor, str]:
    assert len(images) == 1
    pixels, reason = images[0]
    assert pixels.shape == SHAPE
    assert pixels.dtype == torch.float32
    return pixels, reason


def test_images_are_transformed(dataset, tmp_path):
    pixels, reason = only(dataset({"a.png": JPEG}))
    assert reason == ""
    assert torch.equal(pixels, OF_IMAGES(pil_loader(tmp_path / "class" / "a.png")))


def test_a_bad_file_leaves_the_rest_of_its_batch_unharmed(dataset, tmp_path):
    files = {
        "1.png": PNG,
        "2.png": b"",
        "3.png": CMYK,
        "4.png": b"no image",
    }
    images = dataset(files)
    (tmp_path / "class" / "4.png").unlink()
    ((pixels, reasons),) = torch.utils.data.DataLoader(images, batch_size=4)
    assert list(reasons) == ["", "empty file", "", "cannot be read: No such file or directory"]
    for row, name in [(0, "1.png"), (2, "3.png")]:
        assert torch.equal(pixels[row], OF_IMAGES(pil_loader(tmp_path / "class" / name)))
    assert not pixels[[1, 3]].any()


def raises_value_error(pixels: NDArray[np.uint8]) -> torch.Tensor:
    raise ValueError(f"no such {object()}\nsecond line")


def raises_without_message(pixels: NDArray[np.uint8]) -> torch.Tensor:
    raise RuntimeError


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (raises_value_error, "transform: no such <object object>"),
        (raises_without_message, "transform: RuntimeError"),
        (lambda pixels: torch.zeros(3, 8, 9), "transform gave (3, 8, 9) where (3, 8, 8) was expected"),
        (Image.fromarray, "transform gave Image where a tensor was expected"),
    ],
)
def test_what_a_transform_does_wrong_is_a_reason(dataset, transform, reason):
    pixels, given = only(dataset({"a.png": PNG}, transform))
    assert given == reason
    assert not pixels.any()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64, torch.float16])
def test_pixels_are_cast_to_float32(dataset, dtype):
    pixels, reason = only(dataset({"a.png": PNG}, lambda pixels: torch.full(SHAPE, 3, dtype=dtype)))
    assert reason == ""
    assert torch.equal(pixels, torch.full(SHAPE, 3.0))


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_what_is_no_fault_of_the_image_passes_through(dataset, error):
    def transform(pixels: NDArray[np.uint8]) -> torch.Tensor:
        raise error

    with pytest.raises(error):
        dataset({"a.png": PNG}, transform)[0]


def test_pickled_for_workers(dataset):
    images = dataset({f"{i}.png": JPEG for i in range(50)})
    data = pickle.dumps(images)
    # the table's 50 rows of some 50 bytes, and the transform
    assert len(data) < 50_000
    again = pickle.loads(data)
    assert torch.equal(again[7][0], images[7][0])
    assert again[7][1] == ""


def test_past_the_end(dataset):
    images = dataset({"a.png": PNG})
    with pytest.raises(IndexError):
        images[1]


def test_a_file_that_changed_since_the_scan_is_not_taken_for_the_one_that_was_listed(dataset, tmp_path):
    images = dataset({"a.png": PNG})
    (tmp_path / "class" / "a.png").write_bytes(JPEG)
    _, reason = only(images)
    assert reason == f"changed since the scan: {len(JPEG)} bytes where there were {len(PNG)}"


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_keep_their_order_and_their_reasons(dataset, workers):
    files = {f"{i}.png": PNG if i % 3 else b"" for i in range(8)}
    images = dataset(files)
    found = [
        (batch.pixels.clone(), batch.reasons)
        for batch in batches(images, [range(3), range(3, 4), range(4, 8)], workers)
    ]
    assert [len(pixels) for pixels, _ in found] == [3, 1, 4]
    assert [reason for _, reasons in found for reason in reasons] == ["" if i % 3 else "empty file" for i in range(8)]
    for i, pixels in enumerate(torch.cat([pixels for pixels, _ in found])):
        assert torch.equal(pixels, images[i][0])


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("lengths", [[70] * 9, [7] * 90, [40, 1, 100, 3, 64, 2] * 5])
def test_a_batch_is_unharmed_until_the_one_after_the_next_is_asked_for(tmp_path, workers, lengths):
    (tmp_path / "class").mkdir()
    count = sum(lengths)
    for i in range(count):
        Image.fromarray(np.full((1, 1, 3), i % 251, np.uint8)).save(tmp_path / "class" / f"{i:04d}.png")
    source = open_source(tmp_path, "folder")
    images = Images(source, source.list().samples, torch.from_numpy, (1, 1, 3), torch.uint8)
    ends = np.cumsum(lengths)
    cuts = [range(end - length, end) for end, length in zip(ends.tolist(), lengths, strict=True)]
    before = None
    for cut, batch in zip(cuts, batches(images, cuts, workers), strict=True):
        for rows, pixels in [before, (cut, batch.pixels)] if before else [(cut, batch.pixels)]:
            assert pixels.flatten(1).tolist() == [[i % 251] * 3 for i in rows]
        before = cut, batch.pixels


def killed(image: Image.Image) -> torch.Tensor:
    os.kill(os.getpid(), signal.SIGKILL)
    return torch.zeros(SHAPE)


def crashed(image: Image.Image) -> torch.Tensor:
    os.kill(os.getpid(), signal.SIGSEGV)
    return torch.zeros(SHAPE)


@pytest.mark.parametrize(
    ("transform", "message"),
    [(killed, "was killed, most likely because memory ran out"), (crashed, r"crashed \(SIGSEGV\)")],
)
def test_a_worker_that_ended_is_told_by_what_ended_it(dataset, transform, message):
    with pytest.raises(LabelsimError, match=f"A process that decodes images {message}"):
        list(batches(dataset({"a.png": PNG}, transform), [range(1)], workers=1))


def interrupted(image: Image.Image) -> torch.Tensor:
    os.kill(os.getpid(), signal.SIGINT)
    return torch.ones(SHAPE)


def test_an_interrupt_is_left_to_the_process_that_ends_the_workers(dataset):
    (batch,) = batches(dataset({"a.png": PNG}, interrupted), [range(1)], workers=1)
    assert batch.reasons == [""]
    assert batch.pixels.eq(1).all()


def test_other_contents_of_the_same_size_are_noticed_where_contents_are_digested(dataset):
    images = dataset({"a.png": PNG})
    images.rows = images.rows.append_column("content", [[digest(PNG)]])
    assert only(images)[1] == ""
    images.rows = images.rows.set_column(6, "content", [[digest(JPEG)]])
    assert only(images)[1] == "changed since the scan: other contents"

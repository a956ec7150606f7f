import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.datasets.folder import pil_loader

from labelsim.images.decode import ImageError, _jpeg, decode

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 13, 4), dtype=np.uint8)
RGB = Image.fromarray(PIXELS[..., :3])
GREY = Image.fromarray(PIXELS[..., 0])


def encode(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def palette_with_transparency() -> bytes:
    return encode(RGB.quantize(16), "PNG", transparency=bytes(range(0, 256, 16)))


def exif_rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate by 90 degrees
    return encode(RGB, "JPEG", exif=exif)


def tall_samples() -> bytes:
    """A JPEG whose colours are sampled 4:4:1, a valid one: as in 4:2:0, a unit has four blocks of Y, one of Cb and Cr.

    So 24 units of 16 x 16 pixels, four rows of six, are as many of 8 x 32.
    """
    pixels = np.random.default_rng(2).integers(0, 256, (64, 96, 3), np.uint8)
    data = bytearray(encode(Image.fromarray(pixels), "JPEG", subsampling="4:2:0"))
    frame = data.index(b"\xff\xc0") + 5  # height, width, number of components, and of each id, sampling, table
    data[frame : frame + 4] = (128).to_bytes(2) + (48).to_bytes(2)
    assert data[frame + 6] == 0x22
    data[frame + 6] = 0x14
    return bytes(data)


def odd_exif() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 1
    data = exif.tobytes()
    return encode(RGB, "JPEG", exif=data[:-8])


READABLE = {
    "rgb.JPEG": encode(RGB, "JPEG"),
    "progressive.jpg": encode(RGB, "JPEG", progressive=True),
    "4-4-1.JPEG": tall_samples(),
    "cmyk.JPEG": encode(RGB.convert("CMYK"), "JPEG"),
    "grey.JPEG": encode(GREY, "JPEG"),
    "grey.png": encode(GREY, "PNG"),
    "black and white.png": encode(GREY.convert("1"), "PNG"),
    "palette.png": encode(RGB.quantize(16), "PNG"),
    "palette with transparency.png": palette_with_transparency(),
    "grey palette.gif": encode(GREY, "GIF"),
    "alpha.png": encode(Image.fromarray(PIXELS), "PNG"),
    "grey and alpha.png": encode(Image.fromarray(PIXELS).convert("LA"), "PNG"),
    "rotated.JPEG": exif_rotated(),
    "odd exif.JPEG": odd_exif(),
    "png named.JPEG": encode(RGB, "PNG"),
    "no extension": encode(RGB, "BMP"),
    "text.txt": encode(RGB, "TIFF"),
    "lab.tif": encode(Image.frombytes("LAB", (13, 9), PIXELS[..., :3].tobytes()), "TIFF"),
    "ycbcr.tif": encode(RGB.convert("YCbCr"), "TIFF"),
    "cmyk.tif": encode(RGB.convert("CMYK"), "TIFF"),
    "lossless.webp": encode(RGB, "WEBP", lossless=True),
    "32 bits.tif": encode(Image.fromarray(PIXELS[..., 0].astype(np.int32)), "TIFF"),
    "16 bits.tif": encode(Image.fromarray(PIXELS[..., 0].astype(np.uint16)), "TIFF"),
    "animated.gif": encode(RGB, "GIF", save_all=True, append_images=[RGB.rotate(180), RGB.rotate(90)]),
    "animated.webp": encode(RGB, "WEBP", save_all=True, append_images=[RGB.rotate(180)]),
    "animated.png": encode(RGB, "PNG", save_all=True, append_images=[RGB.rotate(180)]),
}


@pytest.mark.parametrize("name", READABLE)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # the oracle's: ours are silenced, as another test shows
def test_pixels_are_those_of_torchvisions_loader(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(READABLE[name])
    pixels = decode(READABLE[name])
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, np.asarray(pil_loader(path)))


def test_exif_orientation_is_not_applied():
    assert Image.open(io.BytesIO(exif_rotated())).getexif()[0x0112] == 6
    assert decode(exif_rotated()).shape == (9, 13, 3)


def test_no_warning_escapes(tmp_path):
    """Warnings are errors in these tests: decode must not raise where Pillow itself warns."""
    path = tmp_path / "palette.png"
    path.write_bytes(palette_with_transparency())
    with pytest.warns(UserWarning, match="Palette images with Transparency"):
        pil_loader(path)
    assert decode(palette_with_transparency()).ndim == 3


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_16_bits_are_scaled_to_8(format):
    values = np.array([[0, 1, 256, 257, 513], [514, 32768, 65278, 65279, 65535]], np.uint16)
    data = encode(Image.fromarray(values), format)
    assert Image.open(io.BytesIO(data)).mode in ("I;16", "I")
    expected = [[0, 0, 0, 1, 1], [2, 127, 254, 254, 255]]
    assert np.array_equal(decode(data), np.stack([expected] * 3, axis=-1))


def test_big_endian_16_bits_are_scaled_to_8():
    image = Image.frombytes("I;16B", (2, 1), np.array([257, 65535], ">u2").tobytes())
    data = encode(image, "TIFF")
    assert Image.open(io.BytesIO(data)).mode == "I;16B"
    assert decode(data)[0, :, 0].tolist() == [1, 255]


def test_8_bits_written_with_16_stay_the_same():
    data = encode(Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257), "PNG")
    assert np.array_equal(decode(data), np.asarray(GREY.convert("RGB")))


REJECTED = {
    "empty": (b"", "empty file"),
    "text": (b"This is no image, though it is called so.", "not an image that Pillow reads"),
    "zeros": (bytes(1000), "not an image that Pillow reads"),
    "only the start": (READABLE["alpha.png"][:10], "not an image that Pillow reads"),
    "float": (encode(GREY.convert("F"), "TIFF"), "floating-point pixels (mode F) have no settled range"),
    "32 bits": (
        encode(Image.fromarray(np.array([[65536]], np.int32)), "TIFF"),
        "integer pixels (mode I) beyond 16 bits have no settled range",
    ),
    "negative": (
        encode(Image.fromarray(np.array([[-1]], np.int32)), "TIFF"),
        "integer pixels (mode I) beyond 16 bits have no settled range",
    ),
}


@pytest.mark.parametrize("name", REJECTED)
def test_rejected_with_the_reason(name):
    data, reason = REJECTED[name]
    with pytest.raises(ImageError) as error:
        decode(data)
    assert str(error.value) == reason


@pytest.mark.parametrize("name", ["rgb.JPEG", "progressive.jpg", "alpha.png", "lossless.webp", "text.txt"])
def test_truncated(name):
    data = READABLE[name]
    reasons = []
    for _ in range(2):
        with pytest.raises(ImageError, match=r"^truncated or damaged: |^not an image that Pillow reads$") as error:
            decode(data[: len(data) * 2 // 3])
        reasons.append(str(error.value))
    assert reasons[0] == reasons[1]
    assert "0x" not in reasons[0]
    assert "\n" not in reasons[0]


def test_truncated_jpeg_says_so():
    data = READABLE["rgb.JPEG"]
    with pytest.raises(ImageError, match=r"^truncated or damaged: image file is truncated"):
        decode(data[:-30])


def outcome(data: bytes) -> str:
    try:
        return str(decode(data).shape)
    except ImageError as error:
        return str(error)


@pytest.mark.parametrize("name", ["rgb.JPEG", "palette.png", "animated.gif", "text.txt", "odd exif.JPEG"])
def test_every_damage_is_rejected_or_decoded(name):
    """Whatever a flipped bit makes Pillow raise or warn, it comes out as an ImageError, if at all."""
    outcomes, rng = set(), np.random.default_rng(1)
    for position in rng.integers(0, len(READABLE[name]), 60):
        damaged = bytearray(READABLE[name])
        damaged[position] ^= 1 << int(rng.integers(8))
        outcomes.add(outcome(bytes(damaged)))
    assert "(9, 13, 3)" in outcomes
    assert not any("0x" in text or "\n" in text for text in outcomes)


@settings(deadline=None)
@given(
    st.sampled_from(["rgb.JPEG", "progressive.jpg", "grey.JPEG", "cmyk.JPEG", "4-4-1.JPEG"]),
    st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_every_damaged_header_is_rejected_or_decoded(name, damages):
    data = bytearray(READABLE[name])
    for position, value in damages:
        data[position % len(data)] = value
    outcome(bytes(data))


@pytest.mark.parametrize("sampling", range(256))
def test_every_sampling_is_rejected_or_decoded(sampling):
    data = bytearray(READABLE["rgb.JPEG"])
    data[data.index(b"\xff\xc0") + 11] = sampling  # of Y, horizontal and vertical
    outcome(bytes(data))


def test_decompression_bomb(monkeypatch):
    data = READABLE["grey.png"]  # 117 pixels
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(ImageError) as error:
        decode(data)
    assert str(error.value) == "too large: Image size (117 pixels) exceeds limit of 100 pixels"
    # between the limit and twice the limit Pillow warns only: used
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert decode(data).shape == (9, 13, 3)


def test_memory_error_of_the_decoder_passes_through(monkeypatch):
    def load(image: Image.Image) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    with pytest.raises(MemoryError):
        decode(READABLE["grey.png"])


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "4:1:1"])
@pytest.mark.parametrize("progressive", [False, True])
def test_ordinary_jpegs_are_decoded_to_pillows_pixels(subsampling, progressive):
    random = np.random.default_rng(0)
    for width, height, quality in [(1, 1, 90), (17, 33, 40), (500, 375, 75), (333, 500, 95)]:
        small = Image.fromarray(random.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), np.uint8))
        for mode in ("RGB", "L"):
            file = io.BytesIO()
            options = {"subsampling": subsampling} if mode == "RGB" else {}
            small.resize((width, height), Image.Resampling.BICUBIC).convert(mode).save(
                file, "JPEG", quality=quality, progressive=progressive, **options
            )
            assert _jpeg(file.getvalue()) is not None  # not left to Pillow, which would prove nothing
            expected = Image.open(file).convert("RGB")
            np.testing.assert_array_equal(decode(file.getvalue()), np.asarray(expected))

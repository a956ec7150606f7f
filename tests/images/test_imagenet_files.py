"""ImageNet's known bad files, imitated: what the network sees is what torchvision's ImageFolder would show it."""

import io
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from labelsim.dataset.sources import open_source
from labelsim.images.loader import Images

RNG = np.random.default_rng(2)
# Smooth, as photographs are, and of odd sizes: chroma is subsampled past the edge.
SMOOTH = Image.fromarray(RNG.integers(0, 256, (9, 13, 3), np.uint8)).resize((131, 87), Image.Resampling.BICUBIC)
GREY = SMOOTH.convert("L")
CMYK = Image.merge("CMYK", [*SMOOTH.split(), GREY.rotate(180)])
ORIENTATION = 0x0112

TRANSFORM = v2.Compose(
    [
        v2.Resize(48),
        v2.CenterCrop(40),
        v2.PILToTensor(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)


def encode(image: Image.Image, format: str = "JPEG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def segments(jpeg: bytes) -> list[bytes]:
    """The marker segments before a JPEG's scan, and from there on the rest."""
    found, at = [jpeg[:2]], 2
    while jpeg[at + 1] != 0xDA:  # start of scan
        end = at + 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0]
        found.append(jpeg[at:end])
        at = end
    return [*found, jpeg[at:]]


def with_segment(jpeg: bytes, marker: int, body: bytes, instead: bool = True) -> bytes:
    """A JPEG with a segment at its beginning, instead of those of this kind."""
    start, *others = segments(jpeg)
    kept = [part for part in others if not (instead and part[1] == marker)]
    return b"".join([start, b"\xff", bytes([marker]), struct.pack(">H", len(body) + 2), body, *kept])


def adobe(jpeg: bytes, colours: int) -> bytes:
    """A JPEG as Photoshop marks it: 0 for CMYK or RGB as they are, 1 for YCbCr, 2 for YCCK."""
    return with_segment(jpeg, 0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0x8000, 0, colours))


def without(jpeg: bytes, marker: int) -> bytes:
    return b"".join(part for part in segments(jpeg) if part[1] != marker)


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags.tobytes()


def with_exif(body: bytes) -> bytes:
    return with_segment(encode(SMOOTH, quality=90), 0xE1, body, instead=False)


BIG_ENDIAN = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1)  # and then the entries
FILES = {
    "ordinary": encode(SMOOTH),
    "no chroma subsampling": encode(SMOOTH, subsampling=0),
    "chroma halved across": encode(SMOOTH, subsampling=1),
    "progressive": encode(SMOOTH, progressive=True, quality=95),
    "restart markers": encode(SMOOTH, restart_marker_blocks=2),
    "grey": encode(GREY),
    "grey and progressive": encode(GREY, progressive=True),
    "one pixel": encode(SMOOTH.crop((0, 0, 1, 1))),
    # As are 22 of ILSVRC2012's training images
    "CMYK": encode(CMYK, quality=95),
    "CMYK without Adobe's marker": without(encode(CMYK), 0xEE),
    "CMYK of Adobe's": adobe(encode(CMYK), 0),
    "YCCK of Adobe's": adobe(encode(CMYK), 2),
    "YCCK of Adobe's, progressive": adobe(encode(CMYK, progressive=True), 2),
    "RGB of Adobe's": adobe(without(encode(SMOOTH, subsampling=0), 0xE0), 0),
    "RGB kept as it is": encode(SMOOTH, keep_rgb=True),
    "YCbCr of Adobe's": adobe(without(encode(SMOOTH), 0xE0), 1),
    # n02105855_2933.JPEG is a PNG
    "PNG": encode(SMOOTH, "PNG"),
    "PNG with a palette": encode(SMOOTH.quantize(64), "PNG"),
    "PNG with alpha": encode(Image.merge("RGBA", [*SMOOTH.split(), GREY]), "PNG"),
    "GIF": encode(SMOOTH.quantize(64), "GIF"),
    "BMP": encode(SMOOTH, "BMP"),
    # Broken or odd EXIF
    **{f"orientation {number}": encode(SMOOTH, exif=exif(number)) for number in range(1, 9)},
    "orientation out of range": encode(SMOOTH, exif=exif(77)),
    "EXIF cut short": with_exif(exif(6)[:-9]),
    "EXIF of nothing": with_exif(b"Exif\0\0"),
    "EXIF of noise": with_exif(b"Exif\0\0" + RNG.bytes(300)),
    "EXIF that promises more than it has": with_exif(BIG_ENDIAN + struct.pack(">HHII", 0x010E, 2, 1 << 20, 26)),
    "EXIF that points past its end": with_exif(BIG_ENDIAN + struct.pack(">HHII", 0x8769, 4, 1, 1 << 30)),
    "EXIF of text where a number is due": with_exif(BIG_ENDIAN + struct.pack(">HHI4s", ORIENTATION, 2, 4, b"six\0")),
    # What else lies about in files from the web
    "rubbish at the end": encode(SMOOTH) + b"rubbish" * 50,
    "another image at the end": encode(SMOOTH) + encode(GREY),
    "a profile of colours": encode(SMOOTH, icc_profile=RNG.bytes(3000)),
    "a comment": encode(SMOOTH, comment=b"\xff\xfe in bytes that are no text \x80"),
    "resolution of zero": with_segment(encode(SMOOTH), 0xE0, b"JFIF\0\x01\x01\x01\0\0\0\0\0\0"),
    "no JFIF header": without(encode(SMOOTH), 0xE0),
    "bytes between the segments": encode(SMOOTH)[:2] + b"\xff\xff" + encode(SMOOTH)[2:],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("imagenet")
    for number, data in enumerate(FILES.values()):
        path = root / "n02105855" / f"n02105855_{number:04}.JPEG"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    return root


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_the_imitations_are_what_they_are_said_to_be():
    modes = {name: Image.open(io.BytesIO(data)).mode for name, data in FILES.items()}
    assert {name for name, mode in modes.items() if mode == "CMYK"} == {
        name for name in FILES if name[1:4] in ("MYK", "CCK")
    }
    assert {name for name, mode in modes.items() if mode == "L"} == {"grey", "grey and progressive"}
    assert Image.open(io.BytesIO(FILES["PNG"])).format == "PNG"
    transforms = {name: Image.open(io.BytesIO(data)).info.get("adobe_transform") for name, data in FILES.items()}
    assert {transforms[name] for name in FILES if name.startswith("YCCK")} == {2}
    assert transforms["RGB of Adobe's"] == transforms["CMYK of Adobe's"] == 0
    assert transforms["CMYK without Adobe's marker"] is None
    plain = np.asarray(Image.open(io.BytesIO(FILES["ordinary"])))
    for name in ("RGB of Adobe's", "RGB kept as it is", "no chroma subsampling"):  # other colours, or other files
        assert not np.array_equal(np.asarray(Image.open(io.BytesIO(FILES[name]))), plain)
    assert dict(Image.open(io.BytesIO(FILES["orientation 6"])).getexif()) == {ORIENTATION: 6}


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # the oracle's: ours are silenced, as test_images.py shows
@pytest.mark.parametrize("prepare", [v2.PILToTensor(), TRANSFORM], ids=["as it is", "transformed"])
@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_imagefolder(folder, name, prepare):
    reference = ImageFolder(folder, prepare)
    source = open_source(folder, "folder")
    rows = source.list().samples
    assert len(rows) == len(reference) == len(FILES)
    number = list(FILES).index(name)
    expected, _ = reference[number]
    images = Images(
        source, rows, lambda pixels: prepare(Image.fromarray(pixels)), tuple(expected.shape), expected.dtype
    )
    pixels, reason = images[number]
    assert reason == ""
    assert torch.equal(pixels, expected)

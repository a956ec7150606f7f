"""From the bytes of an image file to RGB pixels, or the reason why not."""

import io
import re
import warnings

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

__all__ = ["ImageError", "decode", "first_line"]


class ImageError(Exception):
    """An image cannot be used; the message is the reason, the same in every run."""


def decode(data: bytes) -> NDArray[np.uint8]:
    """Decode an image file, whatever its format, to RGB.

    The pixels are those of torchvision's default loader: Pillow's conversion to RGB of the first frame, not
    rotated as EXIF may ask. One exception: where a greyscale image of 16 or 32 bits has values above 255, all
    of which Pillow would turn to white, its values are scaled to 8 bits (value // 257).

    Parameters
    ----------
    data : bytes
        The file's content.

    Returns
    -------
    (H, W, 3) uint8

    Raises
    ------
    ImageError
        If the file is empty, no image, damaged, too large (Pillow's limit against decompression bombs), or
        has pixels of no settled range (floating-point numbers, integers of more than 16 bits).
    """
    if not data:
        raise ImageError("empty file")
    pixels = _jpeg(data)
    return _any(data) if pixels is None else pixels


def _jpeg(data: bytes) -> NDArray[np.uint8] | None:
    """Decode an ordinary JPEG to the very pixels that Pillow gives, in less time; None for any other file."""
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
        if colorspace not in ("YCbCr", "Gray") or height * width > (Image.MAX_IMAGE_PIXELS or 0):
            return None
        return simplejpeg.decode_jpeg(data, "RGB")
    except MemoryError:
        raise
    except Exception:  # no JPEG, or one that libjpeg has something to say of, or (KeyError) of a rare sampling
        return None


def _any(data: bytes) -> NDArray[np.uint8]:
    with warnings.catch_warnings():
        # Pillow warns of oddities in palettes, metadata and sizes that do not touch the pixels
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data)) as image:
                return np.array(_rgb(image))
        except (ImageError, MemoryError):
            raise
        except UnidentifiedImageError as error:
            raise ImageError("not an image that Pillow reads") from error
        except Image.DecompressionBombError as error:
            raise ImageError(f"too large: {first_line(error).split(',')[0]}") from error
        except Exception as error:  # on damaged files Pillow's readers raise almost anything
            raise ImageError(f"truncated or damaged: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """Return an error's first line, without the object addresses that differ from run to run."""
    lines = str(error).splitlines() or [type(error).__name__]
    return re.sub(r" at 0x[0-9A-Fa-f]+", "", lines[0])


def _rgb(image: Image.Image) -> Image.Image:
    image.load()  # some readers know the mode only then
    if image.mode == "F":
        raise ImageError("floating-point pixels (mode F) have no settled range")
    if image.mode.startswith("I"):
        image = _eight_bits(image)
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Turn 16-bit greyscale, which Pillow holds in the modes I;16, I;16B and I, to 8 bits, if it is not in effect."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 65535:
        raise ImageError(f"integer pixels (mode {image.mode}) beyond 16 bits have no settled range")
    return Image.fromarray((values // 257 if values.max() > 255 else values).astype(np.uint8))

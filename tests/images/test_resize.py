import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from labelsim.images.resize import FILTERS, resize_part


@st.composite
def parts(draw: st.DrawFn) -> tuple:
    """A size of an image, one to resize it to, and a box in this."""
    sides = st.integers(1, 300)
    size = draw(sides), draw(sides)
    left, top = draw(st.integers(0, size[0] - 1)), draw(st.integers(0, size[1] - 1))
    width, height = draw(st.integers(1, size[0] - left)), draw(st.integers(1, size[1] - top))
    return (draw(sides), draw(sides)), size, (left, top, width, height)


@settings(max_examples=300)
@given(parts(), st.sampled_from(sorted(FILTERS)), st.sampled_from(["noise", "black and white"]), st.integers(0, 99))
def test_a_part_is_that_of_pillows_whole_bit_for_bit(part, filter, kind, seed):
    (high, wide), size, box = part
    pixels = np.random.default_rng(seed).integers(0, 256, (high, wide, 3), np.uint8)
    if kind == "black and white":  # the cubic filter overshoots, and what overshoots is cut off
        pixels = np.where(pixels < 128, 0, 255).astype(np.uint8)
    whole = Image.fromarray(pixels).resize(size, FILTERS[filter])
    left, top, width, height = box
    expected = np.asarray(whole)[top : top + height, left : left + width]
    np.testing.assert_array_equal(resize_part(pixels, size, box, filter), expected)


@pytest.mark.parametrize("filter", sorted(FILTERS))
@pytest.mark.parametrize(("wide", "high"), [(500, 375), (375, 500), (333, 500), (4000, 300), (300, 4000), (256, 256)])
def test_sizes_of_photographs(wide, high, filter):
    pixels = np.random.default_rng(0).integers(0, 256, (high, wide, 3), np.uint8)
    short = min(wide, high)
    size = (256 * wide // short, 256 * high // short)
    box = ((size[0] - 224) // 2, (size[1] - 224) // 2, 224, 224)
    whole = np.asarray(Image.fromarray(pixels).resize(size, FILTERS[filter]))
    expected = whole[box[1] : box[1] + 224, box[0] : box[0] + 224]
    np.testing.assert_array_equal(resize_part(pixels, size, box, filter), expected)


def test_the_pixels_are_left_as_they_are():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    before = pixels.copy()
    pixels.flags.writeable = False
    assert resize_part(pixels, (30, 20), (3, 2, 20, 10), "bilinear").flags.writeable
    np.testing.assert_array_equal(pixels, before)

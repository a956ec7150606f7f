import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from labelsim.statistics.accuracy import accuracy, ranks

# Few distinct values, so that ties are frequent.
_VALUES = st.sampled_from(np.array([-np.inf, -1.0, 0.0, 0.5, np.inf], dtype=np.float32))


@st.composite
def images(draw, values=_VALUES):
    """Logits, and the output that is expected of each image; -1 where none is."""
    n, m = draw(st.integers(0, 8)), draw(st.integers(1, 9))
    logits = draw(arrays(np.float32, (n, m), elements=values))
    return logits, draw(arrays(np.int64, (n,), elements=st.integers(-1, m - 1)))


@given(images())
def test_equals_sorting_by_hand(given_images):
    logits, expected = given_images
    order = [sorted(range(len(row)), key=lambda i, row=row: (-row[i], i)) for row in logits]
    assert ranks(logits, expected).tolist() == [
        outputs.index(output) if output >= 0 else -1 for output, outputs in zip(expected.tolist(), order, strict=True)
    ]


@given(images())
def test_the_largest_is_that_of_argmax(given_images):
    logits, expected = given_images
    np.testing.assert_array_equal(ranks(logits, expected) == 0, logits.argmax(axis=1) == expected)


@given(images(st.sampled_from(np.array([0.0, 1.0, np.nan], dtype=np.float32))))
def test_nan_is_no_answer_and_hides_none(given_images):
    logits, expected = given_images
    whole = ~np.isnan(logits).any(axis=1)
    found = ranks(logits, expected)
    assert (found[~whole] == -1).all()
    np.testing.assert_array_equal(found[whole], ranks(logits[whole], expected[whole]))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_of_equal_outputs_the_first_comes_first(dtype):
    assert ranks(np.zeros((7, 7), dtype=dtype), np.arange(7)).tolist() == list(range(7))


def test_classes_without_an_output_or_without_images_do_not_count():
    used, top1, top5 = (np.array(counts) for counts in ([10, 30, 50, 0], [4, 12, -1, 0], [5, 30, -1, 0]))
    assert accuracy(used, top1, top5) == (16 / 40, 35 / 40, 40, 2)


@pytest.mark.parametrize(("used", "counts"), [([3, 2], [-1, -1]), ([0], [0]), ([], [])])
def test_of_no_images_it_is_unknown(used, counts):
    found = accuracy(*(np.array(values, dtype=np.int64) for values in (used, counts, counts)))
    assert np.isnan([found.top1, found.top5]).all()
    assert found[2:] == (0, 0)

import numpy as np
import pytest
import torch

from labelsim.network.pooling import mean, rectified_mean

SHAPES = [(1, 1, 1, 1), (2, 3, 1, 1), (1, 64, 7, 7), (5, 3, 112, 113), (7, 130, 8, 8), (3, 2048, 2, 5)]
# Sums of 64 float32 numbers lose at most 64 half-units in the last place, 64 * 6e-8; others are in float64.
RTOL = 4e-6


def maps(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=torch.channels_last)


def oracle(values: torch.Tensor) -> np.ndarray:
    return np.maximum(values.double().numpy(), 0).mean(axis=(2, 3))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_equal_to_numpy_and_to_the_plain_form(shape, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = rectified_mean(maps(shape))
    finally:
        torch.set_num_threads(before)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), oracle(maps(shape)), RTOL)
    # the plain form sums in float32: some 1e-6 of the largest mean
    torch.testing.assert_close(found, mean(maps(shape).relu()), rtol=1e-5, atol=1e-6)


def test_threads_change_no_bit():
    values = maps((7, 130, 28, 28))
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            found.append(rectified_mean(values))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_an_image_has_the_same_bits_in_any_batch(batch):
    values = maps((5, 20, 30, 30))
    assert torch.equal(rectified_mean(values)[:batch], rectified_mean(values[:batch]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_take_the_plain_form(dtype):
    values = maps((2, 5, 9, 9)).to(dtype)
    np.testing.assert_allclose(rectified_mean(values).numpy(), oracle(values), 1e-5)


def test_maps_in_another_order():
    values = maps((4, 5, 9, 9)).contiguous()
    assert not values.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(rectified_mean(values).numpy(), oracle(values), 1e-5)


def test_what_is_not_finite_stays_so():
    values = maps((2, 3, 9, 9))
    values[0, 0, 4, 4], values[0, 1, 4, 4], values[0, 2, 4, 4] = float("nan"), float("inf"), -float("inf")
    found = rectified_mean(values)
    assert found[0, 0].isnan()
    assert found[0, 1] == float("inf")
    assert found[0, 2].isfinite()
    assert found[1].isfinite().all()


def test_a_channel_that_is_never_positive_is_exactly_zero():
    values = -maps((2, 3, 9, 9)).abs()
    values[0, 0] = -0.0
    assert torch.equal(rectified_mean(values), torch.zeros(2, 3))


def test_the_maps_are_left_as_they_are():
    values = maps((2, 3, 9, 9))
    before = values.clone()
    rectified_mean(values)
    assert torch.equal(values, before)

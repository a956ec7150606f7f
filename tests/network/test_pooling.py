import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from labelsim.network.pooling import has_kernel, mean, rectified_mean

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


# What runs the kernel: Triton's interpreter on a CPU, or a GPU.
KERNEL = """
import sys
import numpy as np
import torch
from labelsim.network.pooling_kernel import rectified_mean

device = sys.argv[1]
random = torch.Generator().manual_seed(0)
for shape in [(2, 70, 9, 7), (2, 5, 40, 33), (1, 64, 1, 1), (2, 3, 1, 5), (0, 4, 3, 3)]:
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        values = torch.randn(shape, generator=random).to(dtype)
        wide = torch.zeros((shape[0], 2 * shape[1], *shape[2:]), dtype=dtype)
        wide[:, ::2] = values
        expected = np.maximum(values.double().numpy(), 0).mean(axis=(2, 3))
        orders = (torch.contiguous_format, torch.channels_last)
        for maps in [*(values.contiguous(memory_format=order) for order in orders), wide[:, ::2]]:
            maps = maps.to(device)
            found = rectified_mean(maps)
            assert found.dtype == torch.float32
            np.testing.assert_allclose(found.cpu().numpy(), expected, 4e-6)
            assert torch.equal(found, rectified_mean(maps))
            assert torch.equal(found[:1], rectified_mean(maps[:1]))
values = torch.zeros(2, 3, 8, 8)
values[1, 2, 3, 4], values[0, 1, 0, 0], values[0, 0, 0, 0] = torch.nan, torch.inf, -torch.inf
found = rectified_mean(values.to(device)).cpu()
assert found.isnan().nonzero().tolist() == [[1, 2]], found
assert found.isinf().nonzero().tolist() == [[0, 1]], found
print("passed")
"""


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))],
)
def test_the_kernel_is_equal_to_numpy_in_any_order_of_memory(device):
    pytest.importorskip("triton")
    environment = os.environ | {"TRITON_INTERPRET": "1" if device == "cpu" else "0"}
    command = [sys.executable, "-W", "ignore", "-c", KERNEL, device]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "passed", done.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_gpu_reads_maps_once_with_the_kernel(dtype):
    assert has_kernel()
    values = maps((7, 130, 28, 28)).to(dtype)
    for there in (values.cuda(), values.cuda()[:, :, ::2]):  # rows that are not equally far apart
        np.testing.assert_allclose(rectified_mean(there).cpu().numpy(), oracle(there.cpu()), 1e-5)

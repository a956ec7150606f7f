from pathlib import Path

import pytest
import torch

from labelsim.errors import LabelsimError
from labelsim.network.device import exclusive_device, gpu_key, has_fast_bfloat16, sign_of_gpu

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="PyTorch sees a GPU")
SIGNS = ("SLURM_JOB_GPUS", "SLURM_STEP_GPUS", "CUDA_VISIBLE_DEVICES")


@pytest.fixture
def driver(tmp_path):
    """The folder of a driver that shows a GPU."""
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    return tmp_path / "gpus"


@pytest.mark.parametrize(
    ("environment", "sign"),
    [
        ({"SLURM_JOB_GPUS": "2"}, "SLURM_JOB_GPUS is '2'"),
        ({"SLURM_STEP_GPUS": "0,1", "CUDA_VISIBLE_DEVICES": "NoDevFiles"}, "SLURM_STEP_GPUS is '0,1'"),
        ({"CUDA_VISIBLE_DEVICES": "0"}, "CUDA_VISIBLE_DEVICES is '0'"),
        ({"CUDA_VISIBLE_DEVICES": "MIG-5b1f"}, "CUDA_VISIBLE_DEVICES is 'MIG-5b1f'"),
        ({"SLURM_JOB_GPUS": "", "CUDA_VISIBLE_DEVICES": "NoDevFiles"}, None),
        ({}, None),
        # Hidden by the user, whatever else there is.
        ({"CUDA_VISIBLE_DEVICES": "", "SLURM_JOB_GPUS": "2"}, None),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, None),
    ],
)
def test_what_the_environment_says_of_a_gpu(environment, sign, tmp_path):
    assert sign_of_gpu(environment, tmp_path) == sign
    assert sign_of_gpu(environment, tmp_path / "no driver") == sign


def test_what_the_driver_says_of_a_gpu(driver):
    for environment in ({}, {"CUDA_VISIBLE_DEVICES": "NoDevFiles"}):  # a Slurm job that asked for none
        assert str(driver) in sign_of_gpu(environment, driver)
    for hidden in ("", "-1"):
        assert sign_of_gpu({"CUDA_VISIBLE_DEVICES": hidden}, driver) is None


@without_gpu
@pytest.mark.parametrize("name", SIGNS)
def test_auto_is_no_cpu_where_a_gpu_was_granted(name, monkeypatch):
    for other in SIGNS:
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, "0")
    with pytest.raises(LabelsimError, match=rf"(?s){name}.*extract\.device: cpu"), exclusive_device("auto"):
        pass
    with exclusive_device("cpu") as device:
        assert device == torch.device("cpu")


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_auto_is_the_cpu_where_the_user_hides_the_gpus(hidden, monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("PyTorch has seen a GPU already")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    monkeypatch.setenv("SLURM_JOB_GPUS", "0")
    with exclusive_device("auto") as device:
        assert device == torch.device("cpu")


@needs_gpu
def test_a_claimed_gpu_is_the_current_one():
    with exclusive_device("auto") as device:
        assert device == torch.device("cuda", torch.cuda.current_device())
    last = torch.cuda.device_count() - 1
    with exclusive_device(f"cuda:{last}"):
        assert torch.cuda.current_device() == last


@pytest.mark.parametrize(
    ("number", "visible", "key"),
    [
        (0, None, "GPU-5b1f"),
        (1, "3,0", "GPU-5b1f"),
        (0, "GPU-5b1f", "GPU-5b1f"),
        (0, "MIG-77aa", "MIG-77aa"),
        (1, "MIG-77aa, MIG-GPU-5b1f/1/0", "MIG-GPU-5b1f/1/0"),
    ],
)
def test_parts_of_a_gpu_have_keys_of_their_own(number, visible, key):
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert gpu_key(number, "5b1f", environment) == key


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="needs Linux")
def test_fast_bfloat16_is_what_the_system_says_of_the_processor():
    flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    assert has_fast_bfloat16() is bool({"avx512_bf16", "amx_bf16", "bf16"} & flags)

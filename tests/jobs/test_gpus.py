import pytest

from labelsim.jobs.gpus import visible_gpus


@pytest.fixture
def driver(tmp_path):
    """The folder of a driver that shows four GPUs."""
    for number in range(4):
        (tmp_path / "gpus" / f"0000:0{number}:00.0").mkdir(parents=True)
    return tmp_path / "gpus"


@pytest.mark.parametrize(
    ("environment", "count"),
    [
        ({}, 4),
        ({"CUDA_VISIBLE_DEVICES": "0"}, 1),
        ({"CUDA_VISIBLE_DEVICES": "2, 3"}, 2),
        ({"CUDA_VISIBLE_DEVICES": "GPU-1f3a,MIG-5b1f,MIG-77c0"}, 3),
        ({"CUDA_VISIBLE_DEVICES": ""}, 0),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, 0),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, 0),
    ],
)
def test_gpus_are_those_of_the_driver_that_are_not_hidden(environment, count, driver, tmp_path):
    assert visible_gpus(environment, driver) == count
    assert visible_gpus(environment, tmp_path / "no driver") == 0

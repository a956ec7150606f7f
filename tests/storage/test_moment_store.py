import numpy as np
import pytest
from numpy.testing import assert_array_equal

from labelsim.statistics.moments import Moments
from labelsim.storage.moment_store import (
    CLASSES_PER_CHUNK,
    arrays,
    class_labels,
    load_moments,
    put_moments,
)
from labelsim.storage.zarr_store import Array, Writer, blocks, load, open_store

FOLDS, CLASSES = 3, CLASSES_PER_CHUNK + 7
WIDTHS = {"gap": 2053, "hidden": 4, "probability": 7}


def random_moments(width: int) -> Moments:
    random = np.random.default_rng(0)
    count = np.random.default_rng(1).integers(0, 3, (FOLDS, CLASSES))  # the same for gap and hidden
    count[:, 5] = 0
    present = (count > 0)[..., np.newaxis]
    mean, m2 = (np.where(present, random.normal(size=(FOLDS, CLASSES, width)), 0.0) for _ in range(2))
    return Moments(count, mean, np.abs(m2))


@pytest.fixture(scope="module")
def moments():
    found = {name: random_moments(width) for name, width in WIDTHS.items()}
    found["probability"].m2[:] = np.nan  # not kept
    return found


@pytest.fixture(scope="module")
def dataset(moments, tmp_path_factory):
    path = tmp_path_factory.mktemp("moments") / "moments.zarr"
    names = {"class_name": Array(("class",), (CLASSES,), "str", coordinate=True)}
    writer = Writer(path, arrays(FOLDS, CLASSES, WIDTHS) | names, "identity")
    for name, values in moments.items():
        for part in blocks(CLASSES, CLASSES_PER_CHUNK):
            put_moments(writer, name, part.start, Moments(*(array[:, part] for array in values)))
    writer.put_whole("count", moments["gap"].count)
    for name in ("top1", "top5", "output_index"):
        writer.put_whole(name, np.full(CLASSES, -1))
    writer.put_whole("class_id", np.array([f"n{i}" for i in range(CLASSES)], dtype=object))
    writer.put_whole("class_name", np.array([f"tench {i} é" for i in range(CLASSES)], dtype=object))
    writer.put_whole("layer", np.array(["conv1"] * WIDTHS["gap"], dtype=object))
    writer.put_whole("layer_channel", np.arange(WIDTHS["gap"]))
    writer.commit({})
    return open_store(path)


@pytest.mark.parametrize("name", WIDTHS)
def test_moments_come_back_as_they_were_put(dataset, moments, name):
    for found, expected in zip(load_moments(dataset, name), moments[name], strict=True):
        assert found.dtype == expected.dtype
        assert_array_equal(found, expected)


def test_moments_without_samples_read_as_nan(dataset, moments):
    absent = moments["gap"].count == 0
    for name in ("gap_mean", "gap_m2", "hidden_mean", "hidden_m2", "probability_mean"):
        assert_array_equal(np.isnan(load(dataset, name)).all(axis=2), absent)
        assert_array_equal(np.isnan(load(dataset, name)).any(axis=2), absent)


def test_a_part_of_the_classes_and_channels_can_be_loaded(dataset, moments):
    part, channels = slice(60, 67), slice(1000, 1030)  # across chunks
    found = load_moments(dataset, "gap", **{"class": part}, channel=channels)
    assert_array_equal(found.count, moments["gap"].count[:, part])
    assert_array_equal(found.mean, moments["gap"].mean[:, part, channels])
    assert_array_equal(found.m2, moments["gap"].m2[:, part, channels])


def test_the_store_has_the_names_and_dimensions_of_the_contract(dataset):
    assert dataset["count"].dims == ("fold", "class")
    for name, dimension in {"gap": "channel", "hidden": "unit"}.items():
        for moment in ("mean", "m2"):
            assert dataset[f"{name}_{moment}"].dims == ("fold", "class", dimension)
            assert dataset[f"{name}_{moment}"].dtype == np.float64
    assert "probability_m2" not in dataset
    assert {"class_id", "class_name", "layer", "layer_channel"} == set(dataset.coords)


def test_the_labels_of_the_classes(dataset):
    labels = class_labels(dataset)
    assert labels["class_id"][[0, -1]].tolist() == ["n0", f"n{CLASSES - 1}"]
    assert labels["class_name"][1] == "tench 1 é"


@pytest.mark.parametrize("length", [0, 1, 4, 5, 8, 9])
def test_blocks_cover_a_length_without_overlap(length):
    covered = [i for part in blocks(length, 4) for i in range(part.start, part.stop)]
    assert covered == list(range(length))
    assert all(part.stop - part.start <= 4 for part in blocks(length, 4))

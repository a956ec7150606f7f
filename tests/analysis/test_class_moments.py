"""Moments of classes are those of their images, with all folds and without one."""

import numpy as np
import planted
import pytest
from planted import CLASSES

from labelsim.analysis.class_moments import class_means, of_classes
from labelsim.dataset.sampling import folds
from labelsim.methods import MOMENTS
from labelsim.storage.moment_store import channel_blocks
from labelsim.storage.zarr_store import open_store

# Sums of at most 110 float32 numbers in float64, in another order.
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return planted.plant(tmp_path_factory.mktemp("planted"), methods=("gap",))


@pytest.mark.parametrize("without", [None, 3])
@pytest.mark.parametrize("name", ["gap", "hidden"])
def test_moments_of_classes(run, name, without):
    store = open_store(run.path("moments"))
    used = folds(run.samples.tolist()) != without
    found = list(of_classes(store, name, without))
    means = list(class_means(store, name, without))
    parts = list(channel_blocks(store.sizes[MOMENTS[name]]))
    assert len(parts) == len(found) == len(means) > (name == "gap")
    for part, moments, mean in zip(parts, found, means, strict=True):
        for index in range(CLASSES):
            images = run.features[name][used & (run.labels == index), part].astype(np.float64)
            assert moments.count[index] == len(images)
            if not len(images):
                assert np.isnan(mean[index]).all()
                continue
            np.testing.assert_allclose(moments.mean[index], images.mean(axis=0), **CLOSE)
            np.testing.assert_allclose(mean[index], images.mean(axis=0), **CLOSE)
            np.testing.assert_allclose(moments.m2[index], images.var(axis=0) * len(images), rtol=1e-9, atol=1e-9)

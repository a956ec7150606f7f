"""The same images in every form that they may lie in give the same tables."""

from contextlib import chdir
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import small
from forms import FORMS, IMAGES, WNIDS, pictures
from pyarrow import parquet
from stagewise import run_stages

from labelsim.config import load
from labelsim.dataset.imagenet import imagenet_names

OTHER_IDS = {"webdataset"}  # by its own names


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The results of a run for each form."""
    root = tmp_path_factory.mktemp("formats")
    images = pictures()

    def run(form: str) -> Path:
        folder = small.write(root / form.replace(" ", "-"))
        config = small.config()
        config["dataset"] = FORMS[form](folder / "dataset", images)
        # one shard, and a worker: a source must be fit to read in another process
        config["extract"] |= {"images_per_shard": 1000, "workers": 1}
        with chdir(folder):
            run_stages(load(config))
        return folder / "results/small"

    return {form: run(form) for form in FORMS}


def table(results: Path, name: str) -> pa.Table:
    """A table without its metadata, which say where the images were."""
    return parquet.read_table(results / f"{name}.parquet").replace_schema_metadata()


def test_class_folders_are_used_whole(results):
    classes = table(results["class folders"], "classes")
    assert classes["class_id"].to_pylist() == WNIDS
    assert classes["class_name"].to_pylist() == [imagenet_names()[wnid] for wnid in WNIDS]
    assert classes["used"].to_pylist() == [IMAGES] * len(WNIDS)
    assert len(table(results["class folders"], "neighbors")) == len(WNIDS) * 3


@pytest.mark.parametrize("form", sorted(FORMS.keys() - OTHER_IDS - {"class folders"}))
def test_images_of_the_same_names_give_the_same_results_bit_for_bit(results, form):
    expected, found = results["class folders"], results[form]
    for name in ("neighbors", "classes"):
        assert table(found, name).equals(table(expected, name))
    # they are the same shard, so the same features
    (features,) = (path.relative_to(expected) for path in expected.glob("features/*.zarr/zarr.json"))
    assert (found / features).read_bytes() == (expected / features).read_bytes()


@pytest.mark.parametrize("form", sorted(OTHER_IDS))
def test_images_of_other_names_give_the_same_neighbors(results, form):
    expected, found = results["class folders"], results[form]
    ids = [set(table(folder, "manifest")["sample_id"].to_pylist()) for folder in (expected, found)]
    assert len(ids[0]) == len(ids[1]) == len(WNIDS) * IMAGES
    assert ids[0].isdisjoint(ids[1])
    assert table(found, "classes").equals(table(expected, "classes"))
    neighbors, other = (table(folder, "neighbors") for folder in (expected, found))
    assert neighbors.drop_columns("similarity").equals(other.drop_columns("similarity"))
    # Images in another order are other batches, whose sums are rounded otherwise, in float32.
    np.testing.assert_allclose(neighbors["similarity"], other["similarity"], rtol=0, atol=1e-6)

"""The same images are the same rows in the same order, and so the same shards, whatever form they lie in."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from forms import archive, write
from pyarrow import parquet

from labelsim.dataset.formats.base import Listing
from labelsim.dataset.shards import cut
from labelsim.dataset.sources import open_source

CLASSES, IMAGES = 130, 6


def images() -> list[tuple[int, str, bytes]]:
    """Label, file name and content of images in no order."""
    found = [(label, f"{label:x}-{i}.jpg", b"x" * (1 + label + i)) for label in range(CLASSES) for i in range(IMAGES)]
    return [found[i] for i in np.random.default_rng(0).permutation(len(found))]


def folder(path: Path) -> Path:
    for label, name, data in images():
        write(path / str(label) / name, data)
    return path


def class_archives(path: Path) -> Path:
    folder(path / "unpacked")
    for label in range(CLASSES):
        subprocess.run(["tar", "cf", f"{label}.tar", "-C", f"unpacked/{label}", "."], cwd=path, check=True)
    subprocess.run(["tar", "cf", "all.tar", *(f"{label}.tar" for label in range(CLASSES))], cwd=path, check=True)
    return path / "all.tar"


def webdataset(path: Path) -> Path:
    for shard in range(3):
        parts = [
            part
            for label, name, data in images()[shard::3]
            for part in ((name, data), (name.replace("jpg", "cls"), b"%d" % label))
        ]
        write(path / f"{shard}.tar", archive(parts))
    return path


def tables(path: Path) -> Path:
    path.mkdir()
    features = {"label": {"names": list(map(str, range(CLASSES))), "_type": "ClassLabel"}}
    for number in range(2):
        rows = images()[number::2]
        columns = {
            "image": [{"bytes": data, "path": name} for _, name, data in rows],
            "label": [label for label, _, _ in rows],
        }
        table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        parquet.write_table(table, path / f"{number}.parquet", row_group_size=7)
    return path


@pytest.fixture(scope="module")
def listings(tmp_path_factory) -> dict[str, Listing]:
    root = tmp_path_factory.mktemp("order")
    forms = {"folder": folder, "ilsvrc-tar": class_archives, "webdataset": webdataset, "parquet": tables}
    return {form: open_source(make(root / form), form).list() for form, make in forms.items()}


@pytest.mark.parametrize("form", ["folder", "ilsvrc-tar", "webdataset", "parquet"])
def test_numbered_classes_are_the_same_shards_in_every_form(listings, form):
    expected, found = listings["folder"].samples, listings[form].samples
    assert found["sample_id"].to_pylist() == sorted(f"{label}/{name}" for label, name, _ in images())
    assert cut(found, 100) == cut(expected, 100)
    assert len(cut(found, 100)) > 4


def test_classes_are_numbered_as_the_form_has_it(listings):
    numbers = list(map(str, range(CLASSES)))
    classes = {form: listing.classes for form, listing in listings.items()}
    assert classes["folder"] == classes["ilsvrc-tar"] == sorted(numbers)
    assert classes["webdataset"] == classes["parquet"] == numbers
    for listing in listings.values():
        of_row = [listing.classes[index] for index in listing.samples["class_index"].to_pylist()]
        assert of_row == listing.samples["class_id"].to_pylist()

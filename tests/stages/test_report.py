import numpy as np
import pytest
import toy
from PIL import Image
from pyarrow import Table

from labelsim.config import load
from labelsim.dataset.classes import read_classes
from labelsim.errors import LabelsimError
from labelsim.report.figures import MAX_CLUSTERED
from labelsim.stages.report import draw_class, draw_heatmap
from labelsim.stages.scan import scan
from labelsim.stages.shard import shard
from labelsim.storage.parquet import write_table
from labelsim.storage.zarr_store import Array, Writer


@pytest.fixture
def draw(tmp_path):
    """Draw a class of a run in which `owl` and `plum` are alike, and `plum` has no readable image."""
    toy.write_images(tmp_path / "images")
    for path in (tmp_path / "images" / "plum").iterdir():
        path.write_bytes(b"no image")
    dataset = load(toy.config())["dataset"] | {"source": str(tmp_path / "images")}
    manifest = tmp_path / "manifest.parquet"
    scan(dataset, manifest)
    index = tmp_path / "shards" / "index.json"
    shard(manifest, 60, "auto", index)
    ids, _ = read_classes(index.parent)
    classes = Table.from_pydict({"class_id": ids, "class_name": ids, "notes": [""] * len(ids)})
    owl, plum = ids.index("owl"), ids.index("plum")
    neighbors = Table.from_pylist(
        [
            {"method": method, "group": "all", "class_index": owl, "neighbor_index": plum, "neighbor_id": "plum"}
            | {"neighbor_name": "plum", "similarity": 0.5, "rank": 1}
            for method in ("welch", "hidden")
        ]
    )
    write_table(neighbors, tmp_path / "neighbors.parquet")
    write_table(classes, tmp_path / "classes.parquet")

    def draw(label):
        output = tmp_path / "figure.png"
        draw_class(label, tmp_path / "neighbors.parquet", tmp_path / "classes.parquet", manifest, dataset, output)
        with Image.open(output) as image:
            return image.format, image.size

    return draw


def test_a_class_without_a_readable_image_is_drawn_without(draw, caplog):
    format, size = draw("owl")
    assert format == "PNG"
    assert min(size) >= 200
    assert "No image of class plum can be drawn" in caplog.text


def test_a_class_without_neighbors_is_drawn(draw):
    assert draw("red fox")[0] == "PNG"


def test_unknown_class(draw):
    with pytest.raises(LabelsimError, match="There is no class 'oul'; did you mean owl"):
        draw("oul")


def test_too_many_classes_for_a_heat_map_are_told_in_the_picture(tmp_path, caplog):
    classes = MAX_CLUSTERED + 1
    arrays = {"hidden": Array(("class", "neighbor"), (classes, classes), "float32", (1000, classes))}
    writer = Writer(tmp_path / "similarity.zarr", arrays, "")
    writer.put_whole("hidden", np.zeros((classes, classes), np.float32))
    writer.commit({})
    with caplog.at_level("INFO"):
        draw_heatmap(tmp_path / "similarity.zarr", "hidden", tmp_path / "figure.png")
    assert "5,001 classes are too many" in caplog.text
    with Image.open(tmp_path / "figure.png") as image:
        assert image.format == "PNG"
        assert min(image.size) >= 50
        assert np.ptp(np.asarray(image.convert("L"))) > 0  # something stands there

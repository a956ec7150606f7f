import pytest
import toy
from PIL import Image
from pyarrow import Table

from labelsim.config import load
from labelsim.dataset.classes import read_classes
from labelsim.errors import LabelsimError
from labelsim.stages.class_figure import class_figure
from labelsim.stages.scan import scan
from labelsim.stages.shard import shard
from labelsim.storage.parquet import write_table


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
        class_figure(label, tmp_path / "neighbors.parquet", tmp_path / "classes.parquet", manifest, dataset, output)
        with Image.open(output) as image:
            return image.format, image.size

    return draw


def test_a_class_without_a_readable_image_is_drawn_without(draw, caplog):
    format, size = draw("owl")
    assert format == "PNG"
    assert min(size) >= 200
    assert "plum" in caplog.text


def test_a_class_without_neighbors_is_drawn(draw):
    assert draw("red fox")[0] == "PNG"


def test_unknown_class(draw):
    with pytest.raises(LabelsimError, match=r"'oul'.*owl"):
        draw("oul")

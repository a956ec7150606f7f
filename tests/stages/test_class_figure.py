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

    def draw(label, examples=None):
        output = tmp_path / "figure.png"
        tables = (tmp_path / "neighbors.parquet", tmp_path / "classes.parquet", manifest)
        class_figure(label, *tables, examples, dataset, output)
        with Image.open(output) as image:
            assert image.format == "PNG"
            return image.convert("RGB")

    return draw


def test_a_class_without_a_readable_image_is_drawn_without(draw, caplog):
    assert min(draw("owl").size) >= 200
    assert "plum" in caplog.text


def test_a_class_without_neighbors_is_drawn(draw):
    assert min(draw("red fox").size) >= 200


@pytest.mark.parametrize("first", ["plum/bild 00.png", "owl/bild 00.png"])
def test_classes_are_shown_by_their_most_typical_image_that_can_be_read(draw, tmp_path, caplog, first):
    plain = {"owl/bild 04.JPEG": (255, 0, 255), "plum/bild 01.JPEG": (0, 255, 255)}  # colors that no other image has
    for name, color in plain.items():
        Image.new("RGB", (40, 40), color).save(tmp_path / "images" / name, "PNG")
    # Not the first ones of the manifest. One image of plum cannot be read, one of owl can.
    typical = [first, "owl/bild 04.JPEG", "plum/bild 02.PNG", "plum/bild 01.JPEG"]
    rows = [{"class_id": name.split("/")[0], "sample_id": name} for name in typical]
    write_table(Table.from_pylist(rows), tmp_path / "examples.parquet")
    colors = {color for _, color in draw("owl", tmp_path / "examples.parquet").getcolors(1 << 24)}
    assert plain["plum/bild 01.JPEG"] in colors
    assert (plain["owl/bild 04.JPEG"] in colors) == (first != "owl/bild 00.png")
    assert not caplog.text


def test_unknown_class(draw):
    with pytest.raises(LabelsimError, match=r"'oul'.*owl"):
        draw("oul")

"""Which images the page shows, and that they are where the page looks for them."""

import json
from io import BytesIO

import explored
import numpy as np
import pyarrow as pa
import pytest
from explored import CLASSES
from PIL import Image
from planted import ALONE, EMPTY, PAIR
from pyarrow import Table, parquet

from labelsim.report.explorer.thumbnails import SIDE, chosen, thumbnail
from labelsim.storage.parquet import write_table

TOLERANCE = 6  # of 255: what WebP changes of a square of one color


@pytest.fixture(scope="module")
def shown(run):
    """Samples of the thumbnails of each class."""
    tables = (Table.from_pandas(run.table(name)) for name in ("examples", "evidence_images"))
    return chosen(*tables, 4)


def test_each_image_is_at_its_place(run, contents, shown):
    classes = json.loads(contents["classes"])
    assert classes["thumbnails"] == [len(shown.get(index, ())) for index in range(CLASSES)]
    assert [classes["thumbnails"][index] for index in (EMPTY, ALONE, PAIR, 0)] == [0, 1, 2, 4]
    for block, rows in ((0, 100), (1, CLASSES - 100)):
        # A sheet of the first thumbnails of all classes of the block, and one of the rest.
        sheets = [
            squares(contents[f"{name}/{block}"], rows, columns) for name, columns in (("thumbnails", 1), ("more", 3))
        ]
        found = np.concatenate(sheets, axis=1)
        for row in range(rows):
            samples = shown.get(block * 100 + row, [])
            colors = [run.colors[sample] for sample in samples] + [(0x88, 0x88, 0x88)] * (4 - len(samples))
            np.testing.assert_allclose(found[row], colors, rtol=0, atol=TOLERANCE)


def squares(data, rows, columns):
    """Mean color of the middle of each square of a sheet, (rows, columns, 3)."""
    with Image.open(BytesIO(data)) as image:
        assert image.format == "WEBP"
        pixels = np.asarray(image.convert("RGB"), dtype=float)
    assert pixels.shape == (rows * SIDE, columns * SIDE, 3)
    return pixels.reshape(rows, SIDE, columns, SIDE, 3)[:, 8:-8, :, 8:-8].mean(axis=(1, 3))


def test_typical_images_come_first_then_those_of_most_channels():
    examples = Table.from_pylist(
        [
            {"class_index": index, "sample_id": sample}
            for index, samples in ((4, "abcd"), (2, "x"))
            for sample in samples
        ]
    )
    images = Table.from_pylist(
        [
            {"class_index": index, "rank": rank, "sample_id": sample}
            for index, rank, sample in [
                (4, 1, "p"),
                (4, 2, "r"),  # second of its channel
                (4, 1, "q"),
                (4, 1, "q"),
                (4, 1, "c"),
                (3, 1, "z"),  # a class without typical images
                (4, 2, "r"),
                (4, 2, "r"),
            ]
        ]
    )
    assert chosen(examples, images, 10) == {4: ["a", "q", "c", "p", "b", "d"], 2: ["x"]}
    assert chosen(examples, images, 3) == {4: ["a", "q", "c"], 2: ["x"]}
    assert chosen(examples, images.slice(0, 0), 2) == {4: ["a", "b"], 2: ["x"]}


@pytest.mark.parametrize("size", [(200, 100), (100, 200), (640, 400), (64, 64)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_thumbnail_is_the_central_square(size, mode):
    image = Image.new(mode, size)
    side = min(size)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    image.paste(Image.new(mode, (side, side), "white"), (left, top))
    found = np.asarray(thumbnail(image))
    assert found.shape == (SIDE, SIDE, 3)
    assert found[2:-2, 2:-2].min() > 250  # the filter rounds, and reaches over the edges


def test_without_thumbnails_there_are_none(run, tmp_path):
    contents = explored.pieces(run.write(tmp_path / "explorer.html", thumbnails=0))
    assert not [name for name in contents if name.startswith(("thumbnails", "more"))]
    assert set(json.loads(contents["classes"])["thumbnails"]) == {0}
    assert json.loads(contents["run"])["columns"] == 0
    page = (tmp_path / "explorer.html").read_text(encoding="utf-8")
    assert "data:image/webp;base64,UklGR" not in page
    assert not len(explored.rows(contents, "evidence_images"))


@pytest.mark.parametrize("thumbnails", [0, 1])
def test_pages_with_images_of_imagenet_name_its_terms(run, tmp_path, thumbnails):
    classes = parquet.read_table(run.files["classes"])
    ids = pa.array([f"n{index:08}" for index in range(CLASSES)])
    classes = classes.set_column(classes.column_names.index("class_id"), "class_id", ids)
    write_table(classes, tmp_path / "classes.parquet", {})
    page = run.write(tmp_path / "explorer.html", {"classes": tmp_path / "classes.parquet"}, thumbnails=thumbnails)
    terms = json.loads(explored.pieces(page)["run"])["terms"]
    assert (terms is not None and "ImageNet" in terms) == bool(thumbnails)

import numpy as np
from PIL import Image

from labelsim.stages.heatmap import heatmap
from labelsim.statistics.clustering import MAX_CLUSTERED
from labelsim.storage.zarr_store import Array, Writer


def test_a_picture_says_that_classes_are_too_many(tmp_path, caplog):
    classes = MAX_CLUSTERED + 1
    arrays = {"hidden": Array(("class", "neighbor"), (classes, classes), "float32", (1000, classes))}
    writer = Writer(tmp_path / "similarity.zarr", arrays, "")
    writer.put_whole("hidden", np.zeros((classes, classes), np.float32))
    writer.commit({})
    with caplog.at_level("INFO"):
        heatmap(tmp_path / "similarity.zarr", "hidden", tmp_path / "figure.png")
    assert "5,001 classes" in caplog.text
    with Image.open(tmp_path / "figure.png") as image:
        assert image.format == "PNG"
        assert min(image.size) >= 50
        assert np.ptp(np.asarray(image.convert("L"))) > 0  # something stands there

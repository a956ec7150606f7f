"""A class without images is a class, wherever classes are counted."""

import re
from contextlib import chdir

import toy
from stagewise import run_stages

from labelsim.config import load
from labelsim.run import open_run
from labelsim.storage.json_files import read_document


def test_all_counts_of_classes_agree(tmp_path, caplog):
    folder = toy.write(tmp_path / "toy")
    # Of the class of one image, that image cannot be used.
    (image,) = (folder / "images" / toy.ALONE).iterdir()
    image.write_bytes(b"")
    with caplog.at_level("INFO"), chdir(folder):
        paths = run_stages(load(toy.config() | {"similarity": {"methods": ["hidden"]}}))
        run = open_run(paths.root)
        classes, summary = run.classes().to_pylist(), run.summary()
        matrix, index = run.similarity()["hidden"], read_document(folder / paths.index)
    expected = len([*toy.CLASSES, toy.ALONE, toy.EMPTY])
    assert len(classes) == summary["classes"] == index["classes"] == expected
    assert matrix.sizes == {"class": expected, "neighbor": expected}
    without = [row["class_id"] for row in classes if not row["used"]]
    assert without == [toy.ALONE, toy.EMPTY]
    assert summary["classes_without_images"] == 2
    said = [record.getMessage() for record in caplog.records if " classes" in record.getMessage()]
    of_all = [text for text in said if re.search(f"images of {expected} classes", text)]
    assert len(of_all) == 2  # scan and merge
    assert re.search(r"\b2 without a usable image", of_all[-1])

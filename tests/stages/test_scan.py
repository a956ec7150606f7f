import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import toy
from pyarrow import parquet

from labelsim.config import load
from labelsim.dataset.sources import FORMATS
from labelsim.errors import LabelsimError
from labelsim.jobs.provenance import identity
from labelsim.stages.scan import scan
from labelsim.storage.parquet import read_metadata


@pytest.fixture
def dataset(tmp_path):
    toy.write_images(tmp_path / "images")
    return load(toy.config())["dataset"] | {"source": str(tmp_path / "images")}


def scanned(dataset, manifest: Path):
    scan(dataset, manifest)
    return parquet.read_table(manifest)


def test_at_most_so_many_images_of_a_class(dataset, tmp_path):
    whole = scanned(dataset, tmp_path / "whole.parquet")
    few = scanned(dataset | {"images_per_class": 3}, tmp_path / "few.parquet")
    counts = few.group_by("class_id").aggregate([("sample_id", "count")])
    found = dict(zip(counts["class_id"].to_pylist(), counts["sample_id_count"].to_pylist(), strict=True))
    assert found == dict.fromkeys(toy.CLASSES, 3) | {toy.ALONE: 1}
    assert set(few["sample_id"].to_pylist()) < set(whole["sample_id"].to_pylist())
    assert few.equals(scanned(dataset | {"images_per_class": 3}, tmp_path / "again.parquet"))


def test_content_digest_notices_a_change_of_the_same_size(dataset, tmp_path):
    image = tmp_path / "images" / "owl" / "bild 00.png"
    asked = dataset | {"content_digest": True}
    before, without = scanned(asked, tmp_path / "a.parquet"), scanned(dataset, tmp_path / "b.parquet")
    image.write_bytes(bytes(len(image.read_bytes())))
    after = scanned(asked, tmp_path / "c.parquet")
    changed = [row["sample_id"] for row, old in zip(after.to_pylist(), before.to_pylist(), strict=True) if row != old]
    assert changed == ["owl/bild 00.png"]
    assert without.equals(scanned(dataset, tmp_path / "d.parquet"))


def test_manifest_tells_classes_and_what_was_passed_over(dataset, tmp_path):
    (tmp_path / "images" / ".hidden").touch()
    (tmp_path / "images" / "stray.txt").touch()
    metadata = read_metadata(scanned(dataset, tmp_path / "manifest.parquet"))
    assert metadata["classes"] == sorted([*toy.CLASSES, toy.ALONE, toy.EMPTY])
    assert metadata["skipped"] == {"hidden files and folders": 1, "files outside the class folders": 1}
    assert {key: metadata[key] for key in ("source", "labels", "columns")} == {
        key: dataset[key] for key in ("source", "labels", "columns")
    }
    assert metadata["notes"] == {"class folders are empty": 1}


def test_texts_of_the_manifest_are_strings_to_every_reader(dataset, tmp_path):
    scan(dataset | {"content_digest": True}, tmp_path / "manifest.parquet")
    with parquet.ParquetFile(tmp_path / "manifest.parquet") as file:
        kinds = {column.name: column.logical_type.type for column in map(file.schema.column, range(7))}
        texts = {field.name for field in file.schema_arrow if field.type == "large_string"}  # no categories
    assert texts == {"sample_id", "class_id", "path", "content"}
    assert {name for name, kind in kinds.items() if kind == "STRING"} == texts


def tar(*names: str) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return data.getvalue()


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "a disk's fault": lambda path: path.symlink_to("/proc/self/mem"),  # a regular file whose first page is none
    "empty": lambda path: path.touch(),
    "cut off": lambda path: path.write_bytes(tar("1.jpg", "1.cls")[:700]),
    "zeros": lambda path: path.write_bytes(bytes(9999)),
    "noise": lambda path: path.write_bytes(np.random.default_rng(0).bytes(9999)),
    "a pipe": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a broken link": lambda path: path.symlink_to("nothing"),
    "below a file": lambda path: path.parent.write_bytes(b""),
    "gone": lambda path: None,
}


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that cannot be read, as root neither")
@pytest.mark.parametrize("format", ["auto", *FORMATS])
@pytest.mark.parametrize("fault", UNREADABLE)
def test_an_archive_that_cannot_be_read(dataset, tmp_path, fault, format):
    path = tmp_path / "archives" / "all.tar"
    if fault != "below a file":
        path.parent.mkdir()
    UNREADABLE[fault](path)
    for source in (path, path.parent, path.parent / "*.tar"):
        config = load({"run": "r", "dataset": {"source": str(source), "format": format}})
        identity("scan", config)  # is there, whatever is wrong
        with pytest.raises(LabelsimError, match=f"{tmp_path}/archives"):
            scan(config["dataset"], tmp_path / "manifest.parquet")


@pytest.mark.parametrize("fault", ["a disk's fault", "empty", "noise", "a pipe", "a link to itself", "gone"])
def test_an_archive_that_is_mended_is_scanned_anew(tmp_path, fault):
    path = tmp_path / "all.tar"
    config = load({"run": "r", "dataset": {"source": str(path)}})
    UNREADABLE[fault](path)
    assert json.loads(identity("scan", config))["files"]["dataset.source"] == "missing"
    path.unlink(missing_ok=True)
    path.write_bytes(tar("1.jpg", "1.cls"))
    assert json.loads(identity("scan", config))["files"]["dataset.source"] != "missing"


def test_no_images(dataset, tmp_path):
    (tmp_path / "none" / "owl").mkdir(parents=True)
    with pytest.raises(LabelsimError, match=r"^dataset\.source: .*none"):
        scan(dataset | {"source": str(tmp_path / "none")}, tmp_path / "manifest.parquet")
    assert not (tmp_path / "manifest.parquet").exists()

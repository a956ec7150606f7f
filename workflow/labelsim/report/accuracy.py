"""A check of the run's accuracy against the published one, or against chance.

Wrong pixels, labels or weights do not stop a run, but they lower the accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from labelsim.statistics.accuracy import Accuracy

__all__ = ["Verdict", "near_chance", "percent", "verdict"]

_ENOUGH = 1000  # images; with fewer, an accuracy may be near chance by chance
_GAP = 0.01  # resizing images in another way accounts for a tenth of that
_VALIDATION_IMAGES = 50  # of each class of ImageNet's validation set, on which accuracies are published

# Likely causes, each with where to look.
_TRANSFORM = (
    "The transform (size, crop, mean, channel order) is not the one of the weights: model.transform, network.json."
)
_LABELS = "The labels are wrong: dataset.source, dataset.labels, model.classes; top1 near 0 in classes.parquet."
_WEIGHTS = "The weights are not the intended ones, or the network is not trained: model.weights, network.json."
_TRAINING = "The network was trained on these images: dataset.source."


class Verdict(NamedTuple):
    """`note`: whether an accuracy was compared with the published one. `warning`: what is wrong, and likely causes."""

    note: str
    warning: str | None = None


def verdict(
    found: Accuracy,
    images: Mapping[str, int],
    labels: Sequence[str] | None,
    outputs: int,
    published: float | None,
) -> Verdict:
    """Judge an accuracy.

    It is compared with the published one only on ImageNet's validation set, that is, if the dataset has all classes of
    the weights, no others, and 50 images of each. It would be higher on training images, and higher or lower on a
    subset. On all other images it is compared with chance.

    Parameters
    ----------
    found : Accuracy
        The measured accuracy.
    images : mapping of str to int
        Number of images by class id, including rejected ones.
    labels : sequence of str or None
        Class id of each output, according to the publisher of the weights, where known.
    outputs : int
        Number of the network's outputs.
    published : float or None
        Published top-1 accuracy, as a fraction, where there is one.

    Returns
    -------
    Verdict
    """
    if not found.images:
        return Verdict("not known: no class that has images is known to be one of the outputs; see model.classes")
    measured = f"Top-1 accuracy is {percent(found.top1)} on {found.images:,} images"
    if published is None or not labels:
        note = "not compared: no accuracy is published with these weights"
    elif difference := _difference(images, labels):
        note = (
            "not compared: the published accuracy is on ImageNet's validation set, "
            f"{_VALIDATION_IMAGES} images of each class; {difference}"
        )
    else:
        note = "compared: the numbers of images are those of ImageNet's validation set"
        if abs(found.top1 - published) <= _GAP:
            return Verdict(note)
        what = f"{measured}, but {percent(published)} is published for these weights on ImageNet's validation set"
        causes = (_TRANSFORM, _LABELS, _WEIGHTS) if found.top1 < published else (_TRAINING, _WEIGHTS)
        return Verdict(note, _warning(what, causes))
    if not near_chance(found, outputs):
        return Verdict(note)
    what = f"{measured}, hardly better than chance ({outputs:,} outputs: {percent(1 / outputs)})"
    return Verdict(note, _warning(what, (_LABELS, _TRANSFORM, _WEIGHTS)))


def near_chance(found: Accuracy, outputs: int) -> bool:
    """Whether an accuracy is hardly better than chance, on at least 1,000 images.

    That is a top-1 accuracy below three times chance, and less than a tenth of the way from chance to 1. With many
    outputs the first limit is the lower one: even hard images are classified better. With few outputs the second one
    is, because a weak network may reach less than three times chance; for 1,000 images it is more than three standard
    errors above chance.

    Parameters
    ----------
    found : Accuracy
        The measured accuracy.
    outputs : int
        Number of outputs.
    """
    chance = 1 / outputs
    return found.images >= _ENOUGH and found.top1 < min(3 * chance, chance + (1 - chance) / 10)


def percent(fraction: float) -> str:
    """Format a fraction: 73.3 %."""
    return f"{100 * fraction:.1f} %"


def _difference(images: Mapping[str, int], labels: Sequence[str]) -> str | None:
    """Say how a dataset differs from the validation set; None if it does not."""
    shared = len(images.keys() & set(labels))
    others = len(images) - shared
    if shared < len(labels) or others:
        return f"the dataset has {shared:,} of its {len(labels):,} classes" + (f" and {others:,} others" * bool(others))
    if set(images.values()) != {_VALIDATION_IMAGES}:
        return f"the dataset has {min(images.values()):,} to {max(images.values()):,}"
    return None


def _warning(what: str, causes: Sequence[str]) -> str:
    listed = [f"  {number}. {cause}" for number, cause in enumerate(causes, start=1)]
    return "\n".join([f"{what}. Do not rely on the similarities before you know why. Likely causes first:", *listed])

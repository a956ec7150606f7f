"""A sanity check of a run: whether the network is as accurate on its images as it should be.

Wrong pixels, wrong labels and wrong weights stop no run. They show in the accuracy, and nowhere else at a glance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from labelsim.statistics.accuracy import Accuracy

__all__ = ["Verdict", "near_chance", "percent", "verdict"]

_ENOUGH = 1000  # images; fewer may come near chance by chance
_GAP = 0.01  # another way to resize images accounts for a tenth of that
_VALIDATION_IMAGES = 50  # of each class of ImageNet's validation set, on which accuracies are published


@dataclass(frozen=True)
class Verdict:
    """What is to be said of an accuracy.

    Attributes
    ----------
    note : str
        Whether it was compared with the published one, and why not.
    warning : str or None
        Lines for people, if something is wrong with the run.
    """

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

    It is compared with the published one on ImageNet's validation set only: as many images of each class of the
    publisher's, and no other classes. On training images it would be higher, on a subset higher or lower. On any other
    images it is held against guessing.

    Parameters
    ----------
    found : Accuracy
        What was measured.
    images : mapping of str to int
        Number of images by class id, those that could not be used included.
    labels : sequence of str or None
        Class id of each output as the weights' publisher says, where that is known.
    outputs : int
        Number of the network's outputs.
    published : float or None
        The publisher's top-1 accuracy, as a fraction, where there is one.

    Returns
    -------
    Verdict
    """
    if not found.images:
        return Verdict(
            "not known: no output is known to stand for a class that has images; model.classes says what they stand for"
        )
    guessed = _guessed(found, outputs) if near_chance(found, outputs) else None
    if published is None or not labels:
        return Verdict("not compared: no accuracy is published with these weights", guessed)
    difference = _difference(images, labels)
    if difference is not None:
        what = f"the published accuracy is that on ImageNet's validation set, {_VALIDATION_IMAGES} images of each class"
        return Verdict(f"not compared: {what}; {difference}", guessed)
    note = "compared: by their numbers these are the images of ImageNet's validation set"
    if abs(found.top1 - published) <= _GAP:
        return Verdict(note)
    return Verdict(note, _too_low(found, published) if found.top1 < published else _too_high(found, published))


def near_chance(found: Accuracy, outputs: int) -> bool:
    """Whether answers are hardly better than guessing one of the outputs, on images enough to tell.

    That is a top-1 accuracy below three times chance, and less than a tenth of the way from chance to certainty.
    The first decides where outputs are many: even hard images are answered better. The second decides where they are
    few, and three times chance may be a weak network's honest result; for 1,000 images it is more than three standard
    errors of guessing.

    Parameters
    ----------
    found : Accuracy
        That of fewer than 1,000 images is never called near chance.
    outputs : int
        Number of outputs.
    """
    chance = 1 / outputs
    return found.images >= _ENOUGH and found.top1 < min(3 * chance, chance + (1 - chance) / 10)


def percent(fraction: float) -> str:
    """A fraction as people read accuracies: 73.3 %."""
    return f"{100 * fraction:.1f} %"


def _difference(images: Mapping[str, int], labels: Sequence[str]) -> str | None:
    """What tells a dataset from the validation set; None if nothing does."""
    shared = len(images.keys() & set(labels))
    others = len(images) - shared
    if shared < len(labels) or others:
        return f"the dataset has {shared:,} of its {len(labels):,} classes" + (f" and {others:,} others" * bool(others))
    if set(images.values()) != {_VALIDATION_IMAGES}:
        return f"the dataset has {min(images.values()):,} to {max(images.values()):,}"
    return None


_TRANSFORM = (
    "the transform is not the one that the weights were trained with (size, crop, scale, mean, order of the channels): "
    "model.transform (auto: the weights' own); network.json says which one was used"
)
_LABELS = (
    "the images' labels are shuffled or wrong (ILSVRC's own numbers of classes are not the order of the wnids): "
    "dataset.source, dataset.labels and model.classes; look at some images of manifest.parquet, and in classes.parquet "
    "for classes whose top1 is near 0"
)
_WEIGHTS = "the weights are not the ones meant, or not whole: model.weights; weights_digest in network.json"
_TRAINING = "these are images that the network was trained on (dataset.images_per_class takes any): dataset.source"


def _too_low(found: Accuracy, published: float) -> str:
    return _warning(
        f"Top-1 accuracy is {percent(found.top1)} of {found.images:,} images, but {percent(published)} is published "
        "for these weights on ImageNet's validation set, which these images are by their numbers.",
        [_TRANSFORM, _LABELS, _WEIGHTS],
    )


def _too_high(found: Accuracy, published: float) -> str:
    return _warning(
        f"Top-1 accuracy is {percent(found.top1)} of {found.images:,} images, and only {percent(published)} is "
        "published for these weights on ImageNet's validation set, which these images are by their numbers.",
        [_TRAINING, _WEIGHTS],
    )


def _guessed(found: Accuracy, outputs: int) -> str:
    return _warning(
        f"Top-1 accuracy is {percent(found.top1)} of {found.images:,} images: hardly better than guessing one of the "
        f"{outputs:,} outputs ({percent(1 / outputs)}).",
        [_LABELS, _TRANSFORM, f"{_WEIGHTS}; or the network is not trained"],
    )


def _warning(what: str, causes: Sequence[str]) -> str:
    listed = [f"  {number}. {cause}" for number, cause in enumerate(causes, start=1)]
    return "\n".join(
        [what, "Find out why before you rely on the similarities. Causes, the most likely first:", *listed]
    )

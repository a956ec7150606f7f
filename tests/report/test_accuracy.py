import re

import numpy as np
import pytest

from labelsim.dataset.imagenet import imagenet_names
from labelsim.report.accuracy import near_chance, verdict
from labelsim.statistics.accuracy import Accuracy

WNIDS = list(imagenet_names())
VALIDATION = dict.fromkeys(WNIDS, 50)
PUBLISHED = 0.73314


def judge(top1, images=VALIDATION, published=PUBLISHED, labels=WNIDS, outputs=1000):
    number = sum(count for id_, count in images.items() if id_ in WNIDS)
    return verdict(Accuracy(top1, 1.0, number, len(images)), images, labels, outputs, published)


@pytest.mark.parametrize("top1", [0.7235, 0.73314, 0.743])
def test_the_published_accuracy_is_met_within_a_point(top1):
    found = judge(top1)
    assert found.note.startswith("compared: ")
    assert found.warning is None


def causes(warning):
    """The keys that each cause names, in the order of the causes."""
    lines = [line for line in warning.split("\n") if line.startswith("  ")]
    assert [line[2:5] for line in lines] == [f"{number}. " for number in range(1, len(lines) + 1)]
    keys = ("model.transform", "dataset.source", "model.weights")
    return [key for line in lines for key in keys if key in line]


def figures(warning):
    """The figures in the first line."""
    return re.findall(r"[\d.]+ %|[\d,]+ images|[\d,]+ outputs", warning.partition("\n")[0])


@pytest.mark.parametrize(("top1", "measured"), [(0.7230, "72.3 %"), (0.001, "0.1 %")])
def test_an_accuracy_below_the_published_one(top1, measured):
    warning = judge(top1).warning
    assert figures(warning) == [measured, "50,000 images", "73.3 %"]
    assert causes(warning) == ["model.transform", "dataset.source", "model.weights"]


def test_an_accuracy_above_the_published_one_is_that_of_training_images():
    warning = judge(0.88).warning
    assert figures(warning) == ["88.0 %", "50,000 images", "73.3 %"]
    assert causes(warning) == ["dataset.source", "model.weights"]


@pytest.mark.parametrize(
    ("images", "numbers"),
    [
        (dict.fromkeys(WNIDS[:200], 50), ["200", "1,000"]),
        ({**VALIDATION, "owl": 50, "cat": 50}, ["1,000", "1,000", "2"]),
        (dict.fromkeys(WNIDS, 1300) | {WNIDS[0]: 732}, ["732", "1,300"]),
        (VALIDATION | {WNIDS[7]: 49}, ["49", "50"]),
    ],
)
@pytest.mark.parametrize("top1", [0.5, 0.95])
def test_other_images_are_not_compared(images, numbers, top1):
    found = judge(top1, images)
    assert found.note.startswith("not compared: ")
    assert re.findall(r"[\d,]+", found.note.rpartition(";")[2]) == numbers
    assert found.warning is None


@pytest.mark.parametrize(("published", "labels"), [(None, None), (None, WNIDS), (PUBLISHED, None)])
def test_without_a_published_accuracy(published, labels):
    found = judge(0.5, published=published, labels=labels)
    assert found.note.startswith("not compared: ")
    assert found.warning is None


def test_an_accuracy_that_is_not_known():
    found = verdict(Accuracy(np.nan, np.nan, 0, 0), {"owl": 5000}, WNIDS, 1000, PUBLISHED)
    assert found.note.startswith("not known: ")
    assert "model.classes" in found.note
    assert found.warning is None


@pytest.mark.parametrize("published", [None, PUBLISHED])
def test_a_subset_of_which_the_network_guesses_the_classes(published):
    subset = dict.fromkeys(WNIDS[:20], 50)
    warning = judge(0.002, subset, published).warning
    assert figures(warning) == ["0.2 %", "1,000 images", "1,000 outputs", "0.1 %"]
    assert causes(warning) == ["dataset.source", "model.transform", "model.weights"]
    assert judge(0.003, subset, published).warning is None
    # Too few images to tell.
    assert judge(0.0, subset | {WNIDS[0]: 49}, published).warning is None


@pytest.mark.parametrize(("outputs", "limit"), [(2, 0.55), (3, 0.4), (5, 0.28), (10, 0.19), (100, 0.03), (1000, 0.003)])
def test_what_is_near_chance(outputs, limit):
    assert near_chance(Accuracy(limit - 1e-9, 1.0, 1000, 2), outputs)
    assert not near_chance(Accuracy(limit + 1e-9, 1.0, 1000, 2), outputs)


@pytest.mark.parametrize("outputs", [2, 3, 5, 10, 20])
def test_guessing_is_near_chance(outputs):
    guesses, truth = np.random.default_rng(0).integers(0, outputs, (2, 1000))
    assert near_chance(Accuracy((guesses == truth).mean(), 1.0, 1000, outputs), outputs)


def test_one_output_is_always_right():
    assert not near_chance(Accuracy(1.0, 1.0, 5000, 1), 1)

"""demo_digits: images for the demo, from scikit-learn's 1,797 handwritten digits (8 x 8 pixels).

One half is used to train the demo's network (`demo_network`), the other half is the demo's dataset. A table of how
similar digits look on a seven-segment display is the reference that the demo's methods are compared with.
"""

import csv
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from labelsim.errors import LabelsimError

__all__ = ["Digits", "demo_digits", "digits"]


_SEGMENTS = ["abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg"]


class Digits(NamedTuple):
    """Half of the digits.

    Attributes
    ----------
    position : ndarray of int64, shape (n,)
        Index in scikit-learn's dataset, ascending.
    image : ndarray of uint8, shape (n, 8, 8)
        Images, 0 is black and 255 white.
    label : ndarray of int64, shape (n,)
        The digit shown.
    """

    position: np.ndarray
    image: np.ndarray
    label: np.ndarray


def digits(training: bool) -> Digits:
    """Return half of scikit-learn's digits, the same in each call; each class is split in half.

    Parameters
    ----------
    training : bool
        Whether to return the half for training.

    Raises
    ------
    LabelsimError
        If scikit-learn is not installed.

    References
    ----------
    `sklearn.datasets.load_digits`.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise LabelsimError("the demo needs scikit-learn: pip install 'labelsim[demo]'") from error
    bunch = load_digits()
    random = np.random.default_rng(0)
    shuffled = [random.permutation(np.flatnonzero(bunch.target == digit)) for digit in range(10)]
    halves = [part[: len(part) // 2] if training else part[len(part) // 2 :] for part in shuffled]
    index = np.sort(np.concatenate(halves))
    image = np.rint(bunch.images[index] * (255 / 16)).astype(np.uint8)
    return Digits(index, image, bunch.target[index].astype(np.int64))


def demo_digits(folder: Path, reference: Path) -> None:
    """Write the half that is not for training as class folders of 8-bit grayscale PNG files, and the reference.

    Parameters
    ----------
    folder : Path
        Where to write `<digit>/<position>.png`.
    reference : Path
        The CSV file to write: for each two digits, the share of their segments that both have (Jaccard index).
    """
    for position, image, label in zip(*digits(training=False), strict=True):
        path = folder / str(label) / f"{position:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    with reference.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["class_id", "neighbor_id", "similarity"])
        for a, b in combinations(range(10), 2):
            one, other = set(_SEGMENTS[a]), set(_SEGMENTS[b])
            table.writerow([a, b, round(len(one & other) / len(one | other), 4)])

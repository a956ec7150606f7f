"""Photographs to measure with: JPEG files of ImageNet's usual size, made of scikit-learn's two sample photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

__all__ = ["class_folders"]

WIDTH, HEIGHT = 500, 375  # ImageNet's most frequent size
QUALITY = 98  # gives about 110 kB a file, ImageNet's mean


def class_folders(folder: Path, images: int, classes: int = 10, distinct: bool = False) -> Path:
    """Write JPEG files into class folders.

    Parameters
    ----------
    folder : Path
        Where to make the folder.
    images : int
        Number of files: windows of the photos at random places and scales.
    classes : int
        Number of classes.
    distinct : bool
        Give each class a tint and a scale of its own; else a file's class says nothing of what it shows.

    Returns
    -------
    Path
        The folder of class folders.
    """
    rng = np.random.default_rng(0)
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    looks = np.random.default_rng(1)
    tints, scales = looks.uniform(0.3, 1.0, (classes, 3)), looks.uniform(0.3, 1.0, classes)
    for number in range(images):
        class_ = number % classes
        photo = photos[number % 2]
        height = rng.uniform(0.6, 1.0) * photo.height * (scales[class_] if distinct else 1)
        width = height * WIDTH / HEIGHT
        left, top = rng.uniform(0, photo.width - width), rng.uniform(0, photo.height - height)
        window = photo.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, (left, top, left + width, top + height))
        if distinct:
            window = Image.fromarray((np.asarray(window) * tints[class_]).astype(np.uint8))
        path = folder / "photos" / f"class{class_:02d}" / f"{number:05d}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        window.save(path, quality=QUALITY)
    return folder / "photos"

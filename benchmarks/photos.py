"""Photographs to measure with: JPEG files of ImageNet's usual size, made of scikit-learn's two sample photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

__all__ = ["class_folders"]

WIDTH, HEIGHT = 500, 375  # ImageNet's most frequent size
QUALITY = 98  # gives about 110 kB a file, ImageNet's mean


def class_folders(folder: Path, images: int, classes: int = 10) -> Path:
    """Write JPEG files into class folders.

    Parameters
    ----------
    folder : Path
        Where to make the folder.
    images : int
        Number of files: windows of the photos at random places and scales.
    classes : int
        Number of classes; a file's class says nothing of what it shows.

    Returns
    -------
    Path
        The folder of class folders.
    """
    rng = np.random.default_rng(0)
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]
    for number in range(images):
        photo = photos[number % 2]
        height = rng.uniform(0.6, 1.0) * photo.height
        width = height * WIDTH / HEIGHT
        left, top = rng.uniform(0, photo.width - width), rng.uniform(0, photo.height - height)
        window = photo.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, (left, top, left + width, top + height))
        path = folder / "photos" / f"class{number % classes:02d}" / f"{number:05d}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        window.save(path, quality=QUALITY)
    return folder / "photos"

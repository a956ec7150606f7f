"""timm's networks, and the weights published with them. timm is optional: only `builder` imports this module."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import nn

from labelsim.errors import LabelsimError, near, reason
from labelsim.network.network import Network
from labelsim.network.weights import classes_in, load_state, read_state

try:
    import timm
    import timm.data
    import timm.models
except ImportError as error:
    raise LabelsimError(
        f"model.name: networks of timm need the package timm ({reason(error)}). "
        "Install it with `pip install timm`, or give a torchvision network."
    ) from error

__all__ = ["build", "check", "entries", "find_entry"]

_DEFAULT = "DEFAULT"
_SOURCES = ("hf-hub:", "hf_hub:", "local-dir:")
# Tags of weights for ImageNet-1k, -12k, -21k or -22k.
_IMAGENET = re.compile(r"in\d+k|imagenet")


def check(name: str) -> None:
    """Check that timm has a network of this name, and weights with this tag if the name has one.

    Parameters
    ----------
    name : str
        Without ``timm:``: ``resnet18``, ``resnet18.a1_in1k``; or ``hf-hub:owner/repository`` or ``local-dir:folder``,
        which are only checked when the network is built.

    Raises
    ------
    LabelsimError
        With similar names.
    """
    if name.startswith(_SOURCES):
        return
    architecture, _, tag = name.partition(".")
    known = timm.list_models()
    if architecture not in known:
        current = timm.models.get_deprecated_models().get(architecture)
        hint = f"; it is called {current} now." if current else near(architecture.lower(), known)
        raise LabelsimError(
            f"model.name 'timm:{name}' is not a network of timm {timm.__version__}{hint} "
            "Give timm:NAME or timm:NAME.TAG; `timm.list_models()` lists the names."
        )
    tags = _tags(architecture, pretrained=False)
    if tag and tag not in tags:
        raise LabelsimError(
            f"model.name 'timm:{name}': timm {timm.__version__} has no weights {tag!r} for {architecture}; expected "
            f"{', '.join(tags) or 'no tag'}."
        )


def entries(name: str) -> list[str]:
    """Names of a network's published weights: DEFAULT, and timm's tags if the name has no tag."""
    if name.startswith(_SOURCES):
        return [_DEFAULT]
    architecture, _, tag = name.partition(".")
    if tag:
        return [_DEFAULT, tag] if tag in _tags(architecture) else []
    return [_DEFAULT, *_tags(architecture)] if timm.list_models(architecture, pretrained=True) else []


def find_entry(name: str, weights: str) -> str | None:
    """The published weights of this name; None if there are none."""
    return weights if weights in entries(name) else None


def build(name: str, entry: str | None, file: Path | None) -> Network:
    """Build a network with timm's weights, with those of a file, or with random weights.

    Raises
    ------
    LabelsimError
        If the weights cannot be downloaded or read, do not fit, or have no classification layer.
    """
    if entry is not None:
        full = name if entry == _DEFAULT or name.endswith(f".{entry}") else f"{name}.{entry}"
        module = _create(full, pretrained=True)
        return Network(_classifier(full, module), _transform(module), labels=_labels(module.pretrained_cfg))
    module = _create(name, pretrained=False)
    if file is None:
        notes = [f"timm:{name} has random weights: model.weights is null"]
    else:
        state, notes = read_state(file), []
        classes = classes_in(module, state)
        if classes is not None:
            module = _create(name, pretrained=False, num_classes=classes)
            notes = [f"built timm:{name} with num_classes={classes}, as {file} has them"]
        load_state(module, state, file)
    config = module.pretrained_cfg
    of = ".".join(filter(None, (config.get("architecture", name), config.get("tag"))))
    return Network(_classifier(name, module), _transform(module), assumed=f"timm's {of}", notes=notes)


def _tags(architecture: str, pretrained: bool = True) -> list[str]:
    """Timm's tags of an architecture: all, or only those with weights."""
    names = timm.list_models(architecture, pretrained=pretrained, include_tags=True)
    return [tag for name in names if (tag := name.partition(".")[2])]


def _create(name: str, pretrained: bool, **options: Any) -> Any:
    try:
        return timm.create_model(name, pretrained=pretrained, **options)
    except Exception as error:
        if not pretrained and not name.startswith(_SOURCES):
            raise LabelsimError(f"model.name 'timm:{name}' could not be built ({reason(error)}).") from error
        raise LabelsimError(_not_loaded(name, error)) from error


def _not_loaded(name: str, error: Exception) -> str:
    """Say why published weights could not be loaded, and how to get them by hand."""
    fault = f"the weights of 'timm:{name}' could not be loaded ({reason(error).splitlines()[0]})."
    if name.startswith("local-dir:"):
        return f"{fault} The folder must contain config.json and model.safetensors, as saved by timm."
    config = None if name.startswith(_SOURCES) else timm.models.get_pretrained_cfg(name)
    repository = name.partition(":")[2] if config is None else config.hf_hub_id
    if repository is None:
        return f"{fault} You can download {config.url if config else name} yourself and set model.weights to the file."
    from huggingface_hub import constants

    return (
        f"{fault} You can run `hf download {repository}` on a machine with internet access and copy the files to "
        f"{constants.HF_HUB_CACHE} (HF_HUB_CACHE), or to a folder for model.name timm:local-dir:FOLDER."
    )


def _classifier(name: str, module: Any) -> nn.Module:
    if module.num_classes == 0:
        raise LabelsimError(
            f"model.name 'timm:{name}' has no classification layer. Choose weights that were trained or fine-tuned "
            "for classification."
        )
    found: nn.Module = module
    return found


def _transform(module: nn.Module) -> Any:
    """The transform with which timm validates a network."""
    return timm.data.create_transform(**timm.data.resolve_model_data_config(module), is_training=False)


def _labels(config: dict[str, Any]) -> list[str] | None:
    """Class id of each output: from the weights' configuration, or ImageNet's wnids if they were trained on it."""
    if config.get("label_names"):
        return list(config["label_names"])
    subset = timm.data.infer_imagenet_subset(config)
    if subset is None or not _IMAGENET.search(config.get("tag") or ""):
        return None
    return list(timm.data.ImageNetInfo(subset).label_names())

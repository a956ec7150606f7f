"""Which layers of a network are read, and at which call of which module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, TypeGuard

from torch import nn
from torch.nn.modules import activation
from torch.nn.modules.batchnorm import _BatchNorm

from labelsim.errors import LabelsimError, listed, near
from labelsim.network.tracing import Call, Shape, Trace

__all__ = [
    "At",
    "Layer",
    "Site",
    "Skipped",
    "find_sites",
    "is_everything",
    "missing",
    "note_activations",
    "note_assumed",
    "resolve",
]

At = Literal["convolution", "batch_norm", "activation"]
Skipped = list[tuple[str, str]]

_NOT_ELEMENTWISE = {"GLU", "LogSoftmax", "MultiheadAttention", "Softmax", "Softmax2d", "Softmin"}
_TIMM_ACTIVATIONS = "timm.layers.activations"  # timm's own, recognized by their module, as timm is optional
_ACTIVATIONS = tuple(getattr(activation, name) for name in activation.__all__ if name not in _NOT_ELEMENTWISE)
_NOT_RUN = "the forward pass does not run it"
_CONSTANT = "its output does not depend on the image"


@dataclass(frozen=True)
class Layer:
    """A layer whose channels are probed: its name in the network and how many channels it has."""

    name: str
    channels: int


@dataclass(frozen=True)
class Site:
    """Where a layer's channels are read: the output of one call of one module.

    Attributes
    ----------
    layer : Layer
    module : str
        Name of the module.
    index : int
        Number of earlier calls of this module.
    axis : int
        The dimension of the channels.
    assumed : bool
        Whether this dimension could not be followed through the network.
    """

    layer: Layer
    module: str
    index: int
    axis: int = 1
    assumed: bool = False


def resolve(module: nn.Module, traced: Trace, at: At | Literal["auto"], head: str) -> At:
    """What is read of a network, if `probe.at` is auto.

    Parameters
    ----------
    module : nn.Module
        The network.
    traced : Trace
        Its dry run.
    at : {"convolution", "batch_norm", "activation", "auto"}
        The configuration's `probe.at`.
    head : str
        Name of the classification layer.

    Returns
    -------
    {"convolution", "batch_norm", "activation"}
        For auto, convolutions if any of the network's can be read and is no patch embedding; else activations.
        What `probe.layers` selects has no influence on it.
    """
    if at != "auto":
        return at
    return "convolution" if _find_convolutions(module, traced, ["*"], head)[0] else "activation"


def find_sites(module: nn.Module, traced: Trace, globs: Sequence[str], at: At, head: str) -> tuple[list[Site], Skipped]:
    """Find the layers that globs select.

    Parameters
    ----------
    module : nn.Module
        The network.
    traced : Trace
        Its dry run.
    globs : sequence of str
        Over the modules' names.
    at : {"convolution", "batch_norm", "activation"}
        What is read.
    head : str
        Name of the classification layer, which does not count as a layer.

    Returns
    -------
    list of Site
        In the order in which the forward pass runs them.
    list of (str, str)
        Selected layers that cannot be read, with the reason.

    Raises
    ------
    LabelsimError
        If a glob matches nothing, or a convolution is called more than once.
    """
    if at == "activation":
        return _find_activations(module, traced.calls, globs, head)
    sites, skipped = _find_convolutions(module, traced, globs, head)
    if at == "batch_norm":
        sites, without = _find_batch_norms(module, traced.calls, sites)
        skipped += without
    return sites, skipped


def _is_map(shape: Shape | None) -> TypeGuard[Shape]:
    """Whether a shape is (1, channels, height, width)."""
    return shape is not None and len(shape) == 4 and shape[0] == 1


def is_everything(globs: Sequence[str]) -> bool:
    """Whether `probe.layers` is the default."""
    return list(globs) == ["*"]


def missing(skipped: Skipped, at: At) -> str:
    """Say why there is no layer to read."""
    kind = "activation" if at == "activation" else "convolution"
    reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped[:5]) or f"no {kind} module matches"
    advice = "" if at == "activation" else "; probe.at: activation (or auto) compares activations instead"
    return f"probe.layers and probe.at: {at} select no layer that can be read ({reasons}){advice}"


def _is_activation(module: nn.Module) -> bool:
    return isinstance(module, _ACTIVATIONS) or type(module).__module__.startswith(_TIMM_ACTIVATIONS)


def note_activations(module: nn.Module, calls: Sequence[Call]) -> list[str]:
    """Note that a network has other activations than ReLU, as far as they are modules."""
    activations = [found for call in calls if _is_activation(found := module.get_submodule(call.name))]
    if not activations or any(isinstance(submodule, nn.ReLU | nn.ReLU6) for submodule in activations):
        return []
    kinds = ", ".join(dict.fromkeys(type(submodule).__name__ for submodule in activations))
    return [
        f"this network has no ReLU module (its activations: {kinds}); "
        "A(X) is the mean of ReLU(output) nevertheless, as in equation 2"
    ]


def note_assumed(sites: Sequence[Site]) -> list[str]:
    """Note the layers whose dimension of channels is not known."""
    names = [site.layer.name for site in sites if site.assumed]
    if not names:
        return []
    return [
        f"it is not known which dimension has the channels of {listed(names)}: with four dimensions the second is "
        "used, with three the last"
    ]


def _check_globs(globs: Sequence[str], names: Sequence[str], what: str) -> None:
    """Refuse a glob that matches no name, if there are any names."""
    for glob in globs:
        if names and not any(fnmatchcase(name, glob) for name in names):
            raise LabelsimError(f"probe.layers: {glob!r} matches no {what} module{near(glob, names)}")


def _matches(globs: Sequence[str], *names: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs for name in names)


def _find_convolutions(module: nn.Module, traced: Trace, globs: Sequence[str], head: str) -> tuple[list[Site], Skipped]:
    """Find the selected convolutions, and those that cannot be read."""
    names = [name for name, submodule in module.named_modules() if isinstance(submodule, nn.Conv2d)]
    _check_globs(globs, names, "convolution")
    chosen = {name for name in names if _matches(globs, name)}
    calls = {call.name: call for call in reversed(traced.calls) if call.name in chosen}  # the first of each
    counts = Counter(call.name for call in traced.calls)
    sites: list[Site] = []
    skipped: Skipped = []
    for name, call in reversed(calls.items()):
        if name == head:
            skipped.append((name, "it is the classification layer"))
        elif counts[name] > 1 and not is_everything(globs):
            raise LabelsimError(
                f"probe.layers: the convolution {name!r} is called more than once in a forward pass, so its channels "
                "have no single value. Exclude it."
            )
        elif counts[name] > 1:
            skipped.append((name, f"it is called {counts[name]} times, so its channels have no single value"))
        elif not _is_map(call.output_shape):
            skipped.append((name, f"its output is {call.output_shape}, not (1, channels, height, width)"))
        elif call.wrote is None:
            skipped.append((name, _CONSTANT))
        else:
            sites.append(Site(Layer(name, call.output_shape[1]), name, 0))
    skipped += [(name, _NOT_RUN) for name in names if name in chosen - calls.keys()]
    skipped += _hidden_convolutions(module, traced, globs)
    # With other globs, the user has asked for it.
    patches = [(site.module, step) for site in sites if (step := _patch(module.get_submodule(site.module)))]
    if is_everything(globs) and len(patches) == len(sites):
        reason = "it only cuts the image into patches, {} pixels apart; no convolution of another kind runs"
        return [], [*((name, reason.format(step)) for name, step in patches), *skipped]
    return sites, skipped


def _hidden_convolutions(module: nn.Module, traced: Trace, globs: Sequence[str]) -> Skipped:
    """Convolutions outside modules of type Conv2d."""
    counts = Counter(operation.module for operation in traced.operations if operation.kind == "convolution")
    skipped = []
    for name, count in counts.items():
        kind = type(module.get_submodule(name))
        if not issubclass(kind, nn.Conv2d) and _matches(globs, name):
            skipped.append((name or kind.__name__, f"it is a {kind.__name__}, not a Conv2d ({count} convolutions)"))
    return skipped


def _patch(convolution: nn.Module) -> str | None:
    """Distance of the patches, if a convolution could be a patch embedding; None otherwise."""
    assert isinstance(convolution, nn.Conv2d)
    stride = convolution.stride
    apart = convolution.kernel_size == stride and max(stride) > 1
    # Patches may overlap (Hiera, TNT); a convolution of another kind that skips pixels seldom skips so many.
    coarse = convolution.in_channels == 3 and min(stride) >= 4
    return " x ".join(map(str, stride)) if apart or coarse else None


def _find_batch_norms(
    module: nn.Module, calls: Sequence[Call], convolutions: Sequence[Site]
) -> tuple[list[Site], Skipped]:
    """Find for each convolution the batch norm after it; the layer keeps the convolution's name."""
    norms = {
        call.read: call
        for call in reversed(calls)  # of several, the first
        if call.channels == 1 and isinstance(module.get_submodule(call.name), _BatchNorm)
    }
    outputs = {call.name: call for call in calls}
    sites: list[Site] = []
    skipped: Skipped = []
    for site in convolutions:
        output = outputs[site.layer.name]
        norm = norms.get(output.wrote)
        if norm is None or norm.input_shape != output.output_shape:
            skipped.append((site.layer.name, "no batch norm follows it"))
            continue
        # timm's BatchNormAct2d also applies a dropout (an Identity) and its activation: its output is not the norm's.
        inside = [call for call in calls if call.name.startswith(f"{norm.name}.") and call.index == norm.index]
        kinds = [type(module.get_submodule(call.name)) for call in inside]
        if kinds and kinds[0] is nn.Identity:
            sites.append(Site(site.layer, inside[0].name, inside[0].index))
        elif set(kinds) <= {nn.ReLU}:
            sites.append(Site(site.layer, norm.name, norm.index))
        else:
            names = ", ".join(kind.__name__ for kind in kinds)
            skipped.append((site.layer.name, f"its batch norm {norm.name} also applies {names}"))
    return sites, skipped


def _find_activations(
    module: nn.Module, calls: Sequence[Call], globs: Sequence[str], head: str
) -> tuple[list[Site], Skipped]:
    """Find the selected calls of activation modules, and those that cannot be read."""
    modules = [name for name, submodule in module.named_modules() if _is_activation(submodule)]
    counts = Counter(call.name for call in calls)
    found = [call for call in calls if call.name in modules]
    heads = {call.wrote for call in calls if call.name == head}
    names = [f"{call.name}#{call.index + 1}" if counts[call.name] > 1 else call.name for call in found]
    _check_globs(globs, list(dict.fromkeys([*names, *modules])), "activation")
    sites: list[Site] = []
    skipped: Skipped = []
    for name, call in zip(names, found, strict=True):
        if not _matches(globs, name, call.name):
            continue
        shape = call.output_shape
        if shape is None or len(shape) not in (3, 4) or shape[0] != 1 or call.channels == 0:
            skipped.append((name, f"its output is {shape}, neither the map nor the tokens of one image"))
        elif call.wrote is None:
            skipped.append((name, _CONSTANT))
        elif call.read in heads:
            skipped.append((name, "it is applied to the classification layer's output"))
        else:
            assumed = 2 if len(shape) == 3 else 1
            axis = assumed if call.channels is None else call.channels
            sites.append(Site(Layer(name, shape[axis]), call.name, call.index, axis, call.channels is None))
    skipped += [(name, _NOT_RUN) for name in modules if not counts[name] and _matches(globs, name)]
    return sites, skipped

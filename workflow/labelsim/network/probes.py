"""One forward pass of a network gives the features of a batch: gap, hidden and logits."""

import difflib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Literal, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules import activation
from torch.nn.modules.batchnorm import _BatchNorm

from labelsim.errors import LabelsimError
from labelsim.network.pooling import mean, rectified_mean

__all__ = ["Features", "Layer", "Probes"]

At = Literal["convolution", "batch_norm", "activation"]
Shape = tuple[int, ...]

_NOT_ELEMENTWISE = {"GLU", "LogSoftmax", "MultiheadAttention", "Softmax", "Softmax2d", "Softmin"}
_TIMM_ACTIVATIONS = "timm.layers.activations"  # timm's own, told by where they are defined: timm is optional
_ACTIVATIONS = tuple(getattr(activation, name) for name in activation.__all__ if name not in _NOT_ELEMENTWISE)


class Features(NamedTuple):
    """Features of a batch of N images, all float32.

    Attributes
    ----------
    gap : Tensor
        A(X), shape (N, D): the mean over height and width of each channel, layer after layer.
    hidden : Tensor
        h(X), shape (N, M): the input of the classification layer.
    logits : Tensor
        Shape (N, K): the network's output.
    """

    gap: Tensor
    hidden: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Layer:
    """A layer whose channels are probed: its name in the network and how many channels it has."""

    name: str
    channels: int


@dataclass(frozen=True)
class _Call:
    """One call of a module in the dry run; shapes are None where there is no single tensor."""

    name: str
    index: int  # of this module's calls
    input_shape: Shape | None
    output_shape: Shape | None
    source: str | None  # the convolution or linear layer whose output is the input


@dataclass(frozen=True)
class _Site:
    """Where a layer's channels are read: the output of one call of one module."""

    layer: Layer
    module: str
    index: int


Skipped = list[tuple[str, str]]


class Probes:
    """Hooks in a network that take A(X) and h(X) out of its forward pass.

    A(X) is, for each channel of each layer, the mean over height and width of ReLU(output) (equations 2 and 3
    of the paper), taken inside the hook, so that no later in-place operation can change it.

    Parameters
    ----------
    module : nn.Module
        The network; it is put into eval mode.
    example : Tensor
        An input of shape (1, 3, H, W) on the network's device, for the dry run that finds the layers.
    layers : sequence of str
        Globs over module names that select the layers.
    at : {"convolution", "batch_norm", "activation"}
        What is read: ReLU of a convolution's own output; ReLU of the output of the batch norm that takes this
        output; or the outputs of the activation modules as they are, where a module that is called n > 1
        times makes n layers, named ``relu#1`` to ``relu#n``.
    head : str
        Name of the classification layer, whose input is h(X); ``auto`` for the last linear layer called.

    Attributes
    ----------
    layers : list of Layer
        In the order in which the forward pass runs them.
    head : str
        Name of the classification layer.
    hidden_units, outputs : int
        M and K.
    input_shape : tuple of int
        (3, H, W).
    skipped : list of (str, str)
        Selected layers that cannot be read, each with the reason.
    missing : str or None
        Why there is no layer to read, where there is none: a vision transformer's only convolution cuts the image
        into patches. Then `gap` has no channels; hidden state and logits are as ever.
    notes : list of str
        What the user should read in the log.

    Raises
    ------
    LabelsimError
        If the network fails on the example, a glob matches nothing, a selected convolution is called twice,
        nothing is left to read of layers that were asked for (by other globs than ``*`` alone), or there is no
        usable head or output.

    References
    ----------
    Park, "Finding Similar Labels with Internal Representations in Image Classification", equations 2 and 3.
    """

    def __init__(
        self,
        module: nn.Module,
        example: Tensor,
        layers: Sequence[str] = ("*",),
        at: At = "convolution",
        head: str = "auto",
    ) -> None:
        self.module = module.eval()
        calls, output = _dry_run(module, example)
        find = _find_activations if at == "activation" else _find_convolutions
        sites, self.skipped = find(module, calls, layers)
        if at == "batch_norm":
            sites, without = _find_batch_norms(module, calls, sites)
            self.skipped += without
        self.missing = None if sites else _missing(self.skipped, at)
        if self.missing and not _is_everything(layers):
            raise LabelsimError(f"{self.missing}.")
        self.notes = _note_activations(module, calls) if sites and at != "activation" else []
        self.layers = [site.layer for site in sites]
        self.input_shape: Shape = tuple(example.shape[1:])
        self.head, self.hidden_units = _find_head(module, calls, head)
        self.outputs = _count_outputs(output)
        self._rectify = at != "activation"
        self._slots = {(site.module, site.index): slot for slot, site in enumerate(sites)}
        self._head_calls = sum(call.name == self.head for call in calls)
        hooked = {site.module for site in sites}
        self._expected = Counter(call.name for call in calls if call.name in hooked)
        self._begin()
        self._handles = [module.get_submodule(name).register_forward_hook(self._gap_hook(name)) for name in hooked]
        self._handles.append(
            module.get_submodule(self.head).register_forward_pre_hook(self._hidden_hook, with_kwargs=True)
        )

    def __call__(self, batch: Tensor) -> Features:
        """Run the network on a batch.

        Parameters
        ----------
        batch : Tensor
            Shape (N, 3, H, W), on the network's device.

        Returns
        -------
        Features
            On the same device.

        Raises
        ------
        LabelsimError
            If the forward pass did not run the layers that the dry run found, each as often as there.
        """
        self._begin()
        try:
            with torch.inference_mode():
                logits = self.module(batch)
                self._check_calls()
                none = batch.new_zeros((len(batch), 0), dtype=torch.float32)
                gap = torch.cat([none, *(self._gaps[slot] for slot in range(len(self.layers)))], dim=1)
                return Features(gap, self._hiddens[-1], logits.float())
        finally:
            self._begin()  # keeps no features alive

    def close(self) -> None:
        """Remove the hooks; the network is as it was."""
        for handle in self._handles:
            handle.remove()

    def _begin(self) -> None:
        self._calls: Counter[str] = Counter()
        self._gaps: dict[int, Tensor] = {}
        self._hiddens: list[Tensor] = []

    def _gap_hook(self, name: str) -> Callable[[nn.Module, tuple, Tensor], None]:
        def hook(module: nn.Module, args: tuple, output: Tensor) -> None:
            slot = self._slots.get((name, self._calls[name]))
            self._calls[name] += 1
            if slot is not None:
                self._gaps[slot] = rectified_mean(output) if self._rectify else mean(output)

        return hook

    def _hidden_hook(self, module: nn.Module, args: tuple, kwargs: Mapping) -> None:
        hidden = _first(args, kwargs)
        assert isinstance(hidden, Tensor)  # as in the dry run
        # A copy, as the network may go on to change it in place.
        self._hiddens.append(hidden.flatten(1).to(torch.float32, copy=True))

    def _check_calls(self) -> None:
        wrong = [name for name, count in self._expected.items() if self._calls[name] != count]
        if len(self._hiddens) != self._head_calls:
            wrong.append(self.head)
        if wrong:
            raise LabelsimError(
                f"the forward pass did not run {', '.join(wrong[:5])} as often as the dry run did: which "
                "layers run must not depend on the image, and the probes must not be closed."
            )


def _first(args: tuple, kwargs: Mapping) -> object:
    """First input of a call, by position or by name."""
    return next(iter((*args, *kwargs.values())), None)


def _shape(value: object) -> Shape | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None


def _is_map(shape: Shape | None) -> TypeGuard[Shape]:
    """Whether this is the shape of one image's feature map, (1, channels, height, width)."""
    return shape is not None and len(shape) == 4 and shape[0] == 1


def _dry_run(module: nn.Module, example: Tensor) -> tuple[list[_Call], object]:
    """Run the network once and list the calls of its modules in the order in which they ended."""
    calls: list[_Call] = []
    # no_grad, as tensors of the inference mode do not count their in-place changes.
    with torch.inference_mode(False), torch.no_grad(), _recording(module, calls):
        try:
            return calls, module(example.clone())
        except Exception as error:
            raise LabelsimError(
                f"the network fails on an input of shape {tuple(example.shape)} "
                f"({type(error).__name__}: {error}). Does model.transform fit the network?"
            ) from error


@contextmanager
def _recording(module: nn.Module, calls: list[_Call]) -> Iterator[None]:
    """Append every call of a submodule to `calls` while this lasts."""
    counts: Counter[str] = Counter()
    outputs: list[tuple[str, Tensor, int]] = []  # of convolutions and linear layers, with their versions

    def find_source(submodule: nn.Module, value: object) -> str | None:
        if isinstance(submodule, _BatchNorm):
            # A tensor that was changed in place on the way is no more what a batch norm should take.
            return next((name for name, out, version in outputs if out is value and out._version == version), None)
        # A part of an output, or another view of it, comes from the same layer.
        memory = value.untyped_storage().data_ptr() if isinstance(value, Tensor) else None
        return next((name for name, out, _ in outputs if out.untyped_storage().data_ptr() == memory), None)

    def record(name: str, submodule: nn.Module, args: tuple, kwargs: Mapping, output: object) -> None:
        value = _first(args, kwargs)
        calls.append(_Call(name, counts[name], _shape(value), _shape(output), find_source(submodule, value)))
        counts[name] += 1
        if isinstance(submodule, nn.Conv2d | nn.Linear) and isinstance(output, Tensor):
            outputs.append((name, output, output._version))

    handles = [
        submodule.register_forward_hook(partial(record, name), with_kwargs=True)
        for name, submodule in module.named_modules()
        if name
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _is_everything(globs: Sequence[str]) -> bool:
    """Whether `probe.layers` is the default, which asks for no layer in particular."""
    return list(globs) == ["*"]


def _missing(skipped: Skipped, at: At) -> str:
    """Say why no layer is left to read."""
    kind = "activation" if at == "activation" else "convolution"
    reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped[:5]) or f"the network has no {kind} module"
    return f"probe.layers and probe.at={at!r} leave nothing to read ({reasons})"


def _is_activation(module: nn.Module) -> bool:
    return isinstance(module, _ACTIVATIONS) or type(module).__module__.startswith(_TIMM_ACTIVATIONS)


def _note_activations(module: nn.Module, calls: Sequence[_Call]) -> list[str]:
    """Note that a network has other activations than ReLU; those that are no modules cannot be seen."""
    ran = [module.get_submodule(call.name) for call in calls]
    activations = [submodule for submodule in ran if _is_activation(submodule)]
    if not activations or any(isinstance(submodule, nn.ReLU | nn.ReLU6) for submodule in activations):
        return []
    kinds = ", ".join(dict.fromkeys(type(submodule).__name__ for submodule in activations))
    return [
        f"no ReLU module runs in this network (its activations: {kinds}); "
        "A(X) is the mean of ReLU(output), as equation 2 has it"
    ]


def _select(names: Sequence[tuple[str, ...]], globs: Sequence[str], what: str) -> list[int]:
    """Positions of the layers that any glob matches by any of their names."""
    if not names and _is_everything(globs):
        return []
    if not names:
        raise LabelsimError(f"the network has no {what} module.")
    every = [name for aliases in names for name in aliases]
    for glob in globs:
        if not any(fnmatchcase(name, glob) for name in every):
            near = difflib.get_close_matches(glob, every, n=5) or every[:5]
            raise LabelsimError(
                f"probe.layers: {glob!r} matches none of the {len(names)} {what} modules; there are, for "
                f"instance, {', '.join(near)}."
            )
    chosen = [
        position
        for position, aliases in enumerate(names)
        if any(fnmatchcase(name, glob) for glob in globs for name in aliases)
    ]
    if not chosen:
        raise LabelsimError(f"probe.layers is empty: give globs over the {what} modules, such as '*'.")
    return chosen


def _find_convolutions(module: nn.Module, calls: Sequence[_Call], globs: Sequence[str]) -> tuple[list[_Site], Skipped]:
    """Find the selected convolutions, and those that cannot be read."""
    names = [name for name, submodule in module.named_modules() if isinstance(submodule, nn.Conv2d)]
    chosen = {names[position] for position in _select([(name,) for name in names], globs, "convolution")}
    sites: list[_Site] = []
    ran: set[str] = set()
    skipped: Skipped = []
    for call in calls:
        if call.name not in chosen:
            continue
        if call.name in ran:
            raise LabelsimError(
                f"the convolution {call.name!r} is called more than once in a forward pass, so its channels "
                "have no single value: choose probe.layers so that it is left out."
            )
        ran.add(call.name)
        if _is_map(call.output_shape):
            sites.append(_Site(Layer(call.name, call.output_shape[1]), call.name, 0))
        else:
            skipped.append((call.name, f"its output is {call.output_shape}, not (1, channels, height, width)"))
    skipped += [(name, "the forward pass does not run it") for name in names if name in chosen - ran]
    # A name given in full asks for it all the same.
    if _is_everything(globs) and len(sites) == 1 and (patch := _patch(module.get_submodule(sites[0].module))):
        reason = f"it only cuts the image into patches, one every {patch} pixels; no other convolution runs"
        return [], [(sites[0].layer.name, reason), *skipped]
    return sites, skipped


def _patch(convolution: nn.Module) -> str | None:
    """Distance of the patches that a vision transformer's only convolution cuts the image into."""
    assert isinstance(convolution, nn.Conv2d)
    # No transformer has patches of less than 4 x 4 pixels; a small network's only layer may well skip a pixel.
    cuts = convolution.in_channels == 3 and all(step >= 4 for step in convolution.stride)
    return " x ".join(map(str, convolution.stride)) if cuts else None


def _find_batch_norms(
    module: nn.Module, calls: Sequence[_Call], convolutions: Sequence[_Site]
) -> tuple[list[_Site], Skipped]:
    """Find for each convolution the batch norm that takes its output; the layer keeps its name."""
    norms = {
        call.source: call
        for call in reversed(calls)  # of several, the first
        if call.source is not None and isinstance(module.get_submodule(call.name), _BatchNorm)
    }
    sites: list[_Site] = []
    skipped: Skipped = []
    for site in convolutions:
        norm = norms.get(site.layer.name)
        if norm is None:
            skipped.append((site.layer.name, "no batch norm takes its output"))
            continue
        # timm's BatchNormAct2d goes on to a dropout (an Identity) and its activation: what it gives is not the norm's.
        inside = [call for call in calls if call.name.startswith(f"{norm.name}.") and call.index == norm.index]
        kinds = [type(module.get_submodule(call.name)) for call in inside]
        if kinds and kinds[0] is nn.Identity:
            sites.append(_Site(site.layer, inside[0].name, inside[0].index))
        elif set(kinds) <= {nn.ReLU}:
            sites.append(_Site(site.layer, norm.name, norm.index))
        else:
            names = ", ".join(kind.__name__ for kind in kinds)
            skipped.append((site.layer.name, f"its batch norm {norm.name} applies {names} before it can be read"))
    return sites, skipped


def _find_activations(module: nn.Module, calls: Sequence[_Call], globs: Sequence[str]) -> tuple[list[_Site], Skipped]:
    """Find the selected calls of activation modules, and those that cannot be read."""
    modules = {name: submodule for name, submodule in module.named_modules() if _is_activation(submodule)}
    counts = Counter(call.name for call in calls)
    found = [call for call in calls if call.name in modules]
    unused = [name for name in modules if not counts[name]]
    full = [f"{call.name}#{call.index + 1}" if counts[call.name] > 1 else call.name for call in found]
    aliases = [(name, call.name) for name, call in zip(full, found, strict=True)] + [(name,) for name in unused]
    sites: list[_Site] = []
    skipped: Skipped = []
    for position in _select(aliases, globs, "activation"):
        name = aliases[position][0]
        call = found[position] if position < len(found) else None
        if call is None:
            skipped.append((name, "the forward pass does not run it"))
        elif not _is_map(call.output_shape):
            skipped.append((name, f"its output is {call.output_shape}, not (1, channels, height, width)"))
        elif call.source is not None and isinstance(module.get_submodule(call.source), nn.Linear):
            skipped.append((name, "it takes a linear layer's output, whose channels are its last dimension"))
        else:
            sites.append(_Site(Layer(name, call.output_shape[1]), call.name, call.index))
    return sites, skipped


def _find_head(module: nn.Module, calls: Sequence[_Call], head: str) -> tuple[str, int]:
    """Find the classification layer: its name and M, the size of its input."""
    modules = dict(module.named_modules())
    last = "Last ran " + ", ".join(f"{call.name} ({type(modules[call.name]).__name__})" for call in calls[-5:])
    if head == "auto":
        heads = [call for call in calls if isinstance(modules[call.name], nn.Linear)]
        if not heads:
            raise LabelsimError(
                f"the forward pass runs no linear layer: set probe.head to the classification layer. {last}."
            )
    else:
        heads = [call for call in calls if call.name == head]
        if not heads:
            what = "the forward pass does not run" if head in modules else "there is no module"
            near = ", ".join(difflib.get_close_matches(head, {call.name for call in calls}, n=5))
            raise LabelsimError(f"probe.head: {what} {head!r}. {f'Near: {near}. ' if near else ''}{last}.")
    call, shape = heads[-1], heads[-1].input_shape
    if shape is None or len(shape) not in (2, 4) or shape[0] != 1 or any(size != 1 for size in shape[2:]):
        raise LabelsimError(
            f"the input of the head {call.name!r} has shape {shape}, but the hidden state must be (N, M) or "
            f"(N, M, 1, 1): set probe.head to another layer. {last}."
        )
    return call.name, shape[1]


def _count_outputs(output: object) -> int:
    """Count the network's outputs, K."""
    shape = _shape(output)
    if shape is None or len(shape) != 2 or shape[0] != 1:
        what = f"has shape {shape}" if shape is not None else f"is a {type(output).__name__}"
        raise LabelsimError(
            f"the network's output {what}, but must be one tensor (N, K): wrap the network in a module that returns it."
        )
    return shape[1]

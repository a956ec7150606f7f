"""One forward pass of a network gives the features of a batch: gap, hidden and logits."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from labelsim.errors import LabelsimError
from labelsim.network.head import find_head
from labelsim.network.layers import (
    At,
    Layer,
    find_sites,
    is_everything,
    missing,
    note_activations,
    note_assumed,
    resolve,
)
from labelsim.network.pooling import mean, rectified_mean
from labelsim.network.tracing import Shape, trace

__all__ = ["Features", "Layer", "Probes"]


class Features(NamedTuple):
    """Features of a batch of N images, all float32.

    Attributes
    ----------
    gap : Tensor
        A(X), shape (N, D): the mean over the places of each channel, layer after layer.
    hidden : Tensor
        h(X), shape (N, M): the input of the classification layer.
    logits : Tensor
        Shape (N, K): the network's output.
    """

    gap: Tensor
    hidden: Tensor
    logits: Tensor


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
    at : {"convolution", "batch_norm", "activation", "auto"}
        What is read: ReLU of a convolution's own output; ReLU of the output of the batch norm that takes this
        output; or the outputs of the activation modules as they are, averaged over all dimensions but that of the
        images and that of the channels, where a module that is called n > 1 times makes n layers, named
        ``relu#1`` to ``relu#n``. With auto, convolutions, or activations where no convolution but patch
        embeddings can be read.
    head : str
        Name of the classification layer, whose input is h(X); ``auto`` finds it: see `find_head`.

    Attributes
    ----------
    layers : list of Layer
        In the order in which the forward pass runs them.
    at : {"convolution", "batch_norm", "activation"}
        What is read.
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
        at: At | Literal["auto"] = "convolution",
        head: str = "auto",
    ) -> None:
        self.module = module.eval()
        traced = trace(module, example)
        self.outputs = _count_outputs(traced.output)
        self.head, self.hidden_units, notes = find_head(module, traced, head)
        self.at = resolve(module, traced, at, self.head)
        if at == "auto":
            why = ": no convolution but patch embeddings can be read" if self.at == "activation" else ""
            notes = [f"probe.at: auto is {self.at} for this network{why}", *notes]
        sites, self.skipped = find_sites(module, traced, layers, self.at, self.head)
        self.missing = None if sites else missing(self.skipped, self.at)
        if self.missing and not is_everything(layers):
            raise LabelsimError(f"{self.missing}.")
        about = note_activations(module, traced.calls) if sites and self.at != "activation" else []
        self.notes = [*notes, *about, *note_assumed(sites)]
        self.layers = [site.layer for site in sites]
        self.input_shape: Shape = tuple(example.shape[1:])
        self._rectify = self.at != "activation"
        self._slots = {(site.module, site.index): (slot, site.axis) for slot, site in enumerate(sites)}
        self._head_calls = sum(call.name == self.head for call in traced.calls)
        hooked = {site.module for site in sites}
        self._expected = Counter(call.name for call in traced.calls if call.name in hooked)
        self._run = self._features
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
            If the forward pass did not run the layers that the dry run found, each as often as there, or if a layer
        does not give one map an image.
        """
        try:
            with torch.inference_mode():
                return self._run(batch)
        finally:
            self._begin()  # keeps no features alive

    def compile(self) -> None:
        """Have PyTorch compile the network together with its probes, which takes a while in the first call."""
        self._run = torch.compile(self._run)

    def _features(self, batch: Tensor) -> Features:
        self._begin()
        logits = self.module(batch)
        self._check_calls(len(batch))
        none = batch.new_zeros((len(batch), 0), dtype=torch.float32)
        gap = torch.cat([none, *(self._gaps[slot] for slot in range(len(self.layers)))], dim=1)
        return Features(gap, self._hiddens[-1], logits.float())

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
            found = self._slots.get((name, self._calls[name]))
            self._calls[name] += 1
            if found is not None:
                slot, axis = found
                self._gaps[slot] = rectified_mean(output) if self._rectify else mean(output, axis)

        return hook

    def _hidden_hook(self, module: nn.Module, args: tuple, kwargs: Mapping) -> None:
        hidden = next(iter((*args, *kwargs.values())))
        # A copy, as the network may go on to change it in place.
        self._hiddens.append(mean(hidden) if hidden.ndim == 4 else hidden.to(torch.float32, copy=True))

    def _check_calls(self, images: int) -> None:
        wrong = [name for name, count in self._expected.items() if self._calls[name] != count]
        if len(self._hiddens) != self._head_calls:
            wrong.append(self.head)
        if wrong:
            raise LabelsimError(
                f"the forward pass did not run {', '.join(wrong[:5])} as often as the dry run did: which "
                "layers run must not depend on the image, and the probes must not be closed."
            )
        for slot, values in self._gaps.items():
            if len(values) != images:
                raise LabelsimError(
                    f"the layer {self.layers[slot].name!r} gives {len(values)} maps for {images} images: choose "
                    "probe.layers so that it is left out."
                )


def _count_outputs(output: object) -> int:
    """Count the network's outputs, K."""
    if isinstance(output, Tensor) and output.ndim == 2 and len(output) == 1:
        return output.shape[1]
    what = f"has shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"is a {type(output).__name__}"
    raise LabelsimError(
        f"the network's output {what}, but must be one tensor (N, K): wrap the network in a module that returns it."
    )

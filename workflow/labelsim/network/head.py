"""The classification layer, whose input is the hidden state."""

from __future__ import annotations

from collections import Counter
from math import prod

from torch import nn

from labelsim.errors import LabelsimError, near
from labelsim.network.tracing import Call, Trace

__all__ = ["find_head"]


def find_head(module: nn.Module, traced: Trace, head: str = "auto") -> tuple[str, int, list[str]]:
    """Find the classification layer.

    Parameters
    ----------
    module : nn.Module
        The network.
    traced : Trace
        Its dry run.
    head : str
        The layer's name; `auto` for the layer after which only operations without weights follow. If there are
        several, as in networks that average their outputs, the one with the most inputs; of equal ones, the last.

    Returns
    -------
    str
        The layer's name.
    int
        M, the number of hidden units: the layer's input is (N, M) or (N, M, 1, 1), or, for a convolution of 1 x 1,
        (N, M, H, W), of which the hidden state is the mean over height and width.
    list of str
        Notes for the user's log.

    Raises
    ------
    LabelsimError
        If there is no such layer, or its input is of another shape.
    """
    modules = dict(module.named_modules())
    calls = {call.name: call for call in traced.calls}  # the last of each
    ran = [f"{call.name} ({type(modules[call.name]).__name__})" for call in traced.calls[-5:]]
    last = f"The last layers that run are {', '.join(ran)}"
    if head != "auto":
        if head not in calls:
            what = "the forward pass does not run" if head in modules else "there is no module"
            raise LabelsimError(f"probe.head: {what} {head!r}{near(head, calls)} {last}.")
        units = _units(calls[head], modules[head])
        if units is None:
            raise LabelsimError(f"probe.head: {_wrong_shape(calls[head])}: set it to another layer. {last}.")
        return head, units, []
    found = {name: units for name in _heads(traced, calls) if (units := _units(calls[name], modules[name])) is not None}
    if not found:
        raise LabelsimError(f"{_why_none(traced, calls)}: set probe.head to the classification layer. {last}.")
    name = max(reversed(found), key=lambda name: found[name])
    others = ", ".join(other for other in found if other != name)
    note = f"the network's output comes from several layers; the hidden state is the input of {name}, not of {others}"
    return name, found[name], [f"{note} (set probe.head to change that)"] if others else []


def _heads(traced: Trace, calls: dict[str, Call]) -> list[str]:
    """Modules that ran the last products before the output, in the order in which they ran."""
    counts = Counter(operation.module for operation in traced.operations)
    runs = Counter(call.name for call in traced.calls)
    return list(
        dict.fromkeys(
            operation.module
            for operation in traced.last
            # In a module with several products, or that resizes its input, the last product has another input.
            if operation.module in calls
            and counts[operation.module] == runs[operation.module]
            and operation.size == prod(calls[operation.module].input_shape or ())
        )
    )


def _units(call: Call, layer: nn.Module) -> int | None:
    """M, if the input of a layer has the shape of a hidden state; else None."""
    shape = call.input_shape
    if shape is None or len(shape) not in (2, 4) or shape[0] != 1:
        return None
    pointwise = isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)
    return shape[1] if pointwise or all(size == 1 for size in shape[2:]) else None


def _wrong_shape(call: Call) -> str:
    return (
        f"the input of the head {call.name!r} has shape {call.input_shape}, but the hidden state must be (N, M) or "
        "(N, M, 1, 1)"
    )


def _why_none(traced: Trace, calls: dict[str, Call]) -> str:
    if not traced.last:
        return "no linear layer computes the network's output"
    if heads := _heads(traced, calls):
        return _wrong_shape(calls[heads[-1]])
    where = traced.last[-1].module or "its forward pass"
    return f"the network's output is computed by the code of {where}, not by a layer"

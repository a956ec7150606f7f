"""A dry run of a network, operation by operation: which modules run, and what is computed from the image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from labelsim.errors import LabelsimError, reason

__all__ = ["Call", "Operation", "Shape", "Trace", "trace"]

Shape = tuple[int, ...]

_PRODUCTS = {"addmm", "addmv", "baddbmm", "bmm", "linear", "mm", "mv"}
_COPIES = {"_to_copy", "clone"}
_RESHAPES = {"_unsafe_view", "squeeze", "unsqueeze", "view"}


@dataclass(frozen=True, eq=False)
class Operation:
    """An operation on values that depend on the image.

    Attributes
    ----------
    kind : {"convolution", "product", "other"}
        A two-dimensional convolution; a matrix product with a constant, as in a linear layer; anything else.
    module : str
        Name of the innermost module that runs it, empty for the network itself.
    size : int
        Number of elements of the operand that depends on the image.
    parents : tuple of Operation
        The operations that computed its inputs.
    """

    kind: Literal["convolution", "product", "other"]
    module: str
    size: int
    parents: tuple[Operation, ...]


@dataclass(frozen=True)
class Call:
    """One call of a module.

    Attributes
    ----------
    name : str
        Name of the module.
    index : int
        Number of earlier calls of this module.
    input_shape, output_shape : tuple of int or None
        Shapes of the first input and of the output; None if they are not tensors.
    read, wrote : Operation or None
        The operations that computed them, apart from views and copies; None if they do not depend on the image.
    channels : int or None
        The channel dimension of the first input, if it is known.
    """

    name: str
    index: int
    input_shape: Shape | None
    output_shape: Shape | None
    read: Operation | None
    wrote: Operation | None
    channels: int | None


@dataclass(frozen=True)
class Trace:
    """Result of a dry run.

    Attributes
    ----------
    calls : list of Call
        Calls of all modules except the network itself, in the order in which they ended.
    operations : list of Operation
        Convolutions and products, in the order in which they ran.
    last : list of Operation
        The last of these before the output, on each path to it.
    output : object
        The network's output.
    """

    calls: list[Call]
    operations: list[Operation]
    last: list[Operation]
    output: object


def trace(module: nn.Module, example: Tensor) -> Trace:
    """Run a network once.

    Parameters
    ----------
    module : nn.Module
        In eval mode.
    example : (1, 3, H, W) tensor
        On the network's device.

    Returns
    -------
    Trace

    Raises
    ------
    LabelsimError
        If the network fails.
    """
    image = example.clone()
    calls: list[Call] = []
    # no_grad, because the inference mode does not dispatch a module's operations one by one.
    with (
        torch.inference_mode(False),
        torch.no_grad(),
        _Follower(image) as follower,
        _recording(module, follower, calls),
    ):
        try:
            output = module(image)
        except Exception as error:
            raise LabelsimError(
                f"the network fails on an input of shape {tuple(example.shape)} ({reason(error)}). "
                "Does model.transform fit the network?"
            ) from error
    return Trace(calls, follower.operations, follower.last(output), output)


class _Follower(TorchDispatchMode):
    """Records every operation on values that depend on the image."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.running = [""]  # names of modules, the innermost last
        self._kept = [image]  # so that neither memory nor ids are reused
        self._writers = {_memory(image): Operation("other", "", image.numel(), ())}
        self._channels: dict[int, int | None] = {id(image): 1}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else PyTorch (2.13) imports its compiler, which takes longer than all else here

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        inputs, outputs = _tensors((args, kwargs)), _tensors(result)
        parents = tuple(dict.fromkeys(found for tensor in inputs if (found := self.writer(tensor))))
        if parents:
            name = function._schema.name.removeprefix("aten::")
            operation = parents[0] if name in _COPIES else self._operation(name, args, parents)
            views = set() if function._schema.is_mutable else {_memory(tensor) for tensor in inputs}
            self._kept += outputs
            for tensor in outputs:
                if _memory(tensor) not in views:
                    self._writers[_memory(tensor)] = operation
                self._channels[id(tensor)] = self._channel(name, args, inputs, tensor, operation)
        return result

    def writer(self, value: object) -> Operation | None:
        """The last operation that wrote a tensor's memory; None if it does not depend on the image."""
        return self._writers.get(_memory(value)) if isinstance(value, Tensor) else None

    def channels(self, value: object) -> int | None:
        """The channel dimension of a tensor, if it is known."""
        return self._channels.get(id(value))

    def last(self, output: object) -> list[Operation]:
        """The last convolutions and products on every path to the output."""
        found: set[Operation] = set()
        seen: set[Operation] = set()
        pending = [writer] if (writer := self.writer(output)) else []
        while pending:
            operation = pending.pop()
            if operation.kind != "other":
                found.add(operation)
            elif operation not in seen:
                seen.add(operation)
                pending.extend(operation.parents)
        return [operation for operation in self.operations if operation in found]

    def _operation(self, name: str, args: Sequence[Any], parents: tuple[Operation, ...]) -> Operation:
        kind: Literal["convolution", "product", "other"] = "other"
        operands = [value for value in args if isinstance(value, Tensor)]
        first = operands[0] if operands else None
        if name == "convolution" and args[1].ndim == 4:
            kind = "convolution"
        elif name in _PRODUCTS:
            pair = operands[:2] if name == "linear" else operands[-2:]
            variable = [value for value in pair if self.writer(value)]
            if len(variable) == 1:
                kind, first = "product", variable[0]
        operation = Operation(kind, self.running[-1], 0 if first is None else first.numel(), parents)
        if kind != "other":
            self.operations.append(operation)
        return operation

    def _channel(
        self, name: str, args: Sequence[Any], inputs: Sequence[Tensor], output: Tensor, operation: Operation
    ) -> int | None:
        if name == "convolution":
            return 1
        if name in _PRODUCTS and operation.kind == "product":
            return output.ndim - 1
        known = ((tensor, channel) for tensor in inputs if (channel := self.channels(tensor)) is not None)
        source, channel = next(known, (output, None))
        if channel is None:
            return None
        if name == "permute":
            return [axis % source.ndim for axis in args[1]].index(channel)
        if name in ("transpose", "t"):
            first, second = (axis % source.ndim for axis in (args[1:3] if name == "transpose" else (0, 1)))
            return {first: second, second: first}.get(channel, channel)
        if name in _RESHAPES:
            if source.shape[: channel + 1] == output.shape[: channel + 1]:
                return channel
            last = channel == source.ndim - 1 and output.ndim > 0 and source.shape[-1] == output.shape[-1]
            return output.ndim - 1 if last else None
        return channel if source.ndim == output.ndim else None


@contextmanager
def _recording(module: nn.Module, follower: _Follower, calls: list[Call]) -> Iterator[None]:
    """Append every call of a submodule to `calls`."""
    counts: Counter[str] = Counter()
    inputs: list[tuple[Shape | None, Operation | None, int | None]] = []

    def begin(name: str, submodule: nn.Module, args: tuple, kwargs: Mapping) -> None:
        follower.running.append(name)
        value = next(iter((*args, *kwargs.values())), None)
        inputs.append((_shape(value), follower.writer(value), follower.channels(value)))  # before it is changed

    def end(name: str, submodule: nn.Module, args: tuple, output: object) -> None:
        follower.running.pop()
        shape, read, channels = inputs.pop()
        calls.append(Call(name, counts[name], shape, _shape(output), read, follower.writer(output), channels))
        counts[name] += 1

    handles = [
        handle
        for name, submodule in module.named_modules()
        if name and not isinstance(submodule, torch.jit.ScriptModule)  # takes no hooks
        for handle in (
            submodule.register_forward_pre_hook(partial(begin, name), with_kwargs=True),
            submodule.register_forward_hook(partial(end, name)),
        )
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tensors(values: object) -> list[Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, Tensor)]


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() or id(tensor)  # an empty tensor has no memory


def _shape(value: object) -> Shape | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None

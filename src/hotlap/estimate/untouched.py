"""Train somebody's model to measure it, and give it back as it was, bit for bit.

kept before: parameters, buffers and gradients, what modules and optimizer hold besides, random generators
restored after, whatever happened in between; copies of what lies on a GPU wait in main memory
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.optim import Optimizer

from hotlap.errors import UsageError
from hotlap.probe.randomness import unchanged

_PLAIN = (bool, int, float, str, bytes, tuple, type(None))


@contextmanager
def untouched(model: nn.Module, optimizer: Optimizer | None = None) -> Iterator[None]:
    """Inside, the model has no gradients, and may be trained. Afterwards nothing of it can be told.

    What a forward hook or the model writes elsewhere (a file, a list that it holds) is not taken back.

    Raises:
        UsageError: the model has parameters without a shape yet.
    """
    tensors = [*model.parameters(), *model.buffers()]
    if optimizer is not None:
        tensors += [each for group in optimizer.param_groups for each in group["params"]]
    if any(isinstance(each, (UninitializedBuffer, UninitializedParameter)) for each in tensors):
        raise UsageError("the model has lazy modules without a shape: call it once with a batch before")
    with unchanged(torch), torch.random.fork_rng(devices=_cuda(tensors)):
        kept = [_Kept.of(each) for each in {id(each): each for each in tensors}.values()]
        modules = [(module, _held(module)) for module in model.modules()]
        states = None if optimizer is None else _State(optimizer)
        try:
            yield
        finally:
            for module, held in modules:
                _restore(module, held)
            for each in kept:
                each.restore()
            if states is not None:
                states.restore()


def _cuda(tensors: Iterable[Tensor]) -> list[int]:
    return sorted({each.get_device() for each in tensors if each.is_cuda})


class _Kept(NamedTuple):
    tensor: Tensor
    #: Its memory, which another may share: what it is rebound to meanwhile is another tensor.
    data: Tensor
    values: Tensor
    grad: Tensor | None

    @classmethod
    def of(cls, tensor: Tensor) -> _Kept:
        kept = cls(tensor, tensor.data, tensor.detach().to("cpu", copy=True), tensor.grad if tensor.is_leaf else None)
        if tensor.is_leaf:
            tensor.grad = None
        return kept

    def restore(self) -> None:
        self.data.copy_(self.values)
        self.tensor.data = self.data
        if self.tensor.is_leaf:
            self.tensor.grad = self.grad


class _Held(NamedTuple):
    names: frozenset[str]
    #: Numbers and words among the attributes: counters, ``training``.
    plain: dict[str, Any]
    #: Which tensors the module's names mean.
    parameters: dict[str, Any]
    buffers: dict[str, Any]


def _held(module: nn.Module) -> _Held:
    there = vars(module)
    plain = {name: value for name, value in there.items() if isinstance(value, _PLAIN)}
    return _Held(frozenset(there), plain, dict(module._parameters), dict(module._buffers))


def _restore(module: nn.Module, held: _Held) -> None:
    there = vars(module)
    for name in there.keys() - held.names:
        del there[name]
    there.update(held.plain)
    for now, before in ((module._parameters, held.parameters), (module._buffers, held.buffers)):
        now.clear()
        now.update(before)


class _State:
    """Of an optimizer: what it keeps for each parameter, and its groups."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._plain = {name: value for name, value in vars(optimizer).items() if isinstance(value, _PLAIN)}
        self._state = {parameter: _entries(state) for parameter, state in optimizer.state.items()}
        self._groups = [_entries(group, apart="params") for group in optimizer.param_groups]

    def restore(self) -> None:
        optimizer = self._optimizer
        vars(optimizer).update(self._plain)
        optimizer.state.clear()
        for parameter, state in self._state.items():
            optimizer.state[parameter] = _again(state)
        for group, entries in zip(optimizer.param_groups, self._groups, strict=True):
            group.clear()
            group.update(_again(entries))


def _entries(held: dict[str, Any], apart: str = "") -> dict[str, tuple[Any, Any]]:
    """Each value with a copy of it; what stands ``apart`` is kept elsewhere."""
    return {
        name: (value, value.detach().to("cpu", copy=True))
        if isinstance(value, Tensor)
        else (value, None)
        if name == apart
        else (copy.deepcopy(value), None)
        for name, value in held.items()
    }


def _again(entries: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    for value, values in entries.values():
        if isinstance(value, Tensor):
            value.detach().copy_(values)
    return {name: value for name, (value, _) in entries.items()}

"""Train somebody's model to measure it, and give it back as it was, bit for bit.

kept before: parameters, buffers and gradients, what modules and optimizer hold besides, random generators
restored after, whatever happened in between; copies of what lies on a GPU wait in main memory
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.optim import Optimizer

from hotlap.errors import TrainingFailed, UsageError
from hotlap.probe.randomness import unchanged

_PLAIN = (bool, int, float, str, bytes, tuple, type(None))


@contextmanager
def untouched(model: nn.Module, optimizer: Optimizer | None = None) -> Iterator[None]:
    """Inside, the model has no gradients, and may be trained. Afterwards nothing of it can be told.

    What a forward hook or the model writes elsewhere (a file, a list that it holds) is not taken back.

    Raises:
        UsageError: the model has parameters without a shape yet.
        TrainingFailed: something could not be given back; the rest was.
    """
    tensors = [*model.parameters(), *model.buffers()]
    if optimizer is not None:
        tensors += [each for group in optimizer.param_groups for each in group["params"]]
    if any(isinstance(each, (UninitializedBuffer, UninitializedParameter)) for each in tensors):
        raise UsageError("the model has lazy modules without a shape: call it once with a batch before")
    kept: list[_Kept] = []
    modules: list[tuple[nn.Module, _Held]] = []
    states: list[_State] = []
    with unchanged(torch), torch.random.fork_rng(devices=_cuda(tensors)):
        try:
            modules.extend((module, _held(module)) for module in model.modules())
            states += [] if optimizer is None else [_State(optimizer)]
            # Each is in the list as soon as its gradient is taken away.
            kept.extend(map(_Kept.of, {id(each): each for each in tensors}.values()))
            yield
        finally:
            _all(
                [
                    *(partial(_restore, module, held) for module, held in modules),
                    *(each.restore for each in kept),
                    *(each.restore for each in states),
                ]
            )


def _all(restorations: list[Callable[[], None]]) -> None:
    """What cannot be given back is no reason to keep the rest; then it is said."""
    troubles = []
    for restore in restorations:
        try:
            restore()
        except Exception as error:
            troubles.append(error)
    if troubles:
        said = str(troubles[0]).partition("\n")[0]
        raise TrainingFailed(
            f"{len(troubles)} of {len(restorations)} parts of the model and its optimizer could not be given back as "
            f"they were: {said}"
        ) from troubles[0]


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
        self.tensor.data = self.data
        if self.tensor.is_leaf:
            self.tensor.grad = self.grad
        _write(self.data, self.values)


def _write(tensor: Tensor, values: Tensor) -> None:
    """An expanded tensor has one number in several places, and is written to in one of them."""
    if tensor.layout is torch.strided:
        for dim, (size, stride) in enumerate(zip(tensor.shape, tensor.stride(), strict=True)):
            if size > 1 and not stride:
                tensor, values = tensor.narrow(dim, 0, 1), values.narrow(dim, 0, 1)
    with torch.inference_mode(tensor.is_inference()):
        tensor.copy_(values)


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
            _write(value.detach(), values)
    return {name: value for name, (value, _) in entries.items()}

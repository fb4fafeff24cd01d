"""The script's own modules and optimizers, with imitated tensors in the place of their real ones.

Whoever holds a parameter holds the imitation afterwards: it is the same Python object. Where torch does not allow that
(somebody has a weak reference to it, or a gradient's accumulator), the module and the optimizers get another object.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.optim import Optimizer


def blank(tensor: Tensor) -> Tensor:
    """As large, of the same type, strides and class of use; inside of a ``FakeTensorMode`` it has no memory."""
    if tensor.layout is torch.strided:
        made = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    else:
        made = torch.empty(tensor.shape, dtype=tensor.dtype)
    needs = tensor.requires_grad and tensor.is_leaf
    return nn.Parameter(made, needs) if isinstance(tensor, nn.Parameter) else made.requires_grad_(needs)


def modules() -> list[nn.Module]:
    """All that this process has."""
    return [each for each in gc.get_objects() if issubclass(type(each), nn.Module)]


def swap(found: Iterable[nn.Module], optimizers: Iterable[Optimizer]) -> None:
    """Exchange parameters, buffers and the state of optimizers."""
    swapped: dict[int, Tensor] = {}
    kept: list[Tensor] = []  # so that no id is given again
    for module in found:
        recurrent: Any = module if isinstance(module, nn.RNNBase) else None
        if recurrent is not None:
            recurrent._flat_weight_refs = []
        holders: tuple[Any, Any] = module._parameters, module._buffers
        for holder in holders:
            for name, tensor in list(holder.items()):
                if tensor is None or isinstance(tensor, (FakeTensor, UninitializedParameter, UninitializedBuffer)):
                    continue
                if id(tensor) not in swapped:
                    kept.append(tensor)
                    swapped[id(tensor)] = _swapped(tensor)
                holder[name] = swapped[id(tensor)]
        if recurrent is not None:
            recurrent._flat_weights = [getattr(recurrent, name) for name in recurrent._flat_weights_names]
            recurrent._flat_weight_refs = [weakref.ref(each) for each in recurrent._flat_weights]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["params"] = [_known(each, swapped, kept) for each in group["params"]]
        state = {
            _known(parameter, swapped, kept): {name: _mapped(value, blank) for name, value in values.items()}
            for parameter, values in optimizer.state.items()
        }
        optimizer.state.clear()
        optimizer.state.update(state)


def _known(parameter: Tensor, swapped: dict[int, Tensor], kept: list[Tensor]) -> Tensor:
    if isinstance(parameter, FakeTensor):
        return parameter
    if id(parameter) not in swapped:
        kept.append(parameter)
        swapped[id(parameter)] = _swapped(parameter)
    return swapped[id(parameter)]


def _swapped(tensor: Tensor) -> Tensor:
    """The same object, where torch allows it, else another."""
    imitated = blank(tensor)
    tensor.grad = None
    for name, value in vars(tensor).items():
        imitated.__dict__.setdefault(name, value)
    try:
        torch.utils.swap_tensors(tensor, imitated)  # type: ignore[no-untyped-call]  # of torch
    except RuntimeError:
        return imitated
    return tensor


def _mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    return change(value) if isinstance(value, Tensor) and not isinstance(value, FakeTensor) else value


def blank_batch(value: Any) -> Any:
    """What a loader gave, with imitations in the place of its tensors."""
    if isinstance(value, Tensor):
        return value if isinstance(value, FakeTensor) else blank(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(blank_batch, value))
    if isinstance(value, (list, tuple)):
        return type(value)(map(blank_batch, value))
    if isinstance(value, dict):
        for name in list(value):
            value[name] = blank_batch(value[name])
    elif hasattr(value, "__dict__") and not isinstance(value, (type, nn.Module)):
        for name, each in list(vars(value).items()):
            if isinstance(each, (Tensor, list, tuple, dict)):
                setattr(value, name, blank_batch(each))
    return value


def tensors(value: Any) -> list[Tensor]:
    """Of what a loader gave."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    elif not isinstance(value, (list, tuple)):
        value = list(vars(value).values()) if hasattr(value, "__dict__") else []
    return [tensor for each in value for tensor in tensors(each)]

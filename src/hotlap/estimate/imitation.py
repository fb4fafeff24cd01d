"""Tensors that have a shape, a type and a device, and no memory: a training can be gone through without its size.

What depends on values cannot be gone through, and says so.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeCopyMode,
    FakeTensor,
    FakeTensorMode,
    UnsupportedFakeTensorException,
    UnsupportedOperatorException,
)
from torch.utils._python_dispatch import _disable_current_modes

from hotlap.errors import HotlapError

_T = TypeVar("_T")


class CannotBeTraced(HotlapError):
    """The training does something whose memory depends on values or is not known to torch, or that CUDA refuses."""


NO_GPU = (
    "the training puts something on a GPU, and PyTorch has none here: make everything on the CPU; the estimate is "
    "for a GPU all the same"
)
#: What torch says where somebody wants what imitated tensors have not, and what to do.
_WITHOUT_MEMORY = {
    "data pointer": (
        "an operator that is not torch's own reads the memory of a tensor, and an estimate has shapes alone: register "
        "it with torch.library.custom_op and register_fake, or leave it out of the step that is estimated"
    ),
    "numpy() is not supported": (
        "a tensor is given to numpy, and an estimate has shapes alone: leave that out of the step that is estimated"
    ),
    "storage of SparseTensor": (
        "a tensor here is sparse, and sparse tensors cannot be imitated: leave them out of the step that is estimated, "
        "or measure the training itself"
    ),
    "with support for cuda": NO_GPU,
}
for _words in ("with CUDA enabled", "found at least two devices", "FakeTensor Device Propagation"):
    _WITHOUT_MEMORY[_words] = _WITHOUT_MEMORY["with support for cuda"]
#: How torch names an operator that it does not imitate yet.
_NOT_YET = re.compile(r"NYI: aten\.(\w+)")


@contextmanager
def imitation() -> Iterator[FakeTensorMode]:
    """All tensors that are made inside have no memory, and nothing is compiled. Raises ``CannotBeTraced``."""
    try:
        with (
            FakeTensorMode(allow_non_fake_inputs=True) as mode,
            copies_with_one_storage(),
            _modules_can_be_moved(),
            _as_it_stands(),
        ):
            yield mode
    except Exception as error:
        words = explained(error)
        if words is None:
            raise
        raise CannotBeTraced(words) from error


def explained(error: BaseException) -> str | None:
    """What it was that cannot be imitated, and what to do; None for an error of another kind."""
    if isinstance(error, DataDependentOutputException):
        return (
            f"{_name(error)} asks for the value of a tensor, and an estimate has shapes alone: leave .item(), "
            "float(tensor), `if tensor` and the like out of the step that is estimated"
        )
    if isinstance(error, DynamicOutputShapeException):
        return (
            f"the shape that {_name(error)} gives depends on values, and an estimate has shapes alone: give the model "
            "a path of fixed shapes (torch.where or a mask in the place of indexing by a condition), or measure on a "
            "small batch instead"
        )
    if isinstance(error, UnsupportedOperatorException):
        return (
            f"torch does not know what shape {_name(error)} gives: register it with "
            f'torch.library.register_fake("{_name(error)}"), or leave it out of the step that is estimated'
        )
    if isinstance(error, UnsupportedFakeTensorException):
        return f"a tensor here cannot be imitated ({error}): sparse and quantized tensors have to be measured"
    if not isinstance(error, (RuntimeError, AssertionError)):
        return None
    known = next((words for part, words in _WITHOUT_MEMORY.items() if part in str(error)), None)
    if known is None and (missing := _NOT_YET.search(str(error))):
        return f"torch cannot imitate {missing[1].strip('_')}: leave it out of the step that is estimated"
    return known


def imitate(mode: FakeTensorMode, value: _T) -> _T:
    """A copy without memory of modules, optimizers, tensors and what holds them; what they share is shared again."""
    # Nobody shall follow what is done to the originals.
    with _disable_current_modes(), FakeCopyMode(mode):
        return copy.deepcopy(value)


def _as_it_stands() -> AbstractContextManager[None]:
    """What was handed to ``torch.compile`` runs uncompiled: compilers do not take imitations."""
    force: Any = getattr(torch.compiler, "set_stance", None)  # from torch 2.6 on
    return nullcontext() if force is None else force("force_eager")


@contextmanager
def copies_with_one_storage() -> Iterator[None]:
    """A copied imitation has a storage that its own views do not share, in torch; a module may copy its layers."""

    def copied(tensor: FakeTensor, memo: dict[int, Any]) -> Tensor:
        if id(tensor) not in memo:
            made: Tensor = tensor.detach().clone()
            is_parameter = isinstance(tensor, nn.Parameter)
            needs = tensor.requires_grad
            memo[id(tensor)] = nn.Parameter(made, needs) if is_parameter else made.requires_grad_(needs)
        known: Tensor = memo[id(tensor)]
        return known

    if "__deepcopy__" in vars(FakeTensor):  # an imitation inside of another
        yield
        return
    FakeTensor.__deepcopy__ = copied  # type: ignore[method-assign, assignment]  # only imitations come to it
    try:
        yield
    finally:
        del FakeTensor.__deepcopy__


@contextmanager
def _modules_can_be_moved() -> Iterator[None]:
    """``Module.to`` would exchange imitated parameters for others in their place, which their trackers do not allow."""
    usual = nn.Module._apply

    def moved(module: nn.Module, function: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        if recurse:
            for child in module.children():
                child._apply(function)  # type: ignore[no-untyped-call]  # of torch
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            made = function(parameter.data)
            if made.device == parameter.device:  # in place, so that tied parameters stay tied
                parameter.data = made
            else:
                module._parameters[name] = nn.Parameter(made, parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = function(buffer)
        return module

    nn.Module._apply = moved  # type: ignore[method-assign]
    try:
        yield
    finally:
        nn.Module._apply = usual  # type: ignore[method-assign]


def _name(error: Any) -> str:
    """As ``torch.library`` takes it: ``aten::nonzero``."""
    name: str = error.func._schema.name
    return name

"""The tracker of a script: it tells what is imitated from what is real, and answers questions for values.

                 an argument is imitated, or it is made on the card     all arguments are real
on a card        without memory, followed                               the host's, as always
on a processor   without memory, followed                               as always, followed once the training has begun
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.optim import Optimizer

from hotlap.estimate import onednn
from hotlap.estimate.script.telling import Telling
from hotlap.estimate.tracker import Tracker, own_question, tensors_in
from hotlap.probe.counting import Count

_aten = torch.ops.aten
_SCALAR = _aten._local_scalar_dense.default


class Follower(Tracker):  # type: ignore[no-untyped-call]  # of torch
    def __init__(self, telling: Telling, *, on_card: bool) -> None:
        self.count = Count(torch)
        super().__init__(as_on_cuda=on_card, hidden=None if on_card else onednn.hidden, count=self.count)
        self.telling, self.on_card = telling, on_card
        self.cycles: Any = None
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)
        #: What is made now is the device's.
        self._making = False
        #: What is real counts, too.
        self.begun = False
        self._fetching = False
        #: Within an operator, where torch itself looks at what is imitated.
        self.within = False

    # what is imitated

    def made(self, tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """As large a tensor on the device, from nothing."""
        with self.making():
            return torch.empty_like(tensor, dtype=dtype, requires_grad=False)

    @contextmanager
    def making(self) -> Iterator[None]:
        before, self._making = self._making, True
        try:
            yield
        finally:
            self._making = before

    def become(self, tensor: Tensor, made: Tensor) -> None:
        """The same object with other contents: optimizers and tied layers hold it."""
        if isinstance(tensor, FakeTensor) == isinstance(made, FakeTensor):
            tensor.data = made
            return
        needs = tensor.requires_grad
        other: Any = nn.Parameter(made, needs) if isinstance(tensor, nn.Parameter) else made.requires_grad_(needs)
        own = dict(tensor.__dict__)
        tensor.__class__, other.__class__ = other.__class__, tensor.__class__
        tensor.__dict__, other.__dict__ = {**own, **other.__dict__}, own
        torch._C._swap_tensor_impl(tensor, other)  # as torch.utils.swap_tensors

    def imitate_all(self) -> None:
        """On a processor: networks and optimizers as they are now."""
        self.begun = True
        with torch.no_grad():
            for each in gc.get_objects():
                if issubclass(type(each), nn.Module):
                    for tensor in [*each._parameters.values(), *each._buffers.values()]:
                        self._lose(tensor)
                elif issubclass(type(each), Optimizer):
                    for group in each.param_groups:
                        for tensor in group["params"]:
                            self._lose(tensor)
                            for value in each.state.get(tensor, {}).values():
                                if isinstance(value, Tensor) and value.dim():
                                    self._lose(value)

    def _lose(self, tensor: Tensor | None) -> None:
        if tensor is not None and not isinstance(tensor, FakeTensor):
            if tensor.grad is not None:
                tensor.grad = None
            self.become(tensor, self.made(tensor))

    # what is followed

    @contextmanager
    def fetching(self) -> Iterator[None]:
        """What the loader makes on the way to a batch is the host's."""
        before, self._fetching = self._fetching, True
        try:
            yield
        finally:
            self._fetching = before

    def received(self, batch: Any) -> None:
        """On a processor a batch is born where the loader hands it over."""
        if not self.begun:
            return
        for tensor in tensors_in(batch):
            storage = tensor.untyped_storage()
            if storage.nbytes() and self._living.get(storage._cdata) is None:
                index = self._born(storage.nbytes(), "", self._phase(), "input")
                self._events.append(index)
                self._remember(storage, index)

    def next_step(self) -> None:
        if not self._step:
            self._tell_what_is_there()
        super().next_step()

    def _tell_what_is_there(self) -> None:
        """Networks, those that are not called too (an average, a teacher), and all else that is no activation."""
        for _, index, _ in self._living.values():
            if self._blocks[index].category == "temporary":
                self._blocks[index].category = "kept"
        self._passing.clear()
        for each in gc.get_objects():
            if issubclass(type(each), nn.Module):
                self._claim(each._parameters.values(), "parameter")
                self._claim(each._buffers.values(), "buffer")

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        imitated = self._making or any(isinstance(each, FakeTensor) for each in tensors_in((args, kwargs)))
        if not imitated:
            if self.on_card or self._fetching or not self.begun:
                return func(*args, **kwargs)
            return super().__torch_dispatch__(func, types, args, kwargs)
        if func is _SCALAR:
            return self._answer(args[0])
        if args and _is_written(func) and isinstance(args[0], Tensor) and not isinstance(args[0], FakeTensor):
            return args[0]  # of the host; what it holds from now on nobody knows
        before, self.within = self.within, True
        try:
            with self.mode:
                return super().__torch_dispatch__(func, types, args, kwargs)
        except Exception as error:
            self.telling.explain(error)
            raise
        finally:
            self.within = before

    def _answer(self, tensor: Any) -> Any:
        own = own_question()
        if own is not None:
            return own
        value = known(tensor)
        if value is not None:
            return value.item()
        self.telling.answered()
        said = getattr(tensor, SAID, None)
        if said is not None:
            return said
        return plausible(tensor.dtype)

    def _index(self, tensor: Tensor, *, earlier: bool = False) -> int | None:
        is_real = not isinstance(tensor, FakeTensor)
        if is_real and (self.on_card or self._making or not self.begun or self._fetching):
            return None
        return super()._index(tensor, earlier=earlier)

    def _enter_module(self, module: nn.Module, args: Any) -> None:
        if not self._inside and torch.is_grad_enabled() and torch._C._current_graph_task_id() == -1:
            self.cycles.forward(args)
        if self.on_card or self.begun:
            super()._enter_module(module, args)

    def held(self) -> int:
        """Bytes that live now."""
        return sum(self._blocks[index].size for _, index, _ in self._living.values())


#: Attributes of imitated tensors: the numbers that they have, where the host knew them; and what a test of them gives.
VALUE, SAID = "_hotlap_value", "_hotlap_said"


def known(tensor: Any) -> Tensor | None:
    """The numbers of an imitated tensor, or of a real one."""
    if not isinstance(tensor, FakeTensor):
        found: Tensor | None = tensor
    else:
        found = getattr(tensor, VALUE, None)
    return found


def plausible(dtype: torch.dtype) -> float | int | bool:
    """A loss of 1, a count of 0, and no to a condition."""
    if dtype is torch.bool:
        return False
    return 1.0 if dtype.is_floating_point else 0


def _is_written(func: Any) -> bool:
    name = func._schema.name
    return bool(name.endswith("_") and not name.endswith("__"))

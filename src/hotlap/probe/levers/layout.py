"""channels_last for what convolves in two dimensions."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

from hotlap.probe.levers.prepared import ModelLever


class ChannelsLast(ModelLever):
    name = "channels_last"
    never = "no model with two-dimensional convolutions was trained"

    def __init__(self, torch: Any, value: Any) -> None:
        super().__init__(torch, value)
        #: Optimizers whose state has the layout of their parameters, by the state's identity.
        self.laid_out: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def prepare(self, module: Any) -> None:
        self.laid_out.clear()
        for weight in self._kernels(module):
            self._lay_out(weight, self.torch.channels_last)
            self.pulled()

    def undo(self, module: Any) -> None:
        self.laid_out.clear()
        for weight in self._kernels(module):
            self._lay_out(weight, self.torch.contiguous_format)

    def before_forward(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool) -> Any:
        super().before_forward(module, args, kwargs, training)
        if self.value is not None and module in self.prepared:
            args = tuple(self._input(arg) for arg in args)
            kwargs.update({name: self._input(value) for name, value in kwargs.items()})
        return args

    def before_optimizer(self, optimizer: Any) -> None:
        """A state that was loaded has the layout that it was saved with, and multi-tensor steps want one layout."""
        # Loading one gives the optimizer another dictionary.
        if self.laid_out.get(optimizer) == id(optimizer.state):
            return
        self.laid_out[optimizer] = id(optimizer.state)
        tensor = self.torch.Tensor
        for parameter, state in optimizer.state.items():
            if not isinstance(parameter, tensor) or parameter.dim() != 4:
                continue
            for name, value in state.items():
                # A subclass has its own idea of what it holds, e.g. 8 bits.
                if type(value) is tensor and value.shape == parameter.shape and value.stride() != parameter.stride():
                    state[name] = self.torch.empty_like(parameter, dtype=value.dtype).copy_(value)

    def _kernels(self, module: Any) -> Iterable[Any]:
        """Weights of two-dimensional convolutions: other parameters of four dimensions mean something else by them."""
        lazy = self.torch.nn.parameter.is_lazy
        for child in self.torch.nn.Module.modules(module):
            if not isinstance(child, self.torch.nn.modules.conv._ConvNd):
                continue
            # Not the attribute, which a parametrization computes; nor a view of memory that belongs to others.
            weight = child._parameters.get("weight")
            plain = type(weight) is self.torch.nn.Parameter and not lazy(weight) and weight._base is None
            if plain and weight.dim() == 4:
                yield weight

    def _lay_out(self, weight: Any, memory_format: Any) -> None:
        weight.data = weight.data.contiguous(memory_format=memory_format)
        if weight.grad is not None:
            weight.grad.data = weight.grad.data.contiguous(memory_format=memory_format)

    def _input(self, value: Any) -> Any:
        if isinstance(value, self.torch.Tensor) and value.dim() == 4 and value.is_floating_point():
            return value.contiguous(memory_format=self.torch.channels_last)
        return value

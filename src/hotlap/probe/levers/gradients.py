"""Gradients given up instead of filled with zeros, where the script says ``zero_grad(set_to_none=False)``.

A parameter that no backward reaches in a step would have had a gradient of zeros, and an optimizer may move it by its
momentum all the same: it gets that gradient before the step, so that the training stays what it was.
"""

from __future__ import annotations

import weakref
from typing import Any

from hotlap.probe.levers.base import Lever


class NoZeros(Lever):
    name = "set_to_none"
    never = "the script fills no gradients with zeros"
    live = True

    def __init__(self, torch: Any, value: Any) -> None:
        super().__init__(torch, value)
        #: Parameters whose gradients were given up, by id: two of them compared are a tensor.
        self.given_up: dict[int, weakref.ref[Any]] = {}

    def zeroing(self, parameters: list[Any]) -> bool:
        """``zero_grad`` is about to fill the gradients of these with zeros. Return whether to give them up instead."""
        if self.value is not True:
            return False
        for parameter in parameters:
            if parameter.grad is not None:
                self.given_up[id(parameter)] = weakref.ref(parameter)
        self.pulled()
        return True

    def switch(self, value: Any) -> None:
        self._fill([known() for known in self.given_up.values()])
        self.given_up.clear()
        super().switch(value)

    def before_optimizer(self, optimizer: Any) -> None:
        if self.given_up:
            mine = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            self._fill([self.given_up[id(parameter)]() for parameter in mine if id(parameter) in self.given_up])

    def _fill(self, parameters: list[Any]) -> None:
        for parameter in parameters:
            if parameter is not None and parameter.grad is None:
                parameter.grad = self.torch.zeros_like(parameter)

"""Wraps ``zero_grad`` of optimizers and modules: whether gradients are filled with zeros, and a lever against it."""

from __future__ import annotations

import functools
from typing import Any

from hotlap.probe import levers
from hotlap.probe.recorder import Recorder


def wrap_zeroing(torch: Any, recorder: Recorder) -> None:
    compiling = torch.compiler.is_dynamo_compiling

    def wrap(owner: Any) -> None:
        original = owner.zero_grad

        @functools.wraps(original)
        def zero_grad(self: Any, set_to_none: bool = True) -> Any:
            if not set_to_none and not compiling():
                recorder.facts.values["zeroed_gradients"] = True
                if levers.engaged:
                    set_to_none = levers.without_zeros(self)
            return original(self, set_to_none)

        owner.zero_grad = zero_grad

    wrap(torch.optim.Optimizer)
    wrap(torch.nn.Module)

"""Wraps the call of modules: the outermost is forward, validation, a loss or recomputation; inner ones are left alone.

for x, y in loader:
    loss = criterion(model(x), y)       outermost: model, then criterion
                 └── layers ...         inner: followed only in a step that is watched (``stages``)
"""

from __future__ import annotations

import functools
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

from hotlap.probe import levers
from hotlap.probe.facts import batch_dimension
from hotlap.probe.recorder import Recorder
from hotlap.probe.stages import Stages
from hotlap.probe.timeline import FORWARD, FROZEN, GAP, LOSS, RECOMPUTE, SCALAR

ident = threading.get_ident

#: Bytes that replace what the processor's caches next to a core hold.
_CACHES = 4 << 20


def wrap_modules(torch: Any, recorder: Recorder, stages: Stages) -> None:
    call = torch.nn.Module.__call__
    compiling = torch.compiler.is_dynamo_compiling
    tracing = getattr(torch._C, "_is_tracing", torch.jit.is_tracing)
    gradients, tensor, clock = torch.is_grad_enabled, torch.Tensor, recorder.clock
    loss_module = torch.nn.modules.loss._Loss
    # What torch does between the call and the module's forward; done here, an inner call costs no frame more.
    known = call.__code__.co_names == ("_compiled_call_impl", "_call_impl")

    @functools.wraps(call)
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        if compiling():
            return call(self, *args, **kwargs)
        if recorder.depth:
            if recorder.plain and known and self._compiled_call_impl is None:
                return self._call_impl(*args, **kwargs)
            if recorder.looking:
                recorder.facts.inner_call()
            return followed(self, args, kwargs)
        timeline = recorder.timeline
        stack = timeline.stack
        # What is unusual, and what does not train. What backward calls is found by the stack.
        if stack or not recorder.plain or ident() != recorder.thread or not self.training or tracing():
            return outermost(self, args, kwargs)
        if isinstance(self, loss_module):
            kind = LOSS
        elif not gradients():
            return outermost(self, args, kwargs)
        else:
            kind = FORWARD
            if recorder.forward_since and id(self) in recorder.frozen and recorder.facts.switches.is_frozen(self):
                kind = FROZEN
            if recorder.stepped:
                recorder.close_at_new_input()
            recorder.forward_since = True
            if recorder.sizing:
                recorder.called_with((args, kwargs))
            if recorder.size is None and not recorder.fed:
                recorder.size = batch_dimension(torch, (args, kwargs))
        stack.append(kind)
        timeline.times.append(clock())
        timeline.kinds.append(kind)
        recorder.depth = 1
        try:
            # A step that begins here may be one that is watched.
            output = call(self, *args, **kwargs) if recorder.plain else followed(self, args, kwargs)
        finally:
            recorder.depth = 0
            if stack:
                stack.pop()
                timeline.times.append(clock())
                timeline.kinds.append(GAP)
        if kind is FORWARD and type(output) is tensor and not output.dim():
            timeline.rename_last(FORWARD, SCALAR)
        return output

    def outermost(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """An outermost call where something is unusual: see the condition above."""
        if not levers.engaged and isinstance(module, loss_module) and recorder.push(LOSS):
            return loss(module, args, kwargs)
        kind = None if tracing() else recorder.forward_begins(module, args, kwargs)
        if kind is None:
            return call(module, *args, **kwargs)
        if levers.engaged:
            args = levers.before_forward(module, args, kwargs, gradients() and kind != RECOMPUTE)
        counts = kind and recorder.outermost_begins(kind)
        depth, recorder.depth = recorder.depth, 1
        try:
            output = followed(module, args, kwargs)
        finally:
            recorder.depth = depth
            if counts:
                recorder.outermost_ends(kind)
            if levers.engaged:
                levers.after_forward()
        if counts and kind == FORWARD:
            recorder.forward_ends(output)
        return output

    def loss(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One of torch's own, which trains nothing and is called after what does."""
        recorder.depth = 1
        if recorder.looking:
            recorder.facts.switches.is_loss(module)
        try:
            return followed(module, args, kwargs)
        finally:
            recorder.depth = 0
            recorder.pop()

    def followed(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if stages.deepest:
            return stages.follow(call, module, args, kwargs)
        return call(module, *args, **kwargs)

    def inner_call_seconds() -> float:
        """What ``__call__`` adds to a call inside another one."""
        module = torch.nn.Identity()
        depth, looking = recorder.depth, recorder.looking
        recorder.depth, recorder.looking = 1, False
        try:
            with_probe, without = (seconds(functools.partial(each, module, None)) for each in (__call__, call))
        finally:
            recorder.depth, recorder.looking = depth, looking
        return max(0.0, with_probe - without)

    torch.nn.Module.__call__ = __call__
    recorder.time_inner_call = inner_call_seconds


def seconds(function: Callable[[], Any], times: int = 12) -> float:
    """What a call costs when other work has taken the processor's caches, as the arithmetic of a step does."""
    other_work = bytearray(_CACHES)
    spent = []
    for _ in range(times):
        bytes(other_work)
        start = time.perf_counter()
        function()
        spent.append(time.perf_counter() - start)
    return statistics.median(spent)

"""Wraps ``torch.autograd.backward``, through which ``Tensor.backward`` goes, and ``torch.autograd.grad``."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from hotlap.probe import levers
from hotlap.probe.recorder import Recorder
from hotlap.probe.timeline import BACKWARD, GAP, GRAD

ident = threading.get_ident


def wrap_backward(torch: Any, recorder: Recorder) -> None:
    compiling, clock = torch.compiler.is_dynamo_compiling, recorder.clock
    original = torch.autograd.backward

    @functools.wraps(original)
    def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        if compiling():
            return original(tensors, *args, **kwargs)
        timeline = recorder.timeline
        stack = timeline.stack
        # What is unusual, and what begins a step itself.
        if stack or not (recorder.plain and recorder.forward_since) or recorder.depth or ident() != recorder.thread:
            return carefully(original, BACKWARD, tensors, args, kwargs)
        stack.append(BACKWARD)
        timeline.times.append(clock())
        timeline.kinds.append(BACKWARD)
        recorder.backward_of(tensors)
        recorder.in_backward = True
        try:
            return original(tensors, *args, **kwargs)
        finally:
            recorder.in_backward = False
            if len(stack) == 1:
                stack.clear()
                timeline.times.append(clock())
                timeline.kinds.append(GAP)
            else:
                timeline.unwind(0, clock())

    def carefully(original: Callable[..., Any], kind: str, tensors: Any, args: Any, kwargs: Any) -> Any:
        if levers.engaged:
            levers.before_backward()
        timeline = recorder.here()
        if timeline is None or recorder.in_backward or timeline.opaque():
            return original(tensors, *args, **kwargs)
        depth = recorder.depth
        if kind is BACKWARD and not depth and not (recorder.forward_since and recorder.begun):
            recorder.backward_begins()
        open_spans = len(timeline.stack)
        timeline.push(clock(), kind)
        if kind is BACKWARD:
            recorder.backward_of(tensors)
        elif not depth:
            recorder.loss(tensors, recorder.inner_losses)
        # A module that is called now, outside checkpoint() too, is recomputed.
        recorder.in_backward, recorder.depth = True, 0
        try:
            return original(tensors, *args, **kwargs)
        finally:
            recorder.in_backward, recorder.depth = False, depth
            timeline.unwind(open_spans, clock())

    # Tensor.backward goes through it, too.
    torch.autograd.backward = backward
    gradient = torch.autograd.grad

    @functools.wraps(gradient)
    def grad(outputs: Any, *args: Any, **kwargs: Any) -> Any:
        if compiling():
            return gradient(outputs, *args, **kwargs)
        return carefully(gradient, GRAD, outputs, args, kwargs)

    torch.autograd.grad = grad

"""Wraps the few places in torch that every training goes through.

    DataLoader.__iter__, next(iterator)      data             Module.__call__ (outermost)   forward | evaluation
    Tensor.backward, autograd.backward       backward         checkpoint()'s function       recompute (inside backward)
    autograd.grad                            grad             clip_grad_norm_, _value_      gradient_clip
    Optimizer.step, GradScaler.step          optimizer        zero_grad, rest of the scaler tidy
    torch.save                               checkpoint       print, logging, json.dump     logging
    Tensor.to, Tensor.cuda from the CPU      host_to_device

What is wrapped is replaced where the script will look it up, so it may import it by name once torch is there.
Inside compiled code the wrappers step aside: nothing of them is traced, and no guard depends on them.
"""

from __future__ import annotations

import atexit
import builtins
import functools
import importlib
import json
import logging
import os
import time
from collections.abc import Callable
from typing import Any

from hotlap.probe import Settings, levers
from hotlap.probe.recorder import Recorder
from hotlap.probe.timeline import BACKWARD, FORWARD, GRAD, LOSS, RECOMPUTE, TIDY

_CHECKPOINT_OPTIONS = (
    "use_reentrant",
    "preserve_rng_state",
    "context_fn",
    "determinism_check",
    "debug",
    "early_stop",
)


def install(torch: Any, settings: Settings, started: float) -> Recorder | None:
    """Wrap torch. Return the recorder; None where nothing is recorded and no lever needs a wrapper."""
    levers.install(torch, settings.levers, settings.seed_offset)
    if settings.silent and not settings.levers:
        return None
    recorder = Recorder(torch, settings, started)
    wrap_modules(torch, recorder)
    wrap_backward(torch, recorder)
    wrap_checkpointing(torch, recorder)
    wrap_optimizers(torch, recorder)
    if not settings.silent:
        wrap_loaders(torch, recorder)
        wrap_incidentals(torch, recorder)
        recorder.fetches.watch(torch)
        os.register_at_fork(after_in_child=recorder.forked)
        at_exit(recorder.finish)
    else:
        at_exit(levers.say_notes)
    return recorder


def at_exit(action: Callable[[], None]) -> None:
    from multiprocessing import parent_process, util

    if parent_process() is None:
        atexit.register(action)
    else:
        # A child of multiprocessing leaves without running what atexit has.
        util.Finalize(None, action, exitpriority=0)


def wrap_modules(torch: Any, recorder: Recorder) -> None:
    call = torch.nn.Module.__call__
    compiling = torch.compiler.is_dynamo_compiling
    tracing = torch.jit.is_tracing
    loss_module = torch.nn.modules.loss._Loss
    # What torch does between the call and the module's forward; done here, an inner call costs no frame more.
    known = call.__code__.co_names == ("_compiled_call_impl", "_call_impl")

    @functools.wraps(call)
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        if compiling():
            return call(self, *args, **kwargs)
        if recorder.depth:
            if recorder.looking:
                recorder.facts.inner_call()
            if known and self._compiled_call_impl is None:
                return self._call_impl(*args, **kwargs)
            return call(self, *args, **kwargs)
        return outermost(self, args, kwargs)

    def outermost(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not levers.wanted and isinstance(module, loss_module) and recorder.push(LOSS):
            return loss(module, args, kwargs)
        kind = None if tracing() else recorder.forward_begins(module, args, kwargs)
        if kind is None:
            return call(module, *args, **kwargs)
        if levers.wanted:
            args = levers.before_forward(module, args, kwargs, torch.is_grad_enabled() and kind != RECOMPUTE)
        counts = kind and recorder.outermost_begins(kind)
        depth, recorder.depth = recorder.depth, 1
        try:
            output = call(module, *args, **kwargs)
        finally:
            recorder.depth = depth
            if counts:
                recorder.outermost_ends(kind)
            if levers.wanted:
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
            return call(module, *args, **kwargs)
        finally:
            recorder.depth = 0
            recorder.pop()

    def inner_call_seconds() -> float:
        """What ``__call__`` adds to a call inside another one."""
        module = torch.nn.Identity()
        depth, looking = recorder.depth, recorder.looking
        recorder.depth, recorder.looking = 1, False
        try:
            with_probe, without = (min(_seconds(f, module) for _ in range(5)) for f in (__call__, call))
        finally:
            recorder.depth, recorder.looking = depth, looking
        return max(0.0, with_probe - without)

    torch.nn.Module.__call__ = __call__
    recorder.time_inner_call = inner_call_seconds


def _seconds(function: Callable[..., Any], argument: Any, times: int = 40) -> float:
    start = time.perf_counter()
    for _ in range(times):
        function(argument, None)
    return (time.perf_counter() - start) / times


def wrap_loaders(torch: Any, recorder: Recorder) -> None:
    data = torch.utils.data
    iterator = data.dataloader._BaseDataLoaderIter
    following = iterator.__next__
    begin = data.DataLoader.__iter__

    def __next__(self: Any) -> Any:  # noqa: N807
        loader = getattr(self, "_hotlap_loader", None)
        if loader is None:
            return following(self)
        counts = recorder.data_begins(loader)
        try:
            batch = following(self)
        except BaseException:
            if counts:
                recorder.pop()
            raise
        recorder.batch_received(loader, batch, counts)
        return batch

    def __iter__(self: Any) -> Any:  # noqa: N807
        # An id would be given again to another loader once this one is gone.
        loader = self.__dict__.get("_hotlap_loader")
        if loader is None:
            loader = self.__dict__["_hotlap_loader"] = recorder.new_loader()
        counts = recorder.data_begins(loader)
        try:
            iterator = begin(self)
        finally:
            if counts:
                recorder.pop()
        iterator._hotlap_loader = loader
        recorder.facts.loader_begins(loader, self)
        return iterator

    iterator.__next__ = __next__
    data.DataLoader.__iter__ = __iter__


def wrap_backward(torch: Any, recorder: Recorder) -> None:
    compiling = torch.compiler.is_dynamo_compiling

    def wrap(original: Callable[..., Any], kind: str) -> Callable[..., Any]:
        @functools.wraps(original)
        def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            if compiling():
                return original(tensors, *args, **kwargs)
            if levers.wanted:
                levers.before_backward()
            if not recorder.backward_begins(tensors, kind):
                return original(tensors, *args, **kwargs)
            # A module that is called now, outside checkpoint() too, is recomputed.
            depth, recorder.depth = recorder.depth, 0
            try:
                return original(tensors, *args, **kwargs)
            finally:
                recorder.depth = depth
                recorder.backward_ends()

        return backward

    torch.Tensor.backward = wrap(torch.Tensor.backward, BACKWARD)
    torch.autograd.backward = wrap(torch.autograd.backward, BACKWARD)
    torch.autograd.grad = wrap(torch.autograd.grad, GRAD)


def wrap_checkpointing(torch: Any, recorder: Recorder) -> None:
    module = torch.utils.checkpoint
    compiling = torch.compiler.is_dynamo_compiling
    original = module.checkpoint

    @functools.wraps(original)
    def checkpoint(function: Any, *args: Any, **kwargs: Any) -> Any:
        if compiling():
            return original(function, *args, **kwargs)
        recorder.facts.checkpointing = True
        if levers.checkpointing_off():
            return function(*args, **{name: kwargs[name] for name in kwargs if name not in _CHECKPOINT_OPTIONS})

        def timed(*args: Any, **kwargs: Any) -> Any:
            if not recorder.recompute_begins():
                return function(*args, **kwargs)
            depth, recorder.depth = recorder.depth, 1
            try:
                return function(*args, **kwargs)
            finally:
                recorder.depth = depth
                recorder.outermost_ends(RECOMPUTE)

        return original(timed, *args, **kwargs)

    module.checkpoint = checkpoint


def wrap_optimizers(torch: Any, recorder: Recorder) -> None:
    compiling = torch.compiler.is_dynamo_compiling

    def before(optimizer: Any, args: Any, kwargs: Any) -> None:
        if not compiling():
            levers.before_optimizer(optimizer)
            recorder.optimizer_begins(optimizer)

    def after(optimizer: Any, args: Any, kwargs: Any) -> None:
        if not compiling():
            recorder.optimizer_ends(optimizer)

    every_optimizer = importlib.import_module("torch.optim.optimizer")
    every_optimizer.register_optimizer_step_pre_hook(before)
    every_optimizer.register_optimizer_step_post_hook(after)
    scaler = torch.amp.GradScaler
    scale, step = scaler.scale, scaler.step

    @functools.wraps(scale)
    def scaled(self: Any, outputs: Any) -> Any:
        if self.is_enabled():
            recorder.scaled_loss(outputs)
        return scale(self, outputs)

    @functools.wraps(step)
    def scaler_step(self: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        if not self.is_enabled():
            return step(self, optimizer, *args, **kwargs)
        # It leaves the optimizer's step out when gradients overflow; the training's step ends all the same.
        recorder.optimizer_begins(optimizer, self)
        try:
            return step(self, optimizer, *args, **kwargs)
        finally:
            recorder.optimizer_ends(optimizer)

    scaler.scale, scaler.step = scaled, scaler_step


def wrap_incidentals(torch: Any, recorder: Recorder) -> None:
    spanned = functools.partial(_spanned, torch.compiler.is_dynamo_compiling, recorder)
    scaler, utils = torch.amp.GradScaler, torch.nn.utils
    spanned(TIDY, "zero_grad", torch.optim.Optimizer)
    spanned(TIDY, "zero_grad", torch.nn.Module)
    spanned(TIDY, "update", scaler)
    spanned(TIDY, "unscale_", scaler)
    spanned("gradient_clip", "clip_grad_norm_", utils, utils.clip_grad)
    spanned("gradient_clip", "clip_grad_value_", utils, utils.clip_grad)
    spanned("checkpoint", "save", torch, torch.serialization)
    spanned("logging", "print", builtins)
    spanned("logging", "dump", json)
    spanned("logging", "callHandlers", logging.Logger)
    if torch.backends.cuda.is_built():
        from_cpu = functools.partial(spanned, "host_to_device", when=lambda tensor: not tensor.is_cuda)
        from_cpu("to", torch.Tensor)
        from_cpu("cuda", torch.Tensor)


def _spanned(
    compiling: Callable[[], bool],
    recorder: Recorder,
    kind: str,
    name: str,
    *places: Any,
    when: Callable[[Any], bool] | None = None,
) -> None:
    """Record calls of ``name`` outside models as spans, wherever a script may find it."""
    original = getattr(places[0], name)

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if compiling() or recorder.depth or (when is not None and not when(args[0])) or not recorder.push(kind):
            return original(*args, **kwargs)
        try:
            return original(*args, **kwargs)
        finally:
            recorder.pop()

    for place in places:
        setattr(place, name, wrapper)

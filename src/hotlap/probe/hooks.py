"""Wraps the few places in torch that every training goes through.

    DataLoader.__iter__, next(iterator)      data             Module.__call__ (outermost)   forward | evaluation
    autograd.backward (of Tensor.backward)   backward         checkpoint()'s function       recompute (inside backward)
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
import threading
from collections.abc import Callable
from typing import Any

from hotlap.probe import Settings, ablations, distributed, levers, printed, tracing
from hotlap.probe.backward import wrap_backward
from hotlap.probe.compiling import watch_compiling
from hotlap.probe.device import DeviceLook
from hotlap.probe.facts import batch_dimension
from hotlap.probe.held import watch_held
from hotlap.probe.loader_starts import watch_loader_starts
from hotlap.probe.looking import Look
from hotlap.probe.memory import MemoryLook
from hotlap.probe.modules import seconds, wrap_modules
from hotlap.probe.recorder import Recorder
from hotlap.probe.sites import watch_sites
from hotlap.probe.stack_samples import StackSamples
from hotlap.probe.stages import Stages
from hotlap.probe.syncs import Syncs
from hotlap.probe.timeline import (
    BATCH,
    DATA,
    GAP,
    OPAQUE,
    OPTIMIZER,
    RECOMPUTE,
    TIDY,
    Timeline,
)
from hotlap.probe.zeroing import wrap_zeroing

ident = threading.get_ident

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
    levers.install(torch, settings.levers, settings.seed_offset, measured=settings.gated)
    ablations.install(torch, settings.without)
    if settings.silent and not settings.levers:
        return None
    recorder = Recorder(torch, settings, started)
    stages = Stages(torch)
    stages.boundary = lambda: recorder.looks.boundary
    wrap_modules(torch, recorder, stages)
    wrap_backward(torch, recorder)
    wrap_checkpointing(torch, recorder)
    wrap_optimizers(torch, recorder)
    wrap_zeroing(torch, recorder)
    if not settings.silent:
        watch_loader_starts(torch, recorder)
        watch_sites(torch, recorder.sites)
        wrap_loaders(torch, recorder)
        if settings.memory:
            watch_held(torch, recorder)
        watch_compiling(recorder)
        wrap_incidentals(torch, recorder)
        recorder.make_looks = lambda: looks(torch, settings, recorder, stages)
        distributed.install(torch, recorder)
        others = recorder.make_looks
        # Last, because it watches the more steps the more are over.
        recorder.make_looks = lambda: [*others(), *[StackSamples(torch, recorder)] * 2]
        recorder.fetches.watch(torch)
        if settings.metric is not None:
            printed.watch(settings.metric, recorder.printed)
        recorder.arrivals.watch(torch)
        os.register_at_fork(after_in_child=recorder.forked)
        at_exit(recorder.finish)
    else:
        at_exit(levers.say_notes)
    return recorder


def looks(torch: Any, settings: Settings, recorder: Recorder, stages: Stages) -> list[Look]:
    """In the order of their turns. What one step says of stages or reads may be a single stall, or the one in ten."""
    reads = Syncs(torch)

    def doing() -> str:
        stack = recorder.timeline.stack
        return stack[-1] if stack else ""

    traced = tracing.looks(torch, settings.run_dir, recorder.facts.rank(), doing) if settings.trace else []
    # A step as it runs, and one for which the device is held.
    device = [DeviceLook(torch, recorder)] if torch.cuda.is_initialized() else []
    return [*traced, stages, *device, reads, MemoryLook(torch, recorder), stages, *device, reads, stages]


def at_exit(action: Callable[[], None]) -> None:
    from multiprocessing import parent_process, util

    if parent_process() is None:
        atexit.register(action)
    else:
        # A child of multiprocessing leaves without running what atexit has.
        util.Finalize(None, action, exitpriority=0)


def wrap_loaders(torch: Any, recorder: Recorder) -> None:
    data = torch.utils.data
    iterator = data.dataloader._BaseDataLoaderIter
    following = iterator.__next__
    begin = data.DataLoader.__iter__
    tensor, clock = torch.Tensor, recorder.clock

    def __next__(self: Any) -> Any:  # noqa: N807
        if ident() != recorder.thread or recorder.timeline.stack:
            return carefully(self)
        try:
            loader = self._hotlap_loader
        except AttributeError:
            return following(self)
        timeline = recorder.timeline
        timeline.stack.append(DATA)
        timeline.times.append(clock())
        timeline.kinds.append(loader)
        try:
            batch = following(self)
        except BaseException:
            recorder.pop()
            raise
        first: Any = batch[0] if type(batch) is list and batch else None
        samples = first.shape[0] if type(first) is tensor and first.dim() else batch_dimension(torch, batch)
        recorder.fed = samples is not None
        timeline.stack.clear()
        timeline.samples.append(samples)
        timeline.times.append(clock())
        timeline.kinds.append(BATCH)
        return batch

    def carefully(iterator: Any) -> Any:
        """In another thread, inside another span, or before it is known which thread trains."""
        loader = getattr(iterator, "_hotlap_loader", None)
        if loader is None:
            return following(iterator)
        counts = recorder.data_begins(loader)
        try:
            batch = following(iterator)
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
        recorder.facts.iteration_begins(loader, self, iterator)
        return iterator

    iterator.__next__ = __next__
    data.DataLoader.__iter__ = __iter__


def wrap_checkpointing(torch: Any, recorder: Recorder) -> None:
    module = torch.utils.checkpoint
    compiling = torch.compiler.is_dynamo_compiling
    original = module.checkpoint

    @functools.wraps(original)
    def checkpoint(function: Any, *args: Any, **kwargs: Any) -> Any:
        if compiling():
            return original(function, *args, **kwargs)
        recorder.facts.checkpointing = True
        if recorder.looking:
            recorder.sites.checkpointed()
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
    compiling, clock = torch.compiler.is_dynamo_compiling, recorder.clock

    def before(optimizer: Any, args: Any, kwargs: Any) -> None:
        if compiling():
            return
        timeline = recorder.timeline
        if recorder.plain and not recorder.stepped and not timeline.stack and ident() == recorder.thread:
            recorder.optimizers.append(id(optimizer))
            timeline.stack.append(OPTIMIZER)
            timeline.times.append(clock())
            timeline.kinds.append(OPTIMIZER)
            return
        if levers.engaged:
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
    compiling = torch.compiler.is_dynamo_compiling
    recorder.time_mark = functools.partial(_mark_seconds, compiling, recorder)
    spanned = functools.partial(_spanned, compiling, recorder)
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
    wrapper = functools.wraps(original)(_span(compiling, recorder, kind, original, when))
    for place in places:
        setattr(place, name, wrapper)


def _span(
    compiling: Callable[[], bool],
    recorder: Recorder,
    kind: str,
    original: Callable[..., Any],
    when: Callable[[Any], bool] | None = None,
) -> Callable[..., Any]:
    clock = recorder.clock

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if compiling() or ident() != recorder.thread or recorder.depth or (when is not None and not when(args[0])):
            return original(*args, **kwargs)
        timeline = recorder.timeline
        stack = timeline.stack
        if stack and stack[-1] in OPAQUE:
            return original(*args, **kwargs)
        stack.append(kind)
        timeline.times.append(clock())
        timeline.kinds.append(kind)
        try:
            return original(*args, **kwargs)
        finally:
            if stack:
                stack.pop()
                timeline.times.append(clock())
                timeline.kinds.append(stack[-1] if stack else GAP)

    return wrapper


def _mark_seconds(compiling: Callable[[], bool], recorder: Recorder) -> float:
    """What one of the two marks of a span costs."""

    def nothing() -> None:
        pass

    real, recorder.timeline = recorder.timeline, Timeline(0)
    try:
        marked = seconds(_span(compiling, recorder, TIDY, nothing))
    finally:
        recorder.timeline = real
    return max(0.0, marked - seconds(nothing)) / 2

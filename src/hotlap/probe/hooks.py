"""Marks the phases of any training by wrapping the few places in torch that every training goes through.

    DataLoader.__iter__, next(iterator)      data             Module.__call__ (outermost)   forward | validation
    Tensor.backward, autograd.backward/grad  backward         checkpoint()'s function       recompute (inside backward)
    Optimizer.step, zero_grad, GradScaler    optimizer        clip_grad_norm_, _value_      gradient_clip
    torch.save                               checkpoint       print, logging, json.dump     logging
    Tensor.to, Tensor.cuda across devices    host_to_device

A forward without gradients counts as validation unless the training has just been handed a batch. A step
ends where the next step's first input is asked for; see ``timeline``.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

from hotlap.probe import Settings, facts, in_worker, levers
from hotlap.probe.gate import Gate
from hotlap.probe.timeline import DATA, PAUSED, Timeline, attribute, total
from hotlap.probe.writer import FLUSH_SECONDS, Writer

#: After so many optimizer steps on one batch, a step is no longer taken to need a new batch.
_STEPS_WITHOUT_DATA = 4


class Probe:
    """Collects one process's steps. Only the thread that trains is followed."""

    def __init__(self, torch: ModuleType, settings: Settings, clock: Callable[[], float] = time.perf_counter) -> None:
        self.torch = torch
        self.settings = settings
        self.clock = clock
        self.timeline = Timeline(clock())
        rank = os.environ.get("RANK", "0")
        name = "steps.jsonl" if rank == "0" else f"steps.rank{rank}.jsonl"
        self.writer = Writer(os.path.join(settings.run_dir, name))
        self.gate = Gate(settings.run_dir) if settings.gated and rank == "0" else None
        self.facts = facts.Facts(torch)
        self.thread = threading.get_ident()
        self.depth = 0
        self.calls = 0
        self.steps = 0
        self.first_step_at = 0.0
        self.begun = False
        self.stepped = False
        self.steps_on_batch = 0
        self.fresh_batch = False
        self.in_micro_batch = False
        self.in_optimizer = 0
        #: Loader and samples of each batch received for the step that runs.
        self.batches: list[tuple[int, int | None]] = []
        #: How many of them came after the last optimizer step.
        self.arrived = 0
        self.forward_samples: int | None = None
        self.backwards = 0
        self.losses: list[Any] = []
        self.scaled = False
        self.own_seconds = 0.0
        self.enabled = True
        self.ended = False

    # spans

    def push(self, kind: str, info: int = 0) -> bool:
        return self.enabled and threading.get_ident() == self.thread and self.timeline.push(self.clock(), kind, info)

    def pop(self) -> None:
        self.timeline.pop(self.clock())

    @contextmanager
    def span(self, kind: str) -> Iterator[None]:
        counts = self.push(kind)
        try:
            yield
        finally:
            if counts:
                self.pop()

    # what happens in a training

    def batch_received(self, loader: int, batch: Any) -> None:
        if self.timeline.roles.get(loader) == "validation":
            return
        self.fresh_batch = True
        if self.timeline.roles.get(loader) == "training":
            self.in_micro_batch = True
        samples = facts.batch_dimension(self.torch, batch)
        self.batches.append((loader, samples))
        self.arrived += 1
        self.facts.batch_size = self.facts.batch_size or samples

    def forward_begins(self, module: Any, args: tuple[Any, ...]) -> str:
        """Return the kind of an outermost module call; closes a step where a new one begins."""
        timeline = self.timeline
        loader = timeline.last_loader()
        if not self.torch.is_grad_enabled():
            if self.in_micro_batch or timeline.inside("optimizer"):
                return "forward"
            if loader is not None and loader not in timeline.roles:
                timeline.roles[loader] = "validation"
                self.fresh_batch = False
                self.arrived = 0
            return "validation"
        if timeline.inside("backward"):
            return "recompute"
        if loader is not None:
            timeline.roles[loader] = "training"
        if not self.begun:
            self.begun = True
            self.thread = threading.get_ident()
            cut = timeline.first_input()
            timeline.cut(cut, self.clock())
            self.first_step_at = timeline.marks[0].t
            self.facts.training_begins(module, args)
        elif (
            self.stepped
            and not self.in_optimizer
            and (self.fresh_batch or not self.batches or self.steps_on_batch >= _STEPS_WITHOUT_DATA)
        ):
            self.close_step()
        self.fresh_batch = False
        self.in_micro_batch = True
        if not self.batches and self.forward_samples is None:
            self.forward_samples = facts.batch_dimension(self.torch, args)
        return "forward"

    def backward_begins(self, tensors: Any) -> None:
        self.backwards += 1
        if not self.scaled and isinstance(tensors, self.torch.Tensor) and tensors.numel() == 1:
            self.losses.append(facts.LossReading(self.torch, tensors))
        self.scaled = False

    def optimizer_stepped(self) -> None:
        self.stepped = True
        self.steps_on_batch += 1
        self.in_micro_batch = False
        self.arrived = 0

    def end_of_step(self) -> None:
        """The script said that a step ends here."""
        if self.begun and threading.get_ident() == self.thread:
            self.close_step()

    # a step ends

    def close_step(self) -> None:
        now = self.clock()
        timeline = self.timeline
        index = timeline.first_input()
        # Batches that arrived for the step that begins now are not this step's.
        arrived = self.arrived if self.fresh_batch else 0
        marks = timeline.cut(index, now)
        phases = attribute(marks, timeline.roles)
        paused = phases.pop(PAUSED, 0.0)
        batches = [batch for batch in self.batches if timeline.roles.get(batch[0]) != "validation"]
        received, self.batches = (batches[:-arrived], batches[-arrived:]) if arrived else (batches, [])
        sizes = [size for _, size in received if size is not None]
        samples = sum(sizes) if sizes else self.forward_samples
        losses = [value for value in (loss.value() for loss in self.losses) if value is not None]
        self.writer.step(
            self.steps,
            marks[0].t,
            total(phases),
            phases,
            len(received) or max(self.backwards, 1),
            samples,
            sum(losses) / len(losses) if losses else None,
            paused,
        )
        if self.steps in (0, 5):
            self.facts.step_done(self.calls)
        self.steps += 1
        self.forward_samples = None
        self.backwards = 0
        self.calls = 0
        self.steps_on_batch = 0
        self.stepped = False
        self.losses.clear()
        if now - self.writer.flushed > FLUSH_SECONDS:
            self.writer.flush(now)
        self.own_seconds += self.clock() - now
        self.maybe_stop(now)
        if self.gate is not None:
            self.pass_gate(self.gate)

    def maybe_stop(self, now: float) -> None:
        settings = self.settings
        enough = settings.stop_steps is not None and self.steps >= settings.stop_steps
        late = settings.stop_seconds is not None and now - self.first_step_at >= settings.stop_seconds
        if enough or late:
            self.leave("stopped")

    def pass_gate(self, gate: Gate) -> None:
        if not gate.closed(self.clock()):
            return
        if self.torch.cuda.is_available() and self.torch.cuda.is_initialized():
            self.torch.cuda.synchronize()
        self.writer.line("facts", **self.facts.collect(self.own_seconds / max(self.steps, 1)))
        self.writer.line("gate", i=self.steps, t=self.clock())
        self.writer.flush(self.clock())
        counts = self.timeline.push(self.clock(), PAUSED)
        word, seconds, steps = gate.wait()
        if counts:
            self.timeline.pop(self.clock())
        if word == "go":
            gate.go(self.clock(), seconds, steps)
        elif word == "run":
            gate.free = True
        else:
            self.leave("stopped")

    def leave(self, outcome: str) -> None:
        """End the process here, without the script's own clean-up (which might write its files)."""
        self.finish(outcome)
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        _leave(0)

    def finish(self, outcome: str = "finished") -> None:
        if self.ended or not self.enabled:
            return
        self.ended = True
        now = self.clock()
        if self.begun and self.stepped and outcome == "finished" and self.steps_on_batch:
            self.close_last_step(now)
        self.writer.line("facts", **self.facts.collect(self.own_seconds / max(self.steps, 1)))
        for note in levers.notes:
            self.writer.line("note", text=note)
        self.writer.line("end", t=now, outcome=outcome, steps=self.steps, backwards=self.backwards)
        self.writer.flush(now)

    def close_last_step(self, now: float) -> None:
        """The last step ends with its optimizer step; what comes after belongs to the process's end."""
        marks = self.timeline.marks
        last = max((i for i, mark in enumerate(marks) if mark.kind == "optimizer"), default=-1)
        if last < 0 or last + 1 >= len(marks):
            return
        self.gate = None
        self.settings.stop_steps = self.settings.stop_seconds = None
        tail = marks[last + 1 :]
        self.timeline.marks = marks[: last + 1]
        self.timeline.marks.append(tail[0])
        self.fresh_batch = False
        end = tail[0].t
        clock, self.clock = self.clock, lambda: end
        try:
            self.close_step()
        finally:
            self.clock = clock

    def metric(self, name: str, value: float) -> None:
        self.writer.line("metric", name=name, value=value, step=self.steps + int(self.stepped))

    def disable(self) -> None:
        """In a forked child: record nothing."""
        self.enabled = False
        self.writer.lines.clear()


_leave = os._exit


def install(torch: ModuleType, settings: Settings, started: float) -> Probe | None:
    """Wrap torch. Return the probe, or None where only the levers are wanted."""
    levers.install(torch, settings.levers, settings.seed_offset)
    if in_worker():
        return None
    probe = Probe(torch, settings)
    if settings.silent:
        probe.enabled = False
    else:
        probe.writer.line(
            "start", t=started, pid=os.getpid(), torch=torch.__version__, rank=os.environ.get("RANK", "0")
        )
        atexit.register(probe.finish)
        os.register_at_fork(after_in_child=probe.disable)
    _wrap_modules(torch, probe)
    _wrap_loader(torch, probe)
    _wrap_backward(torch, probe)
    _wrap_optimizer(torch, probe)
    _wrap_incidentals(torch, probe)
    return probe


def _wrap_modules(torch: ModuleType, probe: Probe) -> None:
    call = torch.nn.Module.__call__
    compiling = torch.compiler.is_compiling
    tracing = torch.jit.is_tracing

    @functools.wraps(call)
    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807
        if compiling():
            return call(self, *args, **kwargs)
        if probe.depth:
            probe.calls += 1
            return call(self, *args, **kwargs)
        if tracing() or (
            threading.get_ident() != probe.thread and probe.begun and not probe.timeline.inside("backward")
        ):
            return call(self, *args, **kwargs)
        kind = probe.forward_begins(self, args) if probe.enabled else "forward"
        args = levers.before_forward(self, args, training=torch.is_grad_enabled() and kind != "recompute")
        counts = probe.push(kind)
        probe.depth += 1
        try:
            return call(self, *args, **kwargs)
        finally:
            probe.depth -= 1
            if counts:
                probe.pop()
            levers.after_forward()

    torch.nn.Module.__call__ = __call__


def _wrap_loader(torch: ModuleType, probe: Probe) -> None:
    data = torch.utils.data
    iterator = data.dataloader._BaseDataLoaderIter
    following = iterator.__next__
    begin = data.DataLoader.__iter__

    def __next__(self: Any) -> Any:  # noqa: N807
        loader = getattr(self, "_hotlap_loader", 0)
        counts = probe.push(DATA, loader)
        try:
            batch = following(self)
        finally:
            if counts:
                probe.pop()
        if counts:
            probe.batch_received(loader, batch)
        return batch

    def __iter__(self: Any) -> Any:  # noqa: N807
        counts = probe.push(DATA, id(self))
        try:
            iterator = begin(self)
            iterator._hotlap_loader = id(self)
            if counts:
                probe.facts.loader_begins(self)
        finally:
            if counts:
                probe.pop()
        return iterator

    iterator.__next__ = __next__
    data.DataLoader.__iter__ = __iter__
    probe.facts.watch_fetching(torch, probe)


def _wrap_backward(torch: ModuleType, probe: Probe) -> None:
    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            levers.before_backward()
            if probe.timeline.inside("backward") or not probe.push("backward"):
                return original(tensors, *args, **kwargs)
            depth, probe.depth = probe.depth, 0
            try:
                probe.backward_begins(tensors)
                return original(tensors, *args, **kwargs)
            finally:
                probe.depth = depth
                probe.pop()

        return backward

    torch.Tensor.backward = wrap(torch.Tensor.backward)
    torch.autograd.backward = wrap(torch.autograd.backward)
    torch.autograd.grad = wrap(torch.autograd.grad)
    checkpointing = importlib.import_module("torch.utils.checkpoint")
    original = checkpointing.checkpoint

    @functools.wraps(original)
    def checkpoint(function: Any, *args: Any, **kwargs: Any) -> Any:
        probe.facts.checkpointing = True
        if levers.checkpointing_off():
            for option in (
                "use_reentrant",
                "preserve_rng_state",
                "context_fn",
                "determinism_check",
                "debug",
                "early_stop",
            ):
                kwargs.pop(option, None)
            return function(*args, **kwargs)

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            counts = probe.timeline.inside("backward") and probe.push("recompute")
            try:
                return function(*args, **kwargs)
            finally:
                if counts:
                    probe.pop()

        return original(timed if not torch.compiler.is_compiling() else function, *args, **kwargs)

    checkpointing.checkpoint = checkpoint


def _wrap_optimizer(torch: ModuleType, probe: Probe) -> None:
    optimizer = torch.optim.Optimizer
    hooks = importlib.import_module("torch.optim.optimizer")
    spans: list[bool] = []

    def before(self: Any, args: Any, kwargs: Any) -> None:
        levers.before_optimizer(self)
        if not probe.facts.optimizer:
            probe.facts.optimizer_begins(self)
        spans.append(probe.push("optimizer"))
        probe.in_optimizer += 1
        # A closure runs forward and backward inside the step: its modules are outermost again.

    def after(self: Any, args: Any, kwargs: Any) -> None:
        probe.in_optimizer -= 1
        if spans and spans.pop():
            probe.pop()
        probe.optimizer_stepped()

    hooks.register_optimizer_step_pre_hook(before)
    hooks.register_optimizer_step_post_hook(after)
    optimizer.zero_grad = _spanned(probe, optimizer.zero_grad, "optimizer")
    scaler = torch.amp.GradScaler
    scale = scaler.scale

    def scaled(self: Any, outputs: Any) -> Any:
        if probe.enabled and self.is_enabled() and isinstance(outputs, torch.Tensor) and outputs.numel() == 1:
            probe.losses.append(facts.LossReading(torch, outputs))
            probe.scaled = True
        return scale(self, outputs)

    scaler.scale = scaled
    for name in ("step", "update", "unscale_"):
        setattr(scaler, name, _spanned(probe, getattr(scaler, name), "optimizer"))
    for name in ("clip_grad_norm_", "clip_grad_value_"):
        wrapped = _spanned(probe, getattr(torch.nn.utils, name), "gradient_clip")
        setattr(torch.nn.utils, name, wrapped)
        setattr(torch.nn.utils.clip_grad, name, wrapped)


def _wrap_incidentals(torch: ModuleType, probe: Probe) -> None:
    import builtins
    import json
    import logging

    torch.save = _spanned(probe, torch.save, "checkpoint")
    builtins.print = _spanned(probe, builtins.print, "logging")
    json.dump = _spanned(probe, json.dump, "logging")
    logging.Logger.callHandlers = _spanned(probe, logging.Logger.callHandlers, "logging")  # type: ignore[method-assign]
    if torch.cuda.is_available():
        torch.Tensor.to = _copying(probe, torch.Tensor.to)
        torch.Tensor.cuda = _copying(probe, torch.Tensor.cuda)


def _spanned(probe: Probe, original: Callable[..., Any], kind: str) -> Callable[..., Any]:
    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        counts = not probe.depth and probe.push(kind)
        try:
            return original(*args, **kwargs)
        finally:
            if counts:
                probe.pop()

    return wrapper


def _copying(probe: Probe, original: Callable[..., Any]) -> Callable[..., Any]:
    """Time ``tensor.to(...)`` as host_to_device, where it is called outside the model."""

    @functools.wraps(original)
    def wrapper(self: Any, *args: Any, **kwargs: Any) -> Any:
        if probe.depth or self.device.type != "cpu" or probe.torch.compiler.is_compiling():
            return original(self, *args, **kwargs)
        counts = probe.push("host_to_device")
        try:
            return original(self, *args, **kwargs)
        finally:
            if counts:
                probe.pop()

    return wrapper

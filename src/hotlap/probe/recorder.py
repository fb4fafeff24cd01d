"""Follows the thread that trains: what the hooks see becomes spans of its timeline, and ends its steps.

hooks ──marks──> Timeline ──a step is over──> some are cut out at a time ──> Record ──> Writer

``hooks`` writes the marks of an ordinary step itself. What is here runs once in a step, or where something is unusual:
another thread, a span inside another one, a process that does not train yet.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hotlap.probe import facts
from hotlap.probe.attribution import first_work
from hotlap.probe.losses import reading
from hotlap.probe.steps import Steps
from hotlap.probe.timeline import (
    DATA,
    EVALUATION,
    FORWARD,
    FROZEN,
    GAP,
    MARKED,
    OPAQUE,
    OPTIMIZER,
    RECOMPUTE,
    SAMPLING,
    SCALAR,
    Timeline,
)

#: Marks kept while it is not known whether this process trains at all.
_BEFORE_TRAINING = 2000

_ident = threading.get_ident


class Recorder(Steps):
    # spans

    def push(self, kind: str) -> bool:
        """Begin a span of the training thread. Return whether it counts; only then ``pop`` it."""
        return self.begun and _ident() == self.thread and self.timeline.push(self.clock(), kind)

    def pop(self) -> None:
        timeline = self.here()
        # It is empty where the training thread became known while another was inside a span.
        if timeline is not None and timeline.stack:
            timeline.pop(self.clock())

    @contextmanager
    def span(self, kind: str) -> Iterator[None]:
        """A phase that the script marked."""
        timeline, waits = self.here(), kind == "data_wait"
        if timeline is None:
            counts, batches = False, 0
        else:
            batches = len(timeline.samples)
            now = self.clock()
            counts = timeline.push_data(now, MARKED) if waits else timeline.push(now, kind)
        try:
            yield
        finally:
            if counts and waits and timeline is not None and timeline.stack and len(timeline.samples) == batches:
                # No loader that is known: what the script waited for was a batch of its own.
                timeline.pop_batch(self.clock(), None)
            elif counts:
                self.pop()

    def here(self) -> Timeline | None:
        """The timeline of this thread; when it is known which one trains, None in the others."""
        here = _ident()
        if self.begun:
            return self.timeline if here == self.thread else None
        if not self.enabled:
            return None
        timeline = self.timelines.get(here)
        if timeline is None:
            timeline = self.timelines[here] = Timeline(self.clock())
        elif len(timeline.kinds) > 2 * _BEFORE_TRAINING:
            timeline.cut(len(timeline.kinds) - _BEFORE_TRAINING, self.clock())
        return timeline

    # what happens in a training

    def new_loader(self) -> str:
        self.loaders += 1
        return f"{DATA}{self.loaders}"

    def data_begins(self, loader: str) -> bool:
        timeline = self.here()
        return timeline is not None and timeline.push_data(self.clock(), loader)

    def batch_received(self, loader: str, batch: Any, counts: bool) -> None:
        """``counts``: what ``data_begins`` said of the wait that ends with this batch."""
        timeline = self.here()
        if timeline is None:
            return
        samples = facts.batch_dimension(self.torch, batch)
        self.fed = samples is not None
        if counts and timeline.stack:
            timeline.pop_batch(self.clock(), samples)
        else:
            timeline.batch(self.clock(), loader, samples)

    def forward_begins(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        """Return the kind of an outermost call of a module, "" when it does not count, None when it is not ours."""
        if not self.enabled:
            return ""
        timeline = self.here()
        if timeline is None:
            return RECOMPUTE if self._in_device_thread() else None
        if timeline.stack and timeline.opaque():
            return ""
        if self.in_backward:
            return RECOMPUTE
        gradients = self.gradients()
        training = gradients and module.training
        called = self.forward_since
        if training:
            if self.stepped:
                self.close_at_new_input()
            self.forward_since = True
            if self.sizing:
                self.called_with((args, kwargs))
        if gradients:
            if self.size is None and not self.fed:
                self.size = facts.batch_dimension(self.torch, (args, kwargs))
            if self.looking:
                self.facts.module_called(module, training)
                if training:
                    self.facts.called_with(module, args, kwargs)
            if not training and not called:
                self.facts.switches.evaluated(module)
        if self.looking:
            self.facts.switches.called(module, training, called)
            self.sites.called(module, training, args, kwargs)
        if called and id(module) in self.frozen and self.facts.switches.is_frozen(module):
            return FROZEN
        if training:
            return FORWARD
        # What a compiler has made of a model is called without gradients, inside a function that has them.
        makes_data = module.training and not gradients and not isinstance(module, self.torch.fx.GraphModule)
        return SAMPLING if makes_data else EVALUATION

    def forward_ends(self, output: Any) -> None:
        """A call that returned one number may have computed a loss; what came before it will tell."""
        if type(output) is self.tensor and not output.dim():
            timeline = self.here()
            if timeline is not None:
                timeline.rename_last(FORWARD, SCALAR)
            if self.looking:
                self.facts.switches.returned_number()

    def backward_begins(self) -> None:
        """A backward that is not part of a model begins to train, or begins another step than the last."""
        if not self.begun:
            timeline = self.here()
            if timeline is not None:
                self._begin(timeline)
        elif self.stepped and not self.forward_since:
            self.close_at_new_input()

    def outermost_begins(self, kind: str) -> bool:
        timeline = self.timeline if kind == RECOMPUTE else self.here()
        return timeline is not None and timeline.push(self.clock(), kind)

    def outermost_ends(self, kind: str) -> None:
        if kind == RECOMPUTE:
            # Perhaps in a GPU's thread.
            self.timeline.pop(self.clock())
        else:
            self.pop()

    def recompute_begins(self) -> bool:
        if not self.in_backward or (_ident() != self.thread and not self._in_device_thread()):
            return False
        return self.timeline.push(self.clock(), RECOMPUTE)

    def _in_device_thread(self) -> bool:
        """A GPU's part of backward runs in a thread that Python has not started, while the training thread waits."""
        here = _ident()
        return self.in_backward and not any(
            thread.ident == here and not isinstance(thread, threading._DummyThread) for thread in threading.enumerate()
        )

    def scaled_loss(self, outputs: Any) -> None:
        """A gradient scaler is about to scale this loss."""
        if self.begun and _ident() == self.thread:
            self.loss(outputs, self.losses)
            self.scaled = True

    def backward_of(self, tensors: Any) -> None:
        """The backward that trains has begun, from these."""
        self.backward_since = True
        if self.looking:
            self.sites.backward()
        if self.size is not None:
            self.sizes.append(self.size)
            self.size = None
        if self.scaled:
            self.scaled = False
        else:
            self.loss(tensors, self.losses)

    def loss(self, tensor: Any, losses: list[Any]) -> None:
        found = reading(self.torch, self.tensor, tensor)
        if found is not None:
            losses.append(found)

    def optimizer_begins(self, optimizer: Any, scaler: Any = None) -> None:
        """A step of an optimizer, or of a gradient scaler around it, begins."""
        timeline = self.timeline if _ident() == self.thread else self.here()
        if timeline is None:
            return
        if scaler is not None and self.looking:
            self.facts.switches.scales(scaler)
        optimizers, name = self.optimizers, id(optimizer if scaler is None else scaler)
        if name in optimizers:
            # An earlier step ended by an exception.
            optimizers.clear()
            timeline.unwind(0, self.clock())
        if not optimizers:
            stack = timeline.stack
            if stack and stack[-1] in OPAQUE:
                return
            if self.looking:
                self.facts.optimizer_begins(optimizer)
            if not self.begun:
                self._begin(timeline)
            elif self.stepped:
                # Without a backward before it, a closure brings forward and backward, perhaps on a new batch.
                closed = not self.backward_since and self.close_at_new_input()
                if not closed and id(optimizer) in self.stepped:
                    self._close(first_work(timeline.kinds, self.after_optimizer))
            stack.append(OPTIMIZER)
            timeline.times.append(self.clock())
            timeline.kinds.append(OPTIMIZER)
        optimizers.append(name)

    def optimizer_ends(self, optimizer: Any) -> None:
        optimizers = self.optimizers
        if not optimizers or _ident() != self.thread:
            return
        optimizers.pop()
        if optimizers:
            return
        timeline = self.timeline
        stack, kinds = timeline.stack, timeline.kinds
        stack.pop()
        timeline.times.append(self.clock())
        kinds.append(stack[-1] if stack else GAP)
        self.after_optimizer = len(kinds) - 1
        self.forward_since = self.backward_since = self.fed = False
        self.size = None
        losses = self.losses
        if losses:
            self.losses = []
        elif self.inner_losses:
            losses, self.inner_losses = self.inner_losses, []
        self.step_losses = [*self.step_losses, *losses] if self.step_losses else losses
        if self.sizes:
            if not self.stepped:
                self.step_sizes = [*self.step_sizes, *self.sizes]
            self.sizes = []
        self.stepped.add(id(optimizer))

    def end_of_step(self) -> None:
        """The script said that a step ends here."""
        timeline = self.here()
        if timeline is None:
            return
        if not self.begun:
            work = [index for index, kind in enumerate(timeline.kinds) if kind != GAP]
            self._begin(timeline, work[0] if work else None)
            if not work or not self.begun:
                return
        self.step_losses = [*self.step_losses, *(self.losses or self.inner_losses)]
        self.losses, self.inner_losses = [], []
        self.step_sizes = [*self.step_sizes, *(self.sizes or ([self.size] if self.size is not None else []))]
        self.sizes, self.size = [], None
        self.forward_since = self.backward_since = self.fed = False
        self._close(len(timeline.kinds))

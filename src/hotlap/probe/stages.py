"""Times the named modules of the models in single steps: forward, backward and recompute.

    state    Net │ Net.a │ Net │ Net.b │ Net │ loss │ Net │ Net.b │ Net.b │ Net.b │ Net.a │ none
    kind     forward ............................... │ backward  │ recomp. │ backward ...

A step is a list of marks: the moments at which the innermost module, or what is done for it, changed. A stretch between
two marks belongs to one stage and one kind, so self times partition the step and nothing is added twice.

**Forward** is what runs between the call of a module and its return. **Backward** of a module is that of the autograd
nodes that were made inside it. Nodes are numbered as they are made, so the numbers at the marks of the forward say
whose each is, whatever was returned, changed in place, viewed or left without gradient. The engine runs them in the
reverse order; a hook before the first node of each run of nodes with the same owner sets the mark. **Recompute** is a
call of a module during backward, as activation checkpointing makes it; what it computes outside of any module stays
backward.

On a GPU an event of the device is recorded at each mark too, and read in a later step, when it is long over. What the
marks add up to is in ``stage_times``.
"""

from __future__ import annotations

import functools
import math
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hotlap.probe.compiled import is_compiled
from hotlap.probe.stage_times import BACKWARD, FORWARD, LOSS, NONE, RECOMPUTE, Stage, StageTimes, StepMarks

#: Calls that are followed in a step. With more of them, the deepest levels of the model are no longer told apart.
CALLS_AT_MOST = 4000
#: Autograd nodes that are looked at in a step.
NODES_AT_MOST = 40_000
_NO_LIMIT = 1 << 30
#: Nodes that add up the gradient of a parameter have this number or one near it, and belong to what they end.
_LAST = 1 << 62

_ident = threading.get_ident


class Stages:
    """A ``Look`` at which module takes how long."""

    def __init__(self, torch: Any, clock: Callable[[], float] = time.perf_counter) -> None:
        self.torch = torch
        self.clock = clock
        # Neither is public: without them there is nothing to see (``begin``), and all else goes on.
        self.number: Any = getattr(torch._C._autograd, "_get_sequence_nr", None)
        engine: Any = getattr(torch.autograd, "_engine_run_backward", None)
        self.engine = engine
        self.event: Callable[[], Any] = functools.partial(torch.cuda.Event, enable_timing=True)
        self.stages: list[Stage] = []
        self.known: dict[tuple[int, str], int] = {}
        self.times = StageTimes()
        #: Events that can be recorded again.
        self.pool: list[Any] = []
        #: When the step that was watched ended, in the clock's seconds; asked in ``end``.
        self.boundary: Callable[[], float] = lambda: math.inf
        #: Levels that are told apart, when there are too many calls for all.
        self.limit = _NO_LIMIT
        self.step: StepMarks | None = None
        #: How deep calls are followed now, 0 while no step is watched.
        self.deepest = 0
        self.depth = 0
        self.owner, self.kind = NONE, FORWARD
        #: How many backwards are under way, one inside the other.
        self.running = 0
        self.on_device = False

        def run_backward(outputs: Any, *args: Any, **kwargs: Any) -> Any:
            if not self.deepest or not self._is_here():
                return engine(outputs, *args, **kwargs)
            return self._backward(outputs, args, kwargs)

        self.run_backward = run_backward

    # a step is watched

    def begin(self) -> None:
        if self.number is None or self.engine is None:
            raise NotImplementedError("this torch does not tell the order of its autograd nodes")
        self.pool += self.times.read_events()
        self.step = StepMarks(_ident())
        self.depth, self.running, self.owner, self.kind = 0, 0, NONE, FORWARD
        self.on_device = bool(self.torch.cuda.is_initialized())
        _skip_frames()
        self.torch.autograd._engine_run_backward = self.run_backward
        self.deepest = self.limit
        self._mark(NONE, FORWARD)

    def undo(self) -> None:
        self.deepest = 0
        if self.torch.autograd._engine_run_backward is self.run_backward:
            self.torch.autograd._engine_run_backward = self.engine

    def end(self) -> None:
        watched = self.deepest > 0
        self.undo()
        if self.step is not None and watched and not self.depth and not self.running:
            self._mark(NONE, FORWARD)
            # One without a backward was cut off by the end of the training. So was the last one: what the next step
            # calls before its first training work, which would stand for its own, never came.
            boundary = self.boundary()
            whole = self.step.trained and (boundary < math.inf or not self.times.steps)
            if not self.step.spoiled and self.step.calls and whole:
                self.times.add(self.step, boundary)
        self.step = None

    def _is_here(self) -> bool:
        """Whether this is the thread that trains, or a device's part of its backward."""
        return self.step is not None and (self.running > 0 or _ident() == self.step.thread)

    def _mark(self, owner: int, kind: str) -> None:
        """From now on time is this stage's. Nothing here may disturb the training."""
        self.owner, self.kind = owner, kind
        step = self.step
        if step is None or step.spoiled:
            return
        try:
            here = step.numbers.get(_ident())
            if here is None:
                here = step.numbers[_ident()] = ([], [])
            numbers, owners = here
            number = self.number()
            if numbers and numbers[-1] == number:
                owners[-1] = owner
            else:
                numbers.append(number)
                owners.append(owner)
            if self.on_device:
                step.events.append(self._record())
            step.owners.append(owner)
            step.kinds.append(kind)
            step.times.append(self.clock())
        except Exception:
            step.spoiled = True

    def _record(self) -> Any:
        if self.torch.cuda.is_current_stream_capturing():
            return None
        event = self.pool.pop() if self.pool else self.event()
        event.record()
        return event

    def follow(self, call: Callable[..., Any], module: Any, args: Any, kwargs: Any) -> Any:
        """Call a module, while a step is watched (``deepest`` is not 0)."""
        step = self.step
        if self.depth >= self.deepest or step is None or step.spoiled or not self._is_here():
            return call(module, *args, **kwargs)
        before = self.owner, self.kind, self.depth
        kind = RECOMPUTE if self.running else FORWARD
        try:
            stage, self.depth = self._stage(step, module, kind)
            if kind == FORWARD:
                step.calls.append((len(step.times), stage))
        except Exception:
            step.spoiled = True
            return call(module, *args, **kwargs)
        began = len(step.times)
        self._mark(stage, kind)
        if is_compiled(module):
            self.depth = _NO_LIMIT
        output = None
        try:
            output = call(module, *args, **kwargs)
        finally:
            owner, kind, self.depth = before
            if self.depth == 0 and kind == FORWARD:
                self._root_ends(step, module, began, output)
            self._mark(owner, kind)
        return output

    def _stage(self, step: StepMarks, module: Any, kind: str) -> tuple[int, int]:
        """The stage of a call that begins, and how deep it is."""
        name = step.names.get(id(module))
        if kind == RECOMPUTE and self.kind != RECOMPUTE:
            # The calls around it are over since the forward.
            stage = step.by_module.get(id(module))
            if stage is not None:
                return stage, self.stages[stage].depth
            if name is not None and self.limit != _NO_LIMIT:
                return self.owner, _NO_LIMIT
            parent, depth = NONE, 1
        else:
            parent, depth = (self.owner, self.depth + 1) if self.depth else (NONE, 1)
        if parent == NONE:
            name = step.roots.get(id(module)) or self._root(step, module)
        name = name or type(module).__name__
        stage = self.known.get((parent, name))
        if stage is None:
            stage = self.known[parent, name] = len(self.stages)
            self.stages.append(Stage(name, type(module).__name__, parent, depth))
        step.by_module[id(module)] = stage
        if len(step.calls) > CALLS_AT_MOST:
            self._fewer_levels(step)
        return stage, depth

    def _root(self, step: StepMarks, module: Any) -> str:
        """Name an outermost module by its class, or what the script calls it, and those in it as it does itself."""
        cls = (_variable(module) if type(module).__module__.startswith("torch.nn.") else None) or type(module).__name__
        alike = sum(name.partition(" ")[0] == cls for name in step.roots.values())
        step.held.append(module)
        for name, inner in module.named_modules():
            step.names[id(inner)] = _plain(name)
        name = step.roots[id(module)] = f"{cls} {alike + 1}" if alike else cls
        return name

    def _fewer_levels(self, step: StepMarks) -> None:
        """Too many calls: this step is left out, and from the next one on the deepest levels are, too."""
        step.spoiled = True
        counts: dict[int, int] = {}
        for _, stage in step.calls:
            depth = self.stages[stage].depth
            counts[depth] = counts.get(depth, 0) + 1
        self.limit = max(counts)
        total = len(step.calls)
        while self.limit > 0 and 2 * total > CALLS_AT_MOST:
            total -= counts.get(self.limit, 0)
            self.limit -= 1
        self.deepest = 0
        self.stages.clear()
        self.known.clear()
        self.times.seen.clear()

    def _root_ends(self, step: StepMarks, module: Any, began: int, output: Any) -> None:
        """One number, after another call: that was the loss, as in the phases."""
        if step.spoiled:
            return
        scalar = type(output) is self.torch.Tensor and not output.dim() and step.calls[0][0] < began
        if scalar or isinstance(module, self.torch.nn.modules.loss._Loss):
            for index in range(began, len(step.times)):
                self.stages[step.owners[index]].phase = LOSS

    # backward

    def _backward(self, outputs: Any, args: Any, kwargs: Any) -> Any:
        step = self.step
        assert step is not None
        before = self.owner, self.kind, self.depth
        handles: list[Any] = []
        self.running += 1
        self.depth = 0
        self._mark(NONE, BACKWARD)
        try:
            try:
                # Only some of the nodes run where gradients of certain tensors are asked for.
                handles = self._hooks(step, outputs, bool(args[3] if len(args) > 3 else kwargs.get("inputs")))
            except Exception:
                step.spoiled = True
            return self.engine(outputs, *args, **kwargs)
        finally:
            for handle in handles:
                handle.remove()
            self.running -= 1
            owner, kind, self.depth = before
            self._mark(owner, kind)
            step.trained.append(len(step.times))

    def _hooks(self, step: StepMarks, outputs: Any, every: bool) -> list[Any]:
        numbers, owners = step.numbers[_ident()]
        roots = (getattr(output, "grad_fn", None) or getattr(output, "node", None) for output in outputs)
        waiting = [node for node in roots if node is not None]
        visited = set(waiting)
        found: list[tuple[int, Any]] = []
        while waiting:
            node = waiting.pop()
            step.visited += 1
            if step.visited > NODES_AT_MOST:
                return []  # better outside of all modules than in the wrong one
            number = node._sequence_nr()
            if number < numbers[0]:
                continue  # it was made before this step
            if number < _LAST:
                found.append((number, node))
            for following, _ in node.next_functions:
                if following is not None and following not in visited:
                    visited.add(following)
                    waiting.append(following)
        found.sort(key=lambda each: each[0], reverse=True)
        handles = []
        before = NONE
        for number, node in found:
            owner = owners[bisect_right(numbers, number) - 1]
            step.nodes[owner] = step.nodes.get(owner, 0) + 1
            if owner != before or every:
                handles.append(node.register_prehook(functools.partial(self._node_runs, owner)))
            before = owner
        return handles

    def _node_runs(self, owner: int, _: Any) -> None:
        if owner != self.owner or self.kind != BACKWARD:
            self._mark(owner, BACKWARD)

    def lines(self) -> list[tuple[str, dict[str, Any]]]:
        self.pool += self.times.read_events()
        line = self.times.line(self.stages)
        if line is None:
            return []
        if self.limit != _NO_LIMIT:
            line["levels"] = self.limit
        return [("stages", line)]


def _variable(module: Any) -> str | None:
    """The global name of a module in the script: the class of a container says nothing about it."""
    script = vars(sys.modules.get("__main__", sys))
    return next((name for name, value in list(script.items()) if value is module and not name.startswith("_")), None)


def _plain(name: str) -> str:
    """Without the names that wrappers add: ``module.`` of a parallel one in front, ``_orig_mod.`` of a compiled one."""
    return ".".join(part for part in name.removeprefix("module.").split(".") if part != "_orig_mod") or name


def _skip_frames() -> None:
    """Where a compiled function calls Python again, the frames of this file are not to be compiled."""
    dynamo = sys.modules.get("torch._dynamo.eval_frame")
    if dynamo is not None:
        for function in vars(Stages).values():
            if hasattr(function, "__code__"):
                with suppress(Exception):
                    dynamo.skip_code(function.__code__)

"""A closer look on request: a few warm steps under torch.profiler, and one whose floating-point operations are counted.

    step 6 ... 8   Tracing    operators and kernels, saved as ``trace.json.gz`` in the run directory
    step 10        Counting   2 for each multiply-add of matrix products, convolutions and attention, by their shapes;
                              and the bytes that all operators read and write, see ``counting``

Neither changes what is computed. A compiled model is not counted: its kernels do not pass by where one could count.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from typing import Any

from hotlap.probe.attribution import CALLS
from hotlap.probe.compiled import has_compiled
from hotlap.probe.counting import FLOPS, Count, mode
from hotlap.probe.looking import Look
from hotlap.probe.timeline import DATA, OPTIMIZER

STEPS = 3
#: Operators and kernels that are told.
_TOLD = 15
#: A trace of more events than this would be too large for a viewer, and is not saved.
_MOST_EVENTS = 300_000


def looks(torch: Any, run_dir: str, rank: int, doing: Callable[[], str]) -> list[Look]:
    """One rank is enough: the others do the same. ``doing``: the kind of what the step does at this moment."""
    return [Tracing(torch, run_dir), Counting(torch, has_compiled, doing)] if rank == 0 else []


class Tracing:
    """Implements ``looking.Look`` for several steps in a row, once."""

    def __init__(self, torch: Any, run_dir: str) -> None:
        self.torch = torch
        self.path = os.path.join(run_dir, "trace.json.gz")
        self.span = STEPS
        self.profiler: Any = None
        self.pid = 0
        self.seen: dict[str, Any] = {}

    def begin(self) -> None:
        if self.seen:
            return
        if importlib.import_module("torch.autograd.profiler")._is_profiler_enabled:
            self.seen = {"untraced": "the script runs a profiler itself"}
            return
        activities = [self.torch.profiler.ProfilerActivity.CPU]
        if self.torch.cuda.is_initialized():
            self.torch.cuda.synchronize()
            activities.append(self.torch.profiler.ProfilerActivity.CUDA)
        self.pid = os.getpid()
        self.profiler = self.torch.profiler.profile(activities=activities)
        self.profiler.start()

    def undo(self) -> None:
        profiler, self.profiler = self.profiler, None
        if profiler is not None and self.pid == os.getpid():  # its threads are not in a forked child
            profiler.stop()

    def end(self) -> None:
        profiler, self.profiler = self.profiler, None
        if profiler is None:
            return
        if self.torch.cuda.is_initialized():
            self.torch.cuda.synchronize()
        profiler.stop()
        self.seen = {"steps": STEPS}
        self.span = 1  # it is done: another turn watches nothing
        events = profiler.profiler.kineto_results.events()
        cpu = self.torch.autograd.DeviceType.CPU
        # Ranges that somebody named span what the device did in them, and the time between.
        on_device = [
            (event.start_ns(), event.start_ns() + event.duration_ns())
            for event in events
            if event.device_type() != cpu and not _named(event)
        ]
        averages = profiler.key_averages()
        self.seen["operators"] = self._told(
            averages, lambda each: each.device_type == cpu, lambda each: each.self_cpu_time_total
        )
        if on_device:
            self.seen["kernels"] = self._told(
                averages,
                lambda each: each.device_type != cpu and not _named(each),
                lambda each: each.self_device_time_total,
            )
            self.seen["device_busy"] = union(on_device) / 1e9 / STEPS
            window = max(end for _, end in on_device) - min(start for start, _ in on_device)
            self.seen["device_window"] = window / 1e9 / STEPS
        self.seen["events"] = len(events)
        if len(events) <= _MOST_EVENTS:
            profiler.export_chrome_trace(self.path)
            self.seen["bytes"] = os.path.getsize(self.path)

    def _told(
        self, averages: Any, wanted: Callable[[Any], bool], microseconds: Callable[[Any], float]
    ) -> list[dict[str, Any]]:
        found = sorted((each for each in averages if wanted(each)), key=microseconds, reverse=True)
        return [
            {
                "name": str(each.key)[:200],
                "calls": each.count / STEPS,
                "seconds": microseconds(each) / 1e6 / STEPS,
            }
            for each in found[:_TOLD]
            if microseconds(each) > 0
        ]

    def lines(self) -> list[tuple[str, dict[str, Any]]]:
        return [("trace", self.seen)] if self.seen else []


def _named(event: Any) -> bool:
    """Whether it is a range that somebody named; an older torch may not say."""
    found = getattr(event, "is_user_annotation", None)
    return bool(found() if callable(found) else found)


class Counting:
    """Implements ``looking.Look``: what one step computes and moves, forward, backward and all.

    It may begin and end while an optimizer runs its hooks, so it must not have hooks of its own there.
    """

    def __init__(self, torch: Any, compiled: Callable[[], bool], doing: Callable[[], str]) -> None:
        self.torch = torch
        self.compiled = compiled
        self.doing = doing
        #: A model was called, and its loss not differentiated yet: what comes now is the loss.
        self.called = False
        self.mode: Any = None
        self.count: Count | None = None
        self.seen: dict[str, Any] = {}

    def begin(self) -> None:
        if self.seen:
            return
        if self.compiled():
            self.seen = {"uncounted": "the model is compiled"}
            return
        if importlib.import_module("torch")._C._len_torch_dispatch_stack():
            # One that the script leaves in this step would take ours off in its place.
            self.seen = {"uncounted": "the script has a dispatch mode of its own"}
            return
        self.count = Count(self.torch)
        self.mode = mode(self.count, self._phase)
        self.mode.__enter__()

    def undo(self) -> None:
        entered, self.mode = self.mode, None
        if entered is not None:
            entered.__exit__(None, None, None)

    def end(self) -> None:
        count, self.count = self.count, None
        self.undo()
        if count is not None and count.failed is not None:
            self.seen = {"uncounted": f"{count.failed} works on tensors that cannot be counted"}
        elif count is not None and count.calls:  # else it is for another turn
            rows = count.lines()
            flops = sum(row[FLOPS] * row[-1] for row in rows)
            self.seen = {"flops": flops, "work": rows, "unknown": sorted(count.unknown)}

    def lines(self) -> list[tuple[str, dict[str, Any]]]:
        return [("flops", self.seen)] if self.seen else []

    def _phase(self) -> str:
        kind = self.doing()
        if kind == OPTIMIZER:
            self.called = False
            return "optimizer"
        if self.torch._C._current_graph_task_id() != -1:
            self.called = False
            # Backward computes without gradients, unless it runs a forward again.
            return "recompute" if self.torch.is_grad_enabled() else "backward"
        self.called = self.called or kind in CALLS
        if kind in ("backward", "gradient_clip"):
            return kind
        if kind.startswith(DATA):
            return "data_wait"
        return "forward" if self.called else "other"


def union(intervals: list[tuple[int, int]]) -> int:
    """Return the length that intervals cover together."""
    covered, until = 0, 0
    for start, end in sorted(intervals):
        covered += max(0, end - max(start, until))
        until = max(until, end)
    return covered

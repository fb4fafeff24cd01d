"""What a rank waits for: the synchronisation of its gradients, and the collectives that its script calls itself.

    backward     ├─ computing; buckets that are ready are being reduced ─┤─ waiting for what is not reduced yet ─┤
                                         overlapped                      computed()        gradient_sync

``DistributedDataParallel`` waits in a callback that the autograd engine runs when everything has been computed. Such
callbacks run in the order in which they were queued, so one that is queued when backward begins marks the moment at
which the wait begins. On a GPU the wait is the stream's, and so its host time is short: DDP's own timers, which are
read in steps that are watched, measure it on the device.
"""

from __future__ import annotations

import functools
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from statistics import median
from typing import Any

from hotlap.probe.compiled import has_compiled
from hotlap.probe.looking import Look
from hotlap.probe.recorder import Recorder
from hotlap.probe.timeline import SYNC

_COLLECTIVES = (
    "all_gather",
    "all_gather_into_tensor",
    "all_gather_object",
    "all_reduce",
    "all_to_all",
    "all_to_all_single",
    "barrier",
    "broadcast",
    "broadcast_object_list",
    "gather",
    "gather_object",
    "monitored_barrier",
    "reduce",
    "reduce_scatter",
    "reduce_scatter_tensor",
    "scatter",
)

#: What torch samples its timers at, in iterations, unless told otherwise (``kDDPRuntimeLoggingSampleRate``).
_SAMPLE_RATE = 100

_NANOSECOND = 1e-9


def install(torch: Any, recorder: Recorder) -> None:
    """Wrap the collectives, and see when a model is made data parallel: until then nothing else is wrapped."""
    if not torch.distributed.is_available():
        return
    wrap_collectives(torch, recorder)
    replicas = Replicas()
    parallel = torch.nn.parallel.DistributedDataParallel
    make = parallel.__init__

    @functools.wraps(make)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        make(self, *args, **kwargs)
        if not replicas.known:
            wrap_sync(torch, recorder, replicas)
            recorder.facts.data_parallel = replicas.settings
        replicas.known.append(weakref.ref(self))

    parallel.__init__ = __init__
    others = recorder.make_looks

    def make_looks() -> list[Look]:
        # Parameters that one step leaves unused may be used in the next.
        return [*others(), *[SyncLook(torch, replicas)] * 3] if replicas.known else others()

    recorder.make_looks = make_looks


class Replicas:
    """The data parallel modules of this process, and how often backward ran and synchronised."""

    def __init__(self) -> None:
        self.known: list[weakref.ref[Any]] = []
        self.backwards = 0
        self.syncs = 0

    def alive(self) -> list[Any]:
        return [module for each in self.known if (module := each()) is not None]

    def logged(self) -> list[Any]:
        return [module for module in self.alive() if module.logger is not None]

    def settings(self) -> dict[str, Any] | None:
        """What they are set to; None when there is none (any more)."""
        modules = self.logged()
        if not modules:
            return None
        first = modules[0]._get_ddp_logging_data()
        buckets = first.get("rebuilt_bucket_sizes") or first.get("bucket_sizes") or ""
        return {
            "models": len(modules),
            "backend": first.get("backend_name"),
            "parameter_bytes": first.get("total_parameter_size_bytes"),
            "buckets": [int(size) for size in buckets.split(",") if size.strip()],
            "find_unused_parameters": any(module.find_unused_parameters for module in modules),
            "static_graph": all(module.static_graph for module in modules),
            "gradient_as_bucket_view": all(module.gradient_as_bucket_view for module in modules),
            "comm_hook": first.get("comm_hook") or None,
            "backwards": self.backwards,
            "syncs": self.syncs,
        }

    def synchronise(self) -> bool:
        """Whether the backward that begins now will: as the last forward with gradients has arranged it."""
        return any(module.require_forward_param_sync for module in self.alive())


def wrap_collectives(torch: Any, recorder: Recorder) -> None:
    """Record those that the script calls itself; what a model or a backward calls belongs to these."""
    compiling = torch.compiler.is_dynamo_compiling

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def collective(*args: Any, **kwargs: Any) -> Any:
            if compiling() or recorder.depth or recorder.in_backward or not recorder.push(SYNC):
                return original(*args, **kwargs)
            try:
                return original(*args, **kwargs)
            finally:
                recorder.pop()

        return collective

    package = torch.distributed
    for name in _COLLECTIVES:
        original = getattr(package, name, None)
        if original is not None:
            wrapper = wrap(original)
            setattr(package, name, wrapper)
            setattr(package.distributed_c10d, name, wrapper)


def wrap_sync(torch: Any, recorder: Recorder, replicas: Replicas) -> None:
    compiling = torch.compiler.is_dynamo_compiling
    original = torch.autograd.backward
    queue = torch.autograd.Variable._execution_engine.queue_callback
    tensor = torch.Tensor
    parallel = torch.nn.parallel.DistributedDataParallel
    sync_buffers = parallel._sync_buffers
    inside = False

    def computed() -> None:
        # Perhaps in a GPU's thread, while the training thread waits. The end of backward ends the span.
        if recorder.in_backward:
            recorder.timeline.push(recorder.clock(), SYNC)

    def begins(gradients: Any) -> None:
        queue(computed)

    @functools.wraps(original)
    def backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal inside
        if compiling() or inside or recorder.here() is None:
            return original(tensors, *args, **kwargs)
        replicas.backwards += 1
        first = tensors if isinstance(tensors, tensor) else tensors[0] if tensors else None
        node = getattr(first, "grad_fn", None)
        if node is None or not replicas.synchronise():
            return original(tensors, *args, **kwargs)
        replicas.syncs += 1
        # Backward within backward is a part of it: recomputation.
        inside = True
        handle = node.register_prehook(begins)
        try:
            return original(tensors, *args, **kwargs)
        finally:
            inside = False
            handle.remove()

    @functools.wraps(sync_buffers)
    def _sync_buffers(self: Any) -> Any:
        """Before the forward, buffers come from rank 0: the others wait for it here."""
        if compiling() or recorder.in_backward or not recorder.push(SYNC):
            return sync_buffers(self)
        try:
            return sync_buffers(self)
        finally:
            recorder.pop()

    torch.autograd.backward = backward
    parallel._sync_buffers = _sync_buffers
    _never_compile(torch, _sync_buffers)


def _never_compile(torch: Any, function: Any) -> None:
    """DDP's own frames are left out by the compiler; so must be what is called from them."""
    with suppress(Exception):  # a private function of torch
        torch._C._dynamo.eval_frame.skip_code(function.__code__)


class SyncLook:
    """Reads DDP's own timers for a step: on a GPU they are events, and reading them waits for the last of them."""

    def __init__(self, torch: Any, replicas: Replicas, clock: Callable[[], float] = time.perf_counter) -> None:
        self.torch = torch
        self.replicas = replicas
        self.clock = clock
        self.syncs = 0
        self.exposed: list[float] = []
        self.overlapped: list[float] = []
        #: Seconds to look for parameters that the forward has not used, and bytes of those that were found.
        self.searches: list[float] = []
        self.unused: list[int] = []
        self.search: Any = None
        self.described: dict[str, Any] = {}

    def begin(self) -> None:
        self.syncs = self.replicas.syncs
        modules = self.replicas.logged()
        for module in modules:
            module._set_ddp_runtime_logging_sample_rate(1)
        # A compiler would compile again what is patched.
        if any(module.find_unused_parameters and not module.static_graph for module in modules) and not has_compiled():
            self._time_searches(type(modules[0]))

    def _time_searches(self, parallel: Any) -> None:
        original = parallel._post_forward
        searches, clock = self.searches, self.clock

        @functools.wraps(original)
        def _post_forward(self: Any, output: Any) -> Any:
            start = clock()
            try:
                return original(self, output)
            finally:
                searches.append(clock() - start)

        _never_compile(self.torch, _post_forward)
        self.search = parallel, parallel.__dict__.get("_post_forward")
        parallel._post_forward = _post_forward

    def undo(self) -> None:
        for module in self.replicas.logged():
            module._set_ddp_runtime_logging_sample_rate(_SAMPLE_RATE)
        if self.search is not None:
            (parallel, original), self.search = self.search, None
            if original is None:
                del parallel._post_forward  # a class of the script's, which inherits it
            else:
                parallel._post_forward = original

    def end(self) -> None:
        self.undo()
        exposed = overlapped = 0.0
        unused: list[int] = []
        for module in self.replicas.logged():
            module.logger.set_runtime_stats_and_log()
            data = module._get_ddp_logging_data()
            communication = data.get("backward_comm_time", 0) * _NANOSECOND
            hidden = data.get("backward_compute_comm_overlap_time", 0) * _NANOSECOND
            exposed += max(0.0, communication - hidden)
            overlapped += max(0.0, min(hidden, communication))
            unused.append(int(data.get("unused_parameter_size", 0)))
        if unused and self.replicas.syncs > self.syncs:
            self.exposed.append(exposed)
            self.overlapped.append(overlapped)
            self.unused.append(sum(unused))
        # At the end of the process the models may be gone.
        self._describe()

    def _describe(self) -> None:
        self.described = self.replicas.settings() or self.described

    def lines(self) -> list[tuple[str, dict[str, Any]]]:
        self._describe()
        if not self.described:
            return []
        seen: dict[str, Any] = {
            "looks": len(self.exposed),
        }
        if self.exposed:
            seen.update(exposed=median(self.exposed), overlapped=median(self.overlapped), unused=max(self.unused))
        if self.searches:
            seen["search_seconds"] = median(self.searches)
        return [("data_parallel", {**self.described, **seen})]

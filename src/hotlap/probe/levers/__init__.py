"""Changes that are applied from outside to a script that has no setting for them. See ``base`` for what a lever is.

workers, prefetch_factor, persistent_workers, pin_memory   loader.py
autocast ("bfloat16", "float16")                           autocast.py
grad_scaling (the scale to begin with)                     scaling.py
pure ("bfloat16")                                          pure.py
matmul_precision, threads, cudnn_benchmark                 arithmetic.py
collect_every (steps)                                      collecting.py
any_order                                                  loader.py
non_blocking                                               copies.py
batched_fetch                                              fetching.py
cache_samples (bytes)                                      samples.py
whole_set (a device)                                       whole_set.py
cache_decoded (bytes)                                      decoded.py
shared_batches, shared_samples (bytes)                     shared.py
trim_padding (a multiple)                                  padding.py
channels_last                                              layout.py
compile (a mode, and how)                                  compiling.py
fused, foreach                                             implementation.py
checkpointing ("off")                                      checkpointing.py
allocator ("keep"), cuda_allocator                         memory.py
bucket_cap_mb, gradient_as_bucket_view, static_graph       parallel.py
unused_search ("off"), gradient_compression ("bfloat16")   parallel.py
no_sync                                                    micro_batches.py
recompute ("all", "1/2")                                   recomputing.py
memory_budget (a share)                                    budget.py
set_to_none                                                gradients.py
eight_bit (a library)                                      eight_bit.py
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from hotlap.probe.levers.arithmetic import CudnnBenchmark, MatmulPrecision, Threads
from hotlap.probe.levers.autocast import Autocast
from hotlap.probe.levers.base import Lever, notes
from hotlap.probe.levers.budget import MemoryBudget
from hotlap.probe.levers.checkpointing import Checkpointing
from hotlap.probe.levers.collecting import CollectEvery
from hotlap.probe.levers.compiling import Compile
from hotlap.probe.levers.copies import NonBlocking
from hotlap.probe.levers.decoded import CacheDecoded
from hotlap.probe.levers.eight_bit import EightBit
from hotlap.probe.levers.fetching import BatchedFetch
from hotlap.probe.levers.gradients import NoZeros
from hotlap.probe.levers.implementation import Foreach, Fused
from hotlap.probe.levers.layout import ChannelsLast
from hotlap.probe.levers.loader import (
    AnyOrder,
    PersistentWorkers,
    PinMemory,
    Prefetch,
    Workers,
    wrap_loader_construction,
    wrap_worker_starts,
)
from hotlap.probe.levers.memory import CudaAllocator, KeepFreedMemory
from hotlap.probe.levers.micro_batches import NoSync
from hotlap.probe.levers.padding import TrimPadding
from hotlap.probe.levers.parallel import BucketCap, BucketView, GradientCompression, StaticGraph, UnusedSearch
from hotlap.probe.levers.pure import Pure
from hotlap.probe.levers.recomputing import Recompute
from hotlap.probe.levers.samples import CacheSamples
from hotlap.probe.levers.scaling import GradScaling
from hotlap.probe.levers.seeds import shift_seeds
from hotlap.probe.levers.shared import ShareBatches, ShareSamples
from hotlap.probe.levers.whole_set import WholeSet

__all__ = ["LEVERS", "Lever", "checkpointing_off", "install", "notes", "say_notes", "switch", "wanted", "without_zeros"]

#: In this order they act on the same event.
LEVERS: dict[str, type[Lever]] = {
    lever.name: lever
    for lever in (
        Workers,
        Prefetch,
        PersistentWorkers,
        AnyOrder,
        PinMemory,
        NonBlocking,
        BatchedFetch,
        CacheSamples,
        WholeSet,
        ShareBatches,
        ShareSamples,
        CacheDecoded,
        TrimPadding,
        BucketCap,
        BucketView,
        StaticGraph,
        UnusedSearch,
        GradientCompression,
        NoSync,
        KeepFreedMemory,
        CudaAllocator,
        CollectEvery,
        Threads,
        MatmulPrecision,
        CudnnBenchmark,
        Pure,
        ChannelsLast,
        Compile,
        Autocast,
        GradScaling,
        Fused,
        Foreach,
        Checkpointing,
        Recompute,
        MemoryBudget,
        NoZeros,
        EightBit,
    )
}
_EVENTS = (
    "change_loader",
    "before_workers",
    "before_forward",
    "after_forward",
    "before_backward",
    "before_optimizer",
)

#: Settings of the levers that are on.
wanted: dict[str, Any] = {}
#: Whether steps go the long way, past the levers. In a training that is measured in blocks they do, with levers and
#: without: else the short way would speak for the baseline.
engaged = False
#: Whether an optimizer stepped in this process.
trained = False

_torch: Any = None
_levers: dict[str, Lever] = {}
#: Those that have something to do with an event.
_listening: dict[str, list[Lever]] = {event: [] for event in _EVENTS}


def install(torch: Any, settings: dict[str, Any], seed_offset: int = 0, *, measured: bool = False) -> None:
    """``measured``: the training runs in blocks, and settings may be switched between them."""
    global _torch, engaged
    _torch = torch
    _levers.clear()
    notes.clear()
    wanted.clear()
    engaged = measured
    if seed_offset:
        shift_seeds(torch, seed_offset)
    switch(settings)
    if _listening["change_loader"]:
        wrap_loader_construction(torch.utils.data, _change_loader)
    if _listening["before_workers"]:
        wrap_worker_starts(torch.utils.data, _before_workers)


def switch(settings: dict[str, Any]) -> None:
    """Make these settings those of the training, between two steps. All others are as the script has them.

    Raises:
        ValueError: there is no such lever.
    """
    global engaged
    for name in settings:
        if name not in LEVERS:
            raise ValueError(f"there is no lever {name!r}")
    wanted.clear()
    wanted.update({name: settings[name] for name in LEVERS if name in settings})
    engaged = engaged or bool(wanted)
    for name, lever in _levers.items():
        if lever.gave_up or lever.value != wanted.get(name):
            lever.gave_up = False
            try:
                lever.switch(wanted.get(name))
            except Exception as error:
                lever.give_up(error)
    for name, value in wanted.items():
        if name not in _levers:
            _levers[name] = LEVERS[name](_torch, value)
            _levers[name].install()
    for event in _EVENTS:
        _listening[event] = [lever for lever in _ordered() if getattr(type(lever), event) is not getattr(Lever, event)]


def _ordered() -> Iterator[Lever]:
    return (_levers[name] for name in LEVERS if name in _levers)


def say_notes() -> None:
    """Tell the user what was not applied, in a training that nothing else is recorded of."""
    for note in notes if trained else ():
        print(f"hotlap: {note}", file=sys.stderr)


def _tell(event: str, *args: Any) -> None:
    for lever in list(_listening[event]):
        try:
            getattr(lever, event)(*args)
        except Exception as error:  # the training must not end by it
            _drop(lever, error)


def _drop(lever: Lever, error: Exception) -> None:
    for listeners in _listening.values():
        if lever in listeners:
            listeners.remove(lever)
    lever.give_up(error)


def _change_loader(arguments: dict[str, Any], iterable: bool) -> None:
    _tell("change_loader", arguments, iterable)


def _before_workers(iterator: Any, loader: Any) -> None:
    _tell("before_workers", iterator, loader)


def before_forward(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool) -> tuple[Any, ...]:
    for lever in list(_listening["before_forward"]):
        try:
            args = lever.before_forward(module, args, kwargs, training)
        except Exception as error:
            _drop(lever, error)
    return args


def after_forward() -> None:
    _tell("after_forward")


def before_backward() -> None:
    _tell("before_backward")


def before_optimizer(optimizer: Any) -> None:
    global trained
    trained = True
    _tell("before_optimizer", optimizer)


def checkpointing_off() -> bool:
    """Asked at every ``checkpoint()``."""
    recompute = _levers.get(Recompute.name)
    if isinstance(recompute, Recompute):
        recompute.script_checkpoints()
    lever = _levers.get(Checkpointing.name)
    return isinstance(lever, Checkpointing) and lever.off()


def without_zeros(owner: Any) -> bool:
    """Asked when ``zero_grad`` of an optimizer or a module is to fill gradients with zeros."""
    lever = _levers.get(NoZeros.name)
    if not isinstance(lever, NoZeros):
        return False
    groups = getattr(owner, "param_groups", None)
    return lever.zeroing(
        list(owner.parameters()) if groups is None else [parameter for group in groups for parameter in group["params"]]
    )

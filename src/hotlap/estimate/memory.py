"""How much memory a training needs, before it runs: two steps are gone through with tensors that have none.

    build() -> step       in imitation, on a CPU
      step(), step()      followed: births and deaths of every storage         (tracker)
        timeline          as CUDA would have it: optimizers on many tensors at once, host scalars left out
          replay          through the caching allocator                        (allocator)
            MemoryEstimate

    build = lambda: training(model := Net(), AdamW(model.parameters()), [torch.randn(8, 3, 64, 64)], loss)
    estimate(build).allocated

The second step is there because the optimizer's state is born in the first.

What is followed are a CPU's operators, with the differences of CUDA's that the tracker and ``on_cuda`` know. Others
they do not know: cuDNN's recurrent networks and batch norms keep a reserve, and attention that cannot be fused keeps
its scores. Buckets of ``DistributedDataParallel`` are not in it either: as large as the gradients, unless they are
views of them.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hotlap.errors import UsageError
from hotlap.estimate import onednn
from hotlap.estimate import timeline as lives
from hotlap.estimate.imitation import imitation
from hotlap.estimate.summing import Device, summed
from hotlap.estimate.timeline import Kind, Timeline
from hotlap.estimate.tracker import Hidden, Tracker
from hotlap.probe.counting import Count
from hotlap.records import MemoryEstimate

#: A step of a training; what it returns is not looked at.
Step = Callable[[], object]


def estimate(
    build: Callable[[], Step],
    *,
    steps: int = 2,
    device: Device = "cuda",
    capability: tuple[int, int] | None = None,
) -> MemoryEstimate:
    """Estimate what a training needs: ``build`` makes all of it (network, optimizer, batch) and returns its step.

    ``build`` is called while tensors are imitated: they are made on the CPU, take no memory, and stand for those on
    ``device``. ``capability``: of the card, (9, 0) for a Hopper.

    Raises ``CannotBeTraced`` where what happens depends on the values of tensors.
    """
    began = time.monotonic()
    with imitation():
        timeline = track(build, steps=steps, **as_on(device))
    return summed(timeline, device=device, capability=capability, seconds=time.monotonic() - began)


def as_on(device: Device) -> dict[str, Any]:
    """What a tracker has to know of the device."""
    return {"as_on_cuda": device == "cuda", "hidden": None if device == "cuda" else onednn.hidden}


def track(
    build: Callable[[], Step], *, steps: int = 2, as_on_cuda: bool = False, hidden: Hidden | None = None
) -> Timeline:
    """Go through some steps and write down what lives when; with real tensors, unless they are imitated around it."""
    tracker = Tracker(as_on_cuda=as_on_cuda, hidden=hidden)
    with _undisturbed(), tracker:
        step = build()
        if not callable(step):
            raise UsageError(f"{step!r} is no step: what builds the training has to return a function that makes one")
        for _ in range(steps):
            tracker.next_step()
            step()
    return tracker.timeline()


def track_one(
    build: Callable[[], tuple[Step, Step]],
    *,
    as_on_cuda: bool = False,
    hidden: Hidden | None = None,
    count: Count | None = None,
) -> tuple[Timeline, dict[Kind, int]]:
    """As two steps, gone through once: ``build`` returns what makes the optimizer's state, and the step.

    Returns the timeline, and the floating-point operations of a step; ``count`` has what else it computes and moves.
    """
    tracker = Tracker(as_on_cuda=as_on_cuda, hidden=hidden, count=count)
    with _undisturbed(), tracker:
        for each in build():
            tracker.next_step()
            each()
    return lives.with_first_step(tracker.timeline(), *tracker.starts()), tracker.flops(2)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Nobody's garbage counts here, and what is there already need not be looked through again and again."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def training(
    model: nn.Module,
    optimizer: Optimizer,
    batch: Sequence[Tensor],
    loss: Callable[[Any], Tensor],
    *,
    accumulation_steps: int = 1,
    autocast: torch.dtype | None = None,
    clip: float = 0.0,
) -> Step:
    """The step of a plain training: the model is called with the batch, the loss with what it returns."""

    def step() -> None:
        for _ in range(accumulation_steps):
            with nullcontext() if autocast is None else torch.autocast("cpu", dtype=autocast):
                output = model(*batch)
            (loss(output) / accumulation_steps).backward()  # type: ignore[no-untyped-call]  # of torch
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()

    return step

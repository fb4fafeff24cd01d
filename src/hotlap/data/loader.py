"""How to set a loader: workers from measured times, and a short search among them.

    loader_settings   a few samples are fetched and timed ── one formula (``hotlap.workers``) ── num_workers, and why
    search            0, 1, W/2, W, W + 2 take turns in front of the training's own step ── the fewest within 3 %

The formula knows what a batch and a step take. What it does not know, storage that serves several worse than one, or
workers that take cores from the step itself, only the search sees.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Generator, Iterable
from typing import Any

import msgspec
import torch
from torch import Tensor
from torch.utils import _pytree as tree
from torch.utils.data import default_collate

from hotlap.data.cache import SampleCache
from hotlap.probe.randomness import unchanged
from hotlap.probe.shared.room import spare
from hotlap.workers import batch_seconds, choose, usable_cores

#: Seconds of a step, where it is not known: with a step that takes longer these are more workers than it needs.
GUESSED_STEP = 0.1
#: Samples that are fetched to time them.
_SAMPLES = 4
#: Of the memory that the node can spare, for batches that wait.
_SHARE = 0.25
#: What is slower by less is as fast.
_AS_FAST = 0.03


class LoaderSettings(msgspec.Struct, frozen=True, kw_only=True):
    num_workers: int
    prefetch_factor: int
    pin_memory: bool
    #: One sentence: which numbers, and which limit.
    why: str

    def options(self) -> dict[str, Any]:
        """For ``DataLoader(dataset, batch_size, **options)``."""
        more = {"prefetch_factor": self.prefetch_factor, "persistent_workers": True} if self.num_workers else {}
        return {"num_workers": self.num_workers, "pin_memory": self.pin_memory, **more}


def loader_settings(
    dataset: Any,
    batch_size: int,
    *,
    step_seconds: float | None = None,
    hit_rate: float | None = None,
    collate: Callable[[list[Any]], Any] = default_collate,
    prefetch_factor: int = 2,
    ranks: int | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> LoaderSettings:
    """Workers for each rank that make batches as fast as they are taken, by the times of a few samples.

    ``step_seconds``: of a step that does not wait for data; None guesses 0.1 s and says so. ``hit_rate``: of a
    ``SampleCache``, from 0 to 1; None takes what it predicts. ``ranks``: of this node, that share its cores (None: as
    the environment says).

    The samples are fetched in this process, and what is random stays as if they had not been. Where a dataset opens
    files with its first sample that workers must open themselves, give another one like it.
    """
    numbers = range(0, len(dataset), max(1, len(dataset) // _SAMPLES))[:_SAMPLES]
    if not numbers:
        raise ValueError("the dataset has no samples, so nothing can be measured")
    cached = isinstance(dataset, SampleCache)
    with unchanged(torch):
        samples, misses = _timed(dataset.dataset if cached else dataset, numbers, clock)
        hits, rate = 0.0, 0.0
        if cached and dataset.augment is not None:
            began = clock()
            samples = [dataset.augment(sample) for sample in samples]
            misses += (clock() - began) / len(samples)
        if cached:
            rate = (dataset.stats().predicted_hit_rate or 0.0) if hit_rate is None else hit_rate
            for number in numbers:
                dataset[number]
            hits = _timed(dataset, numbers, clock)[1]
        began = clock()
        batch = collate(samples)
        collating = (clock() - began) / len(samples)
    size = sum(leaf.nbytes for leaf in tree.tree_leaves(batch) if isinstance(leaf, Tensor)) * batch_size / len(samples)
    step = GUESSED_STEP if step_seconds is None else step_seconds
    chosen = choose(
        batch_seconds(batch_size, misses + collating, hits + collating, rate),
        step,
        cores=usable_cores(),
        ranks=int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if ranks is None else ranks,
        ready=size * (prefetch_factor + 1),
        memory=memory_for_batches(),
    )
    why = chosen.why
    if rate:
        why += f" (at a hit rate of {100 * rate:.0f} %: {1e3 * misses:.3g} ms for a miss, {1e3 * hits:.3g} for a hit)"
    if step_seconds is None and chosen.workers:
        why += "; the step was not measured but guessed, so ask again when it is known"
    return LoaderSettings(
        num_workers=chosen.workers,
        prefetch_factor=prefetch_factor,
        pin_memory=torch.cuda.is_available(),
        why=why,
    )


def memory_for_batches() -> float:
    """Bytes that batches may take which wait for the training."""
    return _SHARE * spare()


def _timed(dataset: Any, numbers: Iterable[int], clock: Callable[[], float]) -> tuple[list[Any], float]:
    """Samples, and the median seconds of one."""
    samples, seconds = [], []
    for number in numbers:
        began = clock()
        samples.append(dataset[number])
        seconds.append(clock() - began)
    return samples, statistics.median(seconds)


class Searched(msgspec.Struct, frozen=True, kw_only=True):
    #: The fewest that are as fast as the fastest, within 3 %.
    workers: int
    #: Median seconds between two batches, by workers.
    seconds: dict[int, float]


def search(
    make: Callable[[int], Iterable[Any]],
    step: Callable[[Any], Any],
    about: int,
    *,
    most: int | None = None,
    batches: int = 16,
    rounds: int = 3,
    ahead: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> Searched:
    """Try 0, 1, ``about`` / 2, ``about`` and ``about`` + 2 workers in front of the training's own step.

    ``make``: of a number of workers, a loader, or what else can be iterated over again and again. ``step`` trains on a
    batch, and waits for the device. ``most``: None is the cores of this process. ``ahead``: batches that each worker
    keeps ready (``prefetch_factor``); as many are taken before the clock starts.

    The numbers take turns, so that what else the machine does meets all of them.
    """
    most = usable_cores() if most is None else most
    counts = sorted({min(count, most) for count in (0, 1, about // 2, about, about + 2)})
    seconds: dict[int, list[float]] = {count: [] for count in counts}
    for turn in range(rounds):
        first = turn % len(counts)
        for count in counts[first:] + counts[:first]:
            taken = _endless(make(count))
            try:
                for _ in range(ahead * count + 1):
                    step(next(taken))
                began = clock()
                for _ in range(batches):
                    step(next(taken))
                seconds[count].append((clock() - began) / batches)
            finally:
                # Its workers end here, before others begin.
                taken.close()
    medians = {count: statistics.median(times) for count, times in seconds.items()}
    least = min(medians.values())
    return Searched(
        workers=next(count for count in counts if medians[count] <= (1 + _AS_FAST) * least), seconds=medians
    )


def _endless(loader: Iterable[Any]) -> Generator[Any]:
    while True:
        batch = None
        for batch in loader:
            yield batch
        if batch is None:
            raise ValueError("the loader gives no batch, so there is nothing to time")

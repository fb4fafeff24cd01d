"""Where the work of a tuning is done: on this machine, a comparison on each device at once, or on many machines.

map(work, [a, b, c])   device 0 |== a ==|== c ==|
                       device 1 |=== b ===|            a comparison stays on the device where it began
"""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from hotlap.launch.process import Limits
from hotlap.records import Environment, Facts
from hotlap.tune.arms import bounded
from hotlap.tune.bench import Bench
from hotlap.tune.options import Options
from hotlap.tune.target import Target

A = TypeVar("A")
R = TypeVar("R")


class Engine(Protocol):
    @property
    def slots(self) -> int:
        """How many comparisons run at once."""

    @property
    def apart(self) -> int:
        """How many run at once without one taking cores or storage from another, as a claim wants it."""

    def settle(self, facts: Facts, *, shares: bool) -> None:
        """Told once what the training is, and whether live changes may be switched in a running training."""

    def map(self, work: Callable[[Bench, A], R], asked: Sequence[A]) -> list[R]:
        """Do this work, each on one bench; results in the order asked.

        Raises:
            ArmFailed: as the work does.
        """

    def close(self) -> None:
        """End every training."""


class Local:
    """This machine. With several GPUs and a training that uses one of them, each GPU has a bench."""

    def __init__(self, target: Target, directory: Path, environment: Environment, limits: Limits) -> None:
        self._target, self._directory, self._environment, self._limits = target, directory, environment, limits
        self._benches = [self._bench("arms", {})]
        self._gpus = _visible_gpus(len(environment.gpus))

    @property
    def slots(self) -> int:
        return len(self._benches)

    @property
    def apart(self) -> int:
        return 1

    def settle(self, facts: Facts, *, shares: bool) -> None:
        if facts.world_size == 1 and facts.device not in (None, "cpu") and len(self._gpus) > 1:
            # The first bench trains already, on the first of them.
            self._benches += [self._bench(f"arms-gpu{gpu}", {"CUDA_VISIBLE_DEVICES": gpu}) for gpu in self._gpus[1:]]
        for bench in self._benches:
            bench.shares = shares

    def _bench(self, name: str, variables: dict[str, str]) -> Bench:
        return Bench(self._target, self._directory / name, self._environment, self._limits, variables)

    def map(self, work: Callable[[Bench, A], R], asked: Sequence[A]) -> list[R]:
        if self.slots == 1 or len(asked) == 1:
            return [work(self._benches[0], each) for each in asked]
        free: queue.SimpleQueue[Bench] = queue.SimpleQueue()
        for bench in self._benches:
            free.put(bench)

        def do(each: A) -> R:
            bench = free.get()
            try:
                return work(bench, each)
            finally:
                free.put(bench)

        pool = ThreadPoolExecutor(self.slots)
        try:
            return list(pool.map(do, asked))
        except BaseException:
            # Whoever waits for a training is told that it has ended.
            self.close()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        for bench in self._benches:
            bench.close()


def _visible_gpus(count: int) -> list[str]:
    """Names for CUDA_VISIBLE_DEVICES, of what the user lets us see."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    return [str(number) for number in range(count)]


def engine_of(target: Target, options: Options, directory: Path, here: Environment) -> Engine:
    """Raises UsageError where Ray is asked for and not installed."""
    if options.engine == "ray":
        from hotlap.tune.ray_engine import RayEngine

        return RayEngine(target, directory, options.limits)
    return Local(target, directory, here, bounded(options.limits, here))

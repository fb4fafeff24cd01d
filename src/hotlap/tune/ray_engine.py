"""Comparisons on the machines of a Ray cluster: an actor for each GPU, or for each machine without one.

    driver: search, journal ──asked──> actor on a machine: a bench with its trainings ──result──> driver

A comparison stays on the device where it began. When a machine is lost, so is what ran on it; it is asked again of
another, and everything that was measured before is in the driver's journal. The machines see the same files as the
driver at the same place, as on a cluster with a shared file system, and have hotlap installed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from hotlap.errors import RunError, UsageError
from hotlap.launch import environment
from hotlap.launch.process import Limits
from hotlap.records import Facts
from hotlap.tune.arms import bounded
from hotlap.tune.bench import Bench
from hotlap.tune.target import Target

A = TypeVar("A")
R = TypeVar("R")

#: Losses of a machine after which a piece of work is given up: it may be what ends them.
ATTEMPTS = 3


class RayEngine:
    """Raises UsageError where Ray is not installed, or has no machine."""

    def __init__(self, target: Target, directory: Path, limits: Limits, address: str | None = None) -> None:
        try:
            import ray
        except ImportError:
            raise UsageError("--engine ray needs Ray in hotlap's environment: pip install 'ray>=2.40'") from None
        self._ray: Any = ray
        # One that runs already is the user's, and stays.
        self._ours = not ray.is_initialized()
        if self._ours:
            # Nothing is told to anybody without the user's word.
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init(address=address or os.environ.get("RAY_ADDRESS"), log_to_driver=False, configure_logging=False)
        self._target, self._directory, self._limits = target, directory, limits
        self._made = 0
        self._settled: tuple[Facts, bool] | None = None
        self._actors: list[Any] = [self._actor()]

    @property
    def slots(self) -> int:
        return len(self._actors)

    @property
    def apart(self) -> int:
        return len(self._actors)

    def settle(self, facts: Facts, *, shares: bool) -> None:
        """From now on every device of the cluster has an actor."""
        self._settled = facts, shares
        self._ray.get(self._actors[0].settle.remote(shares))
        on_gpu = facts.device not in (None, "cpu")
        if facts.world_size == 1:
            alive = [node for node in self._ray.nodes() if node["Alive"]]
            devices = int(self._ray.cluster_resources().get("GPU", 0)) if on_gpu else len(alive)
            self._actors += [self._actor() for _ in range(devices - 1)]

    def map(self, work: Callable[[Bench, A], R], asked: Sequence[A]) -> list[R]:
        ray = self._ray
        results: dict[int, R] = {}
        waiting = [(index, 0) for index in range(len(asked))]
        running: dict[Any, tuple[int, int, Any]] = {}
        free = list(self._actors)
        while waiting or running:
            while waiting and free:
                (index, lost), actor = waiting.pop(0), free.pop(0)
                running[actor.do.remote(work, asked[index])] = index, lost, actor
            done, _ = ray.wait(list(running), num_returns=1)
            index, lost, actor = running.pop(done[0])
            try:
                results[index] = ray.get(done[0])
            except ray.exceptions.RayTaskError as error:
                # What the work raised, as itself.
                raise error.cause if isinstance(error.cause, Exception) else error from None
            except ray.exceptions.RayActorError as error:
                self._actors.remove(actor)
                if lost + 1 >= ATTEMPTS:
                    raise RunError(f"lost {ATTEMPTS} machines at the same measurement: {error}") from None
                waiting.insert(0, (index, lost + 1))
                if self._actors and not self._has_room():
                    continue  # the others take it over
                actor = self._actor()
                self._actors.append(actor)
            free.append(actor)
        return [results[index] for index in range(len(asked))]

    def close(self) -> None:
        for actor in self._actors:
            try:
                self._ray.get(actor.close.remote(), timeout=60)
            except self._ray.exceptions.RayError:
                continue
        if self._ours:
            self._ray.shutdown()

    def _actor(self) -> Any:
        ray = self._ray
        self._made += 1
        on_gpu = self._settled is not None and self._settled[0].device not in (None, "cpu")
        resources = {"num_gpus": 1} if on_gpu or (self._settled is None and self._has_gpus()) else {}
        # One to a machine where there is no GPU to tell two apart: cores are shared by all that runs there.
        options = {"num_cpus": 1, "scheduling_strategy": "SPREAD", **resources}
        directory = self._directory / f"arms-ray{self._made}"
        actor = ray.remote(_Machine).options(**options).remote(self._target, directory, self._limits, os.getcwd())
        if self._settled is not None:
            actor.settle.remote(self._settled[1])
        return actor

    def _has_room(self) -> bool:
        """Whether another actor would be started, and not wait for the end of one that there is."""
        kind = "GPU" if self._settled is not None and self._settled[0].device not in (None, "cpu") else "CPU"
        return bool(self._ray.available_resources().get(kind, 0) >= 1)

    def _has_gpus(self) -> bool:
        return bool(self._ray.cluster_resources().get("GPU", 0))


class _Machine:
    """The actor: a bench in a process of Ray's."""

    def __init__(self, target: Target, directory: Path, limits: Limits, cwd: str) -> None:
        os.chdir(cwd)
        here = environment()
        self.bench = Bench(target, directory, here, bounded(limits, here))

    def settle(self, shares: bool) -> None:
        self.bench.shares = shares

    def do(self, work: Callable[[Bench, Any], Any], asked: Any) -> Any:
        return work(self.bench, asked)

    def close(self) -> None:
        self.bench.close()

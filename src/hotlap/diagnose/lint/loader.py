"""Loader and cache against the machine."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from hotlap.diagnose.lint.base import ConfigRule, Setup, gib
from hotlap.records import ConfigFinding

#: What ``hotlap.data`` grants a cache at most, and the share of memory that it leaves to what is not counted.
_CACHE_SHARE, _ROOM = 0.5, 0.8


class LargeCache(ConfigRule):
    code = "CONFIG05"
    title = "The cache may take more than half of the memory"
    meaning = (
        "A cache of samples grows until it is full. What it takes is missing for the training, for batches on their "
        "way and for files that the kernel keeps, and the kernel ends a process when nothing is left."
    )
    evidence_needed = (
        "`use_ram_cache` and `cache_size_gb` against the memory of the node. The cache of `hotlap train` is one for "
        "all workers and ranks; of another project's configuration it is counted once for each process that fetches, "
        "which is what a cache in a `Dataset` comes to."
    )
    remedy = "Half of the memory at most, and one cache for all processes (`hotlap.data.SampleCache`)."
    limits = "Another project's cache may be shared already: then it is counted too often."

    def check(self, setup: Setup) -> Iterator[ConfigFinding]:
        if not setup.cache:
            return
        processes = 1 if setup.workload else setup.ranks * max(1, setup.workers or 0)
        whole, allowed = processes * setup.cache, _CACHE_SHARE * setup.memory
        if whole <= allowed:
            return
        said = f"{setup.says('cache_size_gb')}"
        if processes > 1:
            said += f" in each of {processes} processes ({setup.workers} workers x {setup.ranks} ranks)"
        fits = math.floor(10 * allowed / processes / 2**30) / 10
        advice = "Where all processes share one cache already, it is counted too often." if processes > 1 else ""
        granted = "`hotlap.data` grants no more than half." if setup.workload else "The training may be ended for it."
        yield self.finding(
            setup,
            [f"{said} is {gib(whole)}; half of the memory is {gib(allowed)}."],
            granted,
            {"cache_size_gb": fits} if fits else {"use_ram_cache": False},
            advice,
        )


class DataOverMemory(ConfigRule):
    code = "CONFIG06"
    title = "Cache and batches on their way do not fit into the memory"
    meaning = (
        "Every worker keeps `prefetch_factor` batches ready and makes another one, in every rank. Together with the "
        "cache they come to more than the memory of the node has room for."
    )
    evidence_needed = (
        "What `hotlap estimate --data` counts: ranks x (1 + workers x (prefetch + 1)) batches of float32, and the "
        "cache when it is full, against 80 % of the memory; the rest is for Python, torch, the model and files."
    )
    remedy = "Fewer workers or batches ready, a smaller cache."
    limits = (
        "The batch of apt is small and not counted. A cache is taken to become full; where the data set is smaller it "
        "does not: `hotlap estimate --data CONFIG` counts the set itself."
    )

    def check(self, setup: Setup) -> Iterator[ConfigFinding]:
        found = setup.data
        if found is None or found.worst <= _ROOM * setup.memory or found.caches_bytes > _CACHE_SHARE * setup.memory:
            return
        remedy: dict[str, Any] = {}
        last = found.remedies[-1].plan if found.remedies else None
        if last is not None and last.workers != found.plan.workers:
            remedy["num_workers"] = last.workers * (setup.ranks if setup.workers_of_all else 1)
        if last is not None and last.prefetch != found.plan.prefetch:
            remedy["prefetch_factor"] = last.prefetch
        if not remedy and setup.cache:
            free = _ROOM * setup.memory - found.batches_bytes
            remedy["cache_size_gb"] = max(0.1, math.floor(10 * free / 2**30) / 10)
        each = found.batches_bytes / found.batches / 2**20
        yield self.finding(
            setup,
            [
                f"{found.batches:,} batches of {each:,.0f} MiB ({setup.ranks} x (1 + {found.plan.workers} workers x "
                f"{found.plan.prefetch + 1})), and a cache of {gib(found.caches_bytes)}: {gib(found.worst)} at worst, "
                f"and the node has {gib(setup.memory)}."
            ],
            "The kernel ends a process when the memory is full, a worker for example, and the training with it.",
            remedy,
            "" if remedy else "Lower batch_size or the number of workers.",
        )


class MoreWorkersThanCores(ConfigRule):
    code = "CONFIG07"
    title = "There are more workers than cores"
    meaning = (
        "Workers that prepare batches share the cores with each other and with the training. With more of them than "
        "cores none becomes faster, each holds memory and batches of its own, and the training waits for a core."
    )
    evidence_needed = "Workers of all ranks against the cores that a process may use here, or `--cores`."
    remedy = (
        "As many as there are cores at most; `auto` in a configuration of `hotlap train` measures how many keep up."
    )
    limits = "Workers that wait for a disk or a network most of the time may be worth more than the cores."

    def check(self, setup: Setup) -> Iterator[ConfigFinding]:
        each = setup.workers
        if each is None or each * setup.ranks <= setup.cores:
            return
        most = setup.cores // setup.ranks
        advice = [] if most else ["Without workers nothing is loaded ahead: the training makes each batch itself."]
        if setup.workload:
            advice.append("Or auto: as many as keep up, measured at the start.")
        yield self.finding(
            setup,
            [
                f"{setup.says('num_workers')} is {each * setup.ranks} processes on {setup.ranks} "
                f"rank{'s' if setup.ranks > 1 else ''}, and there are {setup.cores} cores."
            ],
            "They take turns on the cores, and the training takes turns with them.",
            {"num_workers": most * (setup.ranks if setup.workers_of_all else 1)},
            " ".join(advice),
        )


class WithoutWorkers(ConfigRule):
    code = "CONFIG08"
    title = "The loader is told about workers, and has none"
    meaning = (
        "Workers that persist, and batches that they keep ready, need workers. Without any, batches are made by the "
        "training itself while the device waits."
    )
    evidence_needed = "`persistent_workers` or another prefetch than usual, with `num_workers` 0."
    remedy = "Workers, or the key taken back."
    limits = "Whether workers would make the training faster is not known before it runs: `hotlap profile` tells."

    def check(self, setup: Setup) -> Iterator[ConfigFinding]:
        if setup.workers != 0:
            return
        wrong = [
            key
            for key in ("persistent_workers", "prefetch_factor", "val_prefetch_factor")
            if setup.get(key) and setup.chosen(key)
        ]
        for key in wrong:
            yield self.finding(
                setup,
                [f"{setup.says(key)}, and {setup.says('num_workers')}."],
                "It has no effect."
                if setup.workload
                else "torch's DataLoader refuses it, unless the script leaves it out by itself.",
                {"num_workers": "auto"} if setup.workload else {"num_workers": min(2, setup.cores)},
                "Or take the key out.",
            )

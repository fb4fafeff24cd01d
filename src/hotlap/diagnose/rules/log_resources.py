"""What a log shows of memory, caches and the use of the device."""

from __future__ import annotations

import math

from hotlap.diagnose.memory import trend
from hotlap.diagnose.rules.base import percent, plural, size
from hotlap.diagnose.rules.log_base import LogRule
from hotlap.diagnose.thresholds import (
    CACHE_READINGS,
    GROWTH_A_STEP,
    HIT_RATE,
    HIT_RATE_GOAL,
    IDLE_DEVICE,
    NEARLY_FULL,
)
from hotlap.records import Finding, Reading, Series

_WHOSE = {"process memory": "of the process", "system memory": "of the machine", "device memory": "of the device"}


class GrowingInLog(LogRule):
    code = "LOG06"
    title = "Memory grows with the steps"
    meaning = "Something is kept of every step. When the memory is full, the training ends, perhaps after days."
    evidence_needed = (
        "At least 16 lines with memory: after the first quarter each of four parts grows, none at less than half the "
        "pace of the whole."
    )
    remedy = (
        "Look for what is appended to in every step (losses with their graph, outputs, caches without a limit). "
        "`hotlap profile -- python train.py` tells graphs that are kept from other growth, and the training from its "
        "workers."
    )
    limits = (
        "A cache of samples that fills grows in the same way until it is full. Where a log prints the peak so far, it "
        "can only grow; one that a longer sample raises now and then does not count."
    )
    risk = True

    def check(self, reading: Reading) -> Finding | None:
        for name, whose in _WHOSE.items():
            series = reading.series.get(name)
            points = [] if series is None else [each for each in _points(series) if math.isfinite(each[1])]
            found = trend(points) if points else None
            if series is not None and found is not None and found.slope >= GROWTH_A_STEP:
                each = f"an {series.counted}" if series.counted == "epoch" else f"a {series.counted}"
                evidence = [
                    f"Memory {whose} grew by {size(found.amount)} from {series.counted} {found.start:,.0f} to "
                    f"{series.counted} {found.end:,.0f}: {size(found.slope)} {each}."
                ]
                left = _until_full(reading, found.slope) if name == "system memory" else None
                return self.warning(left or "it ends when the memory is full", evidence)
        return None


class AlmostFull(LogRule):
    code = "LOG07"
    title = "Memory is nearly full"
    meaning = "A longer sample, a validation or another program can end the training."
    evidence_needed = (
        "Printed use of the machine's or the device's memory of nine tenths or more, or the training's own alarm."
    )
    remedy = (
        "Smaller caches, fewer workers or a lower prefetch factor for the machine's memory (`hotlap estimate --data` "
        "counts them); smaller micro-batches or activation checkpointing for the device's."
    )
    limits = "The machine's memory holds files that the kernel would give back, where a log counts them in."
    risk = True

    def check(self, reading: Reading) -> Finding | None:
        evidence = []
        used, total = reading.series.get("system memory"), reading.series.get("memory of the machine")
        if used is not None and total is not None and used.high >= NEARLY_FULL * total.low:
            evidence.append(f"{size(used.high)} of the machine's {size(total.low)} were in use.")
        share = reading.series.get("share of device memory")
        if share is not None and share.high >= NEARLY_FULL:
            evidence.append(f"{percent(share.high)} of the device's memory were in use.")
        evidence += [f"The training said: {said}" for said in reading.alarms]
        return self.warning("the training may be ended for its memory", evidence) if evidence else None


class LowHitRate(LogRule):
    code = "LOG08"
    title = "The cache of samples is hit too seldom"
    meaning = "A cache holds memory, and most of what is read is not in it."
    evidence_needed = "Printed hits and misses, at least 100 of them, and a rate under 60 %."
    remedy = (
        "One cache for all processes in the place of one for each, a larger one, or samples stored in fewer bytes: "
        "`hotlap estimate --data` says what fits, and `hotlap.data.SampleCache.predict` what it would hit."
    )
    limits = (
        "In the first epoch nothing can be hit, so an early rate is low in any case. What a miss costs, and whether "
        "the step waits for it, is not in these lines."
    )
    risk = True

    def check(self, reading: Reading) -> Finding | None:
        cache = reading.cache
        if cache is None or cache.hit_rate is None or cache.hit_rate >= HIT_RATE:
            return None
        if cache.hits is not None and cache.misses is not None and cache.hits + cache.misses < CACHE_READINGS:
            return None
        counted = (
            f" ({cache.hits:,} hits, {cache.misses:,} misses)"
            if cache.hits is not None and cache.misses is not None
            else ""
        )
        evidence = [f"The hit rate is {percent(cache.hit_rate)}{counted}; the goal is {percent(HIT_RATE_GOAL)}."]
        if cache.bytes is not None and cache.limit:
            evidence.append(f"The cache holds {size(cache.bytes)} of {size(cache.limit)}.")
        if cache.preloaded == 0:
            evidence.append("Nothing was loaded into it before the training.")
        return self.warning("memory is spent, and samples are read again all the same", evidence)


class IdleDevice(LogRule):
    code = "LOG10"
    title = "The device is idle for much of the time, by its own count"
    meaning = (
        "The GPU waits: for data, for Python that launches its kernels, or for a synchronisation. A wider model raises "
        "the figure and makes nothing faster; throughput is the goal, and utilization is evidence."
    )
    evidence_needed = "Mean printed GPU utilization under 50 %."
    remedy = "See what it waits for: `hotlap profile -- python train.py`."
    limits = (
        "The figure is the share of moments in which any kernel ran, so a device that is hardly used can show 100 %, "
        "and how much faster the training could be does not follow from it."
    )
    risk = True

    def check(self, reading: Reading) -> Finding | None:
        series = reading.series.get("GPU utilization")
        if series is None or not math.isfinite(series.mean) or series.mean >= IDLE_DEVICE:
            return None
        evidence = [f"{percent(series.mean)} on average over {plural(series.lines, 'line')}."]
        return self.warning("time in which nothing is computed, how much of a step is not in the log", evidence)


def _points(series: Series) -> list[tuple[float, float]]:
    return list(zip(series.step, series.value, strict=True))


def _until_full(reading: Reading, slope: float) -> str | None:
    used, total = reading.series.get("system memory"), reading.series.get("memory of the machine")
    if used is None or total is None or not used.value:
        return None
    steps = max(0.0, total.low - used.value[-1]) / slope
    return f"out of memory in about {float(f'{steps:.2g}'):,.0f} steps"

"""The memory of the data side, counted from what is known before it runs.

    samples x a sample ──> the set
    min(cache, set) x (1, or every process that fetches) ──> caches        ┐
    batches ready, in the making and in use, x a batch ──> batches         ┴──> at worst ──> against the node's memory

Pure: the same plan gives the same estimate on any machine.
"""

from __future__ import annotations

import math
import re

import msgspec

from hotlap.errors import UsageError, did_you_mean
from hotlap.records import DataEstimate, DataPlan, Part, Remedy, RemedyKind, Verdict

#: No cache over this share of the memory: what ``hotlap.data`` grants at most.
CACHE_SHARE = 0.5
#: The rest is for what is not counted here: Python, torch, the model, files. ``hotlap.data`` leaves as much.
ROOM = 0.8
#: Bytes of a number.
DTYPES = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "uint16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
}
_WIDE = ("float32", "float64")
_SHAPE = re.compile(r"[1-9]\d*(x[1-9]\d*)*")


def parts_of(text: str) -> list[Part]:
    """Read ``720x1280x3:uint8,32x720x1280``: shapes, each of float32 unless it says otherwise.

    Raises:
        UsageError: it is no such thing.
    """
    parts = []
    for word in text.replace(" ", "").split(","):
        shape, _, dtype = word.partition(":")
        if not _SHAPE.fullmatch(shape):
            raise UsageError(f"--sample {text}: {word!r} is no shape: write it as in 720x1280x3:uint8,32x720x1280")
        if (dtype or "float32") not in DTYPES:
            hint = did_you_mean(dtype, DTYPES) or f"; use one of {', '.join(DTYPES)}"
            raise UsageError(f"--sample {text}: {dtype!r} is no type of number{hint}")
        parts.append(Part(shape=[int(side) for side in shape.split("x")], dtype=dtype or "float32"))
    return parts


def bytes_of(parts: list[Part]) -> int:
    return sum(math.prod(part.shape) * DTYPES[part.dtype] for part in parts)


def compact(parts: list[Part]) -> list[Part]:
    """With every float32 or float64 as uint8: lossless for pictures and counts up to 255."""
    return [msgspec.structs.replace(part, dtype="uint8") if part.dtype in _WIDE else part for part in parts]


def estimate(plan: DataPlan) -> DataEstimate:
    """Count what a plan takes, and what changes of it would."""
    counted = _counted(plan)
    return msgspec.structs.replace(counted, remedies=_remedies(counted))


def _counted(plan: DataPlan) -> DataEstimate:
    sample = bytes_of(plan.sample)
    whole = plan.samples * sample
    processes = plan.ranks * max(1, plan.workers)
    caches = 0 if not plan.cache else processes if plan.cache_each else 1
    # Whole samples.
    each = min(plan.cache // sample, plan.samples) * sample
    # Of each worker those that are ready, and the samples of one that is put together; and the one that is trained on.
    batches = plan.ranks * (1 + (plan.workers * (plan.prefetch + 1) if plan.workers else 1))
    batch = plan.batch_size * bytes_of(plan.in_batch or plan.sample)
    worst = caches * each + batches * batch
    return DataEstimate(
        plan=plan,
        sample_bytes=sample,
        set_bytes=whole,
        processes=processes,
        caches=caches,
        cache_bytes=each,
        caches_bytes=caches * each,
        cached_share=each / whole,
        full_after=_epochs_until_full(each / whole, caches),
        batches=batches,
        batches_bytes=batches * batch,
        process_bytes=(each if plan.cache_each else 0) + (plan.prefetch + 1 if plan.workers else 2) * batch,
        worst=worst,
        verdict=_verdict(worst, caches * each, plan.memory),
    )


def _epochs_until_full(share: float, caches: int) -> float | None:
    """Of e epochs, a process sees 1 - (1 - 1/P)**e of the samples, where each epoch deals them anew to P processes."""
    if caches < 2 or not 0 < share < 1:
        return None
    return math.log(1 - share) / math.log(1 - 1 / caches)


def _verdict(worst: int, caches: int, memory: int) -> Verdict:
    if worst > memory:
        return "does not fit"
    return "tight" if caches > CACHE_SHARE * memory or worst > ROOM * memory else "fits"


def _remedies(counted: DataEstimate) -> list[Remedy]:
    """In the order in which they are made, each on top of those before."""
    plan = counted.plan
    half = int(CACHE_SHARE * plan.memory)
    found: list[Remedy] = []

    def change(kind: RemedyKind, **fields: object) -> None:
        nonlocal counted
        counted = _counted(msgspec.structs.replace(counted.plan, **fields))
        found.append(Remedy(kind=kind, plan=counted.plan, worst=counted.worst, cached_share=counted.cached_share))

    if counted.caches > 1:
        change("one cache", cache_each=False, cache=min(plan.cache, half))
    elif counted.caches_bytes > half:
        change("smaller cache", cache=half)
    elif not counted.caches and (free := min(half, int(ROOM * plan.memory) - counted.worst)) >= counted.sample_bytes:
        change("a cache", cache=min(counted.set_bytes, free))
    small = compact(plan.sample)
    if counted.caches and counted.cached_share < 1 and bytes_of(small) < counted.sample_bytes:
        change("compact", sample=small, in_batch=plan.in_batch or plan.sample)
    over = counted.worst - int(ROOM * plan.memory)
    if over > 0 and plan.workers and counted.worst > plan.memory:
        each = counted.batches_bytes // counted.batches
        # A worker has two at the least.
        allowed = (counted.batches - math.ceil(over / each)) // plan.ranks - 1
        workers = min(plan.workers, max(0, allowed // 2))
        change("fewer batches", workers=workers, prefetch=max(1, allowed // workers - 1) if workers else plan.prefetch)
    return found

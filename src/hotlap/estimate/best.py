"""The best that a device was measured, or is listed, to do: what a step is held against."""

from __future__ import annotations

import msgspec

from hotlap.estimate.rates import ARITHMETIC, timed
from hotlap.records import Calls, Rate, Rates, Work


def arithmetic(calls: list[Calls], best: Rates) -> float:
    """Seconds of the operations alone."""
    alone = [msgspec.structs.replace(call, bytes=0.0) for call in calls if call.kind in ARITHMETIC and call.flops]
    return timed(Work(calls=alone), best).seconds


def used(work: Work, best: Rates) -> dict[str, float]:
    """The best rates of what the work has, in the type in which it computes most."""
    sums: dict[tuple[str, str], float] = {}
    for call in work.calls:
        if call.kind in ARITHMETIC and call.flops:
            key = (_family(call.kind), call.dtype)
            sums[key] = sums.get(key, 0.0) + call.flops * call.count
    found = {}
    for family in ("product", "convolution"):
        dtype = max((key for key in sums if key[0] == family), key=sums.__getitem__, default=(family, ""))[1]
        rate = next((each for each in best.table if (each.kind, each.dtype) == (family, dtype)), None)
        if rate is not None:
            found[f"{family}s in {dtype}"] = rate.points[-1][1]
    return found


def _family(kind: str) -> str:
    return "convolution" if kind.startswith("convolution") else "product"


def best_of(rates: Rates) -> Rates:
    """The best of each: of any product and of any convolution, the highest bandwidth; and calls cost nothing."""
    tops: dict[tuple[str, str], float] = {}
    for each in rates.table:
        if each.kind in ARITHMETIC:
            key = (_family(each.kind), each.dtype)
            tops[key] = max(tops.get(key, 0.0), *(rate for _, rate in each.points))
    table = [Rate(kind=kind, dtype=dtype, points=[(1.0, top)]) for (kind, dtype), top in tops.items()]
    moving = next(each for each in rates.table if (each.kind, each.dtype) == ("elementwise", "float32"))
    table.append(Rate(kind="elementwise", dtype="float32", points=[(1.0, max(rate for _, rate in moving.points))]))
    return Rates(device=rates.device, table=table, overhead=0.0)

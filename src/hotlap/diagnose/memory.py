"""What memory is made of, and what kind of growth it shows. Pure functions over the record.

resident                                        ╱           grows with every step: a leak, or graphs that are kept
   │    warm-up   ╱‾‾‾‾‾‾‾‾‾‾‾‾‾ levels off    ╱            a cache that has filled: nothing
   └───────────────────────────────────────── steps
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations, pairwise
from statistics import median
from typing import NamedTuple

import msgspec

from hotlap.diagnose.context import Context
from hotlap.diagnose.inputs import grows_with_inputs, size_at
from hotlap.diagnose.thresholds import (
    COPIED,
    GRAPH_APART,
    GRAPH_COUNTS,
    GRAPH_EVEN,
    GRAPH_GROWN,
    GRAPH_NODES,
    GRAPH_STEPS,
    GRAPH_STEPS_GROWING,
    GROWTH_A_STEP,
    GROWTH_LEAST,
    GROWTH_POINTS,
    GROWTH_SHARE,
    GROWTH_STEADY,
    GROWTH_WARMUP,
    INPUT_SLACK,
)
from hotlap.records import (
    GraphCount,
    Growth,
    MemoryAccount,
    MemoryPart,
    MemoryReport,
    MemorySample,
    ProcessMemory,
    ResidentPoint,
)

#: More points than this give no better slope, and pairs grow with their square.
_MOST = 100


class Trend(NamedTuple):
    """A steady growth: units a step or a second, the least and most of four parts of it, and by how much in all."""

    slope: float
    low: float
    high: float
    start: float
    end: float
    amount: float


class Retained(NamedTuple):
    """Autograd graphs that pile up: how many tensors and nodes more after every step, between two steps."""

    tensors: float
    nodes: float
    start: int
    end: int


class Workers(NamedTuple):
    """The loader's workers, whose private memory grows: by how much a second, and how it does."""

    trend: Trend
    copied: bool
    #: What they have mapped and do not own yet: copying can add no more than this.
    left: int


def trend(points: Sequence[tuple[float, float]]) -> Trend | None:
    """Return how these (x, bytes) grow after warm-up, or None where they do not grow steadily or are too few."""
    points = points[int(len(points) * GROWTH_WARMUP) :]
    if len(points) < GROWTH_POINTS:
        return None
    parts = [slope(points[len(points) * i // 4 : len(points) * (i + 1) // 4]) for i in range(4)]
    whole, low, high = slope(points), min(parts), max(parts)
    amount = points[-1][1] - points[0][1]
    least = max(GROWTH_LEAST, GROWTH_SHARE * points[-1][1])
    if low <= 0 or low < GROWTH_STEADY * whole or amount < least:
        return None
    return Trend(whole, low, high, points[0][0], points[-1][0], amount)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Theil-Sen: the median of the slopes of all pairs. Up to 29 % of the points may be anything."""
    thinned = points[:: 1 + len(points) // _MOST]
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(thinned, 2) if b[0] > a[0]]
    return median(slopes) if slopes else 0.0


def growth(context: Context) -> Growth | None:
    """Return how the training process grows with its steps, without what it shares (mapped files, batches)."""
    return _growth(context, context.run.memory.points, private, room(context))


def device_growth(context: Context) -> Growth | None:
    points = [point for point in context.run.memory.points if point.device is not None]
    account = context.run.memory.account
    free = account.total - allocated(points[-1]) if account and account.total and points else None
    return _growth(context, points, allocated, free)


def private(point: ResidentPoint) -> int:
    return point.bytes - point.shared


def allocated(point: ResidentPoint) -> int:
    return point.device or 0


def _growth(
    context: Context, points: Sequence[ResidentPoint], of: Callable[[ResidentPoint], int], free: int | None
) -> Growth | None:
    found = trend([(float(point.i), float(of(point))) for point in points])
    if found is None or found.slope < GROWTH_A_STEP:
        return None
    grown = Growth(
        slope=found.slope,
        low=found.low,
        high=found.high,
        start=int(found.start),
        end=int(found.end),
        bytes=int(found.amount),
        steps_left=None if free is None else int(max(0, free) / found.slope),
    )
    explained = context.inputs is not None and grows_with_inputs(
        points, [of(point) for point in points], grown, context.run.memory.account
    )
    return msgspec.structs.replace(grown, with_inputs=True, steps_left=None) if explained else grown


def room(context: Context) -> int | None:
    """Bytes that this training may still take; None where the limit or what it holds is not known."""
    limit, memory = context.run.info.environment.memory, context.run.memory
    if limit is None:
        return None
    if memory.samples:
        known = held(memory.samples[-1])
        if known is not None:
            return limit - known
    return limit - memory.points[-1].bytes * context.facts.world_size if memory.points else None


def held(sample: MemorySample) -> int | None:
    """Bytes of all processes that no file backs; None where the kernel does not tell."""
    known = [process.held for process in sample.processes if process.held is not None]
    return sum(known) if len(known) == len(sample.processes) else None


def retained(context: Context) -> Retained | None:
    """Return how autograd graphs pile up, or None where they do not, or where it was not counted often enough."""
    counts = context.run.memory.graphs
    if len(counts) < GRAPH_COUNTS:
        return None
    if graphs_go_with_inputs(context):
        return None
    first, last = counts[0], counts[-1]
    found = _retained(_apart(counts), GRAPH_STEPS)
    if found is not None or context.inputs is not None:
        return found
    moved = grown_between(context, first.i, last.i) or 0
    grows = moved >= GRAPH_GROWN or growth(context) is not None or device_growth(context) is not None
    return _retained(counts, GRAPH_STEPS_GROWING) if grows else None


def graphs_go_with_inputs(context: Context) -> bool:
    """Whether there are no more graphs in the last count than growing inputs make.

    A loop over the parts of a sample makes a graph as long as the sample, and the last one is always there.
    """
    counts = context.run.memory.graphs
    if context.inputs is None or not counts:
        return False
    first, last = (size_at(context.run.memory.points, count.i) or 1 for count in (counts[0], counts[-1]))
    return counts[-1].nodes <= INPUT_SLACK * counts[0].nodes * last / first


def grown_between(context: Context, start: int, end: int) -> int | None:
    """Bytes by which the process grew, evenly or not; None where it was not looked at often enough."""
    points = [point for point in context.run.memory.points if start <= point.i <= end]
    return private(points[-1]) - private(points[0]) if len(points) > 1 else None


def _apart(counts: Sequence[GraphCount]) -> list[GraphCount]:
    kept = [counts[0]]
    for count in counts[1:]:
        if count.i >= kept[-1].i + GRAPH_APART:
            kept.append(count)
    return kept


def _retained(counts: Sequence[GraphCount], least: int) -> Retained | None:
    if len(counts) < GRAPH_COUNTS or counts[-1].i - counts[0].i < least:
        return None
    rates = [(b.nodes - a.nodes) / (b.i - a.i) for a, b in pairwise(counts)]
    if min(rates) < GRAPH_NODES or max(rates) > GRAPH_EVEN * min(rates):
        return None
    first, last = counts[0], counts[-1]
    steps = last.i - first.i
    return Retained((last.tensors - first.tensors) / steps, (last.nodes - first.nodes) / steps, first.i, last.i)


def workers(context: Context) -> Workers | None:
    """Return how the private memory of the loader's workers grows, or None where it does not."""
    seen = [(sample.t, of(sample, "worker")) for sample in context.run.memory.samples]
    last = {each.pid for each in seen[-1][1]} if seen else set()
    # Workers that are started again begin anew, so only those that still live are followed, since all are there.
    since = [(t, found) for t, found in seen if last and {each.pid for each in found} == last]
    grown = trend([(t, float(sum(each.uss for each in found))) for t, found in since])
    if grown is None:
        return None
    mapped = [sum(each.rss for each in found) for t, found in since if t >= grown.start]
    left = mapped[-1] - sum(each.uss for each in since[-1][1])
    return Workers(grown, mapped[-1] - mapped[0] < COPIED * grown.amount, left)


def of(sample: MemorySample, role: str) -> list[ProcessMemory]:
    return [process for process in sample.processes if process.role == role]


def memory_report(context: Context, dataset_said: list[str]) -> MemoryReport:
    """``dataset_said``: what ``held`` says of the dataset."""
    memory = context.run.memory
    parts, peak, phase = _parts(memory.account) if memory.account else ([], None, None)
    # The last look may have come when the training was on its way out.
    whole = [sample for sample in memory.samples if of(sample, "trainer")]
    fullest = max(whole, key=lambda sample: sum(each.pss for each in sample.processes), default=None)
    below = of(fullest, "worker") if fullest else []
    return MemoryReport(
        device=memory.account.device if memory.account else None,
        parts=parts,
        peak=peak,
        peak_phase=phase,
        trainer=of(fullest, "trainer")[0] if fullest else None,
        workers=len(below),
        workers_rss=sum(each.rss for each in below),
        workers_pss=sum(each.pss for each in below),
        workers_uss=sum(each.uss for each in below),
        swap=sum(each.swap for each in fullest.processes) if fullest else 0,
        growth=growth(context),
        device_growth=device_growth(context),
        workers_growth=_workers_sentence(context),
        dataset=memory.dataset,
        dataset_said=dataset_said,
    )


def _parts(account: MemoryAccount) -> tuple[list[MemoryPart], int | None, str | None]:
    sizes = {
        "parameters": account.parameters,
        "buffers": account.buffers,
        "gradients": account.gradients,
        "optimizer state": account.optimizer,
        "inputs": account.inputs,
        "activations": account.activations,
    }
    known = {name: size for name, size in sizes.items() if size}
    if not account.moments:
        return [], None, None
    peak = max(account.moments.values())
    # Memory that moves by less than this was not taken by a phase.
    moved = peak - account.moments.get("before", peak) > 0.005 * peak
    phase = next(name for name, used in account.moments.items() if used == peak) if moved else None
    if peak > sum(known.values()):
        known["other"] = peak - sum(known.values())
    return [MemoryPart(name=name, bytes=size, share=size / peak) for name, size in known.items()], peak, phase


def _workers_sentence(context: Context) -> str | None:
    found = workers(context)
    if found is None:
        return None
    grown = f"The private memory of the workers grew by {found.trend.amount / 1e6:,.0f} MB"
    over = f"in {found.trend.end - found.trend.start:.0f} s"
    if found.copied:
        return (
            f"{grown} {over} while what they have mapped stayed: pages shared with the training are copied on write, "
            f"at most {found.left / 1e6:,.0f} MB more."
        )
    return f"{grown} {over}, and what they have mapped grew with it."

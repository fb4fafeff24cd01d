"""The charts of the pages, each a function from records to SVG, or to nothing where there is nothing to draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import NamedTuple

from markupsafe import Markup

from hotlap.diagnose import core
from hotlap.records import Budget, Diagnosis, Effect, Run, SameTraining, Tuning
from hotlap.report import figures as svg
from hotlap.report import text, view

#: More points than a screen has pixels only make the page heavy.
_MOST_POINTS = 600
#: Characters of a label per per cent of the widest chart (about 940 pixels).
_CHARACTERS = 1.25


def phase_bars(bars: Sequence[tuple[str, Diagnosis]]) -> Markup:
    """Return a step as one stacked bar per diagnosis, on one axis of milliseconds."""
    stacks = [(name, view.leaves(diagnosis.phases)) for name, diagnosis in bars]
    totals = [math.fsum(stack.values()) for _, stack in stacks]
    if not max(totals, default=0.0) > 0:
        return Markup("")
    unit = text.unit(totals)
    scale = svg.Scale(0.0, max(totals) / unit.factor, 0.0, 100.0)
    parts: list[Markup] = []
    y = 14.0
    for (name, stack), total in zip(stacks, totals, strict=True):
        if name:
            parts.append(svg.label(0, y, f"{name}: {unit(total)}", class_="row"))
        parts += _stack(stack.items(), total, unit, scale, y + 7 if name else y - 8, 34)
        y += 68.0 if name else 34.0
    bottom = y - 16
    parts += svg.horizontal_axis(scale, bottom, f"mean time of a step by phase ({unit.name})")
    words = "; ".join(f"{name or 'a step'} {unit(total)}" for (name, _), total in zip(stacks, totals, strict=True))
    return svg.svg(bottom + 38, f"Time of a step by phase: {words}", *parts)


def budget_bar(budget: Budget) -> Markup:
    """Return the wall clock of the process as one stacked bar."""
    rows = [(name, value) for name, value in view.budget_rows(budget) if value > 0]
    total = math.fsum(value for _, value in rows)
    if not total > 0:
        return Markup("")
    unit = text.unit([total])
    scale = svg.Scale(0.0, total / unit.factor, 0.0, 100.0)
    parts = [*_stack(rows, total, unit, scale, 4, 34)]
    parts += svg.horizontal_axis(scale, 40, f"wall clock of the process ({unit.name})")
    return svg.svg(78, f"Wall clock of the process: {unit(total)}", *parts)


class Row(NamedTuple):
    """A line of the pairs plot."""

    name: str
    note: str
    effect: Effect
    class_: str


def pairs(rows: Sequence[Row]) -> Markup:
    """Return every pair's ratio as a dot, with interval and estimate, one line per change, on one axis."""
    rows = [row for row in rows if text.known(row.effect.ratio)]
    if not rows:
        return Markup("")
    ends = [1.0] + [value for row in rows for value in (row.effect.low, row.effect.high, row.effect.ratio)]
    ends = [value for value in ends if math.isfinite(value)]
    # A pair that a stall spoilt must not squeeze the others: beyond this it is drawn at the edge.
    room = 0.6 * (max(ends) - min(ends)) + 0.05
    shown = [pair for row in rows for pair in row.effect.pairs if min(ends) - room <= pair <= max(ends) + room]
    low, high = min(ends + shown), max(ends + shown)
    margin = 0.04 * (high - low) + 0.005
    scale = svg.Scale(max(0.0, low - margin), high + margin, 1.0, 99.0)
    bottom = 8.0 + 50 * len(rows)
    parts = svg.horizontal_axis(scale, bottom, "throughput against what it was compared with (ratio)", top=4)
    parts.append(svg.line(scale(1), 4, scale(1), bottom, "one"))
    for i, row in enumerate(rows):
        y = 8.0 + 50 * i
        effect = row.effect
        parts.append(svg.label(1, y + 13, row.name, class_="row halo"))
        parts.append(svg.label(99, y + 13, row.note, anchor="end", class_="tick halo"))
        y += 30
        if math.isfinite(effect.low) and math.isfinite(effect.high):
            start, end = scale.inside(effect.low), scale.inside(effect.high)
            tooltip = f"{row.name}: {text.effect_sentence(effect, '×')}"
            parts.append(svg.bar(start, y - 8, max(end - start, 0.3), 16, f"interval {row.class_}", tooltip))
        for k, pair in enumerate(effect.pairs):
            tooltip = f"{row.name}, pair {k + 1}: {text.ratio(pair, '×')}"
            if not math.isfinite(pair):
                continue
            if scale.low <= pair <= scale.high:
                parts.append(svg.dot(scale(pair), y, f"pair {row.class_}", tooltip))
            else:
                parts.append(svg.triangle(scale.inside(pair), y, "beyond", f"{tooltip}, beyond the axis"))
        middle = scale.inside(effect.ratio)
        parts.append(svg.line(middle, y - 11, middle, y + 11, f"middle {row.class_}"))
    words = "; ".join(f"{row.name} {text.effect_sentence(row.effect, '×')}" for row in rows)
    return svg.svg(bottom + 38, f"Ratio of throughput, pair by pair: {words}", *parts)


def tuning_pairs(tuning: Tuning) -> Markup:
    rows = [Row("no-op arm", "changes nothing", tuning.no_op, "quiet")]
    for trial in tuning.trials:
        if trial.effect is not None:
            rows.append(Row(trial.change.id, view.fate(trial), trial.effect, "kept" if trial.kept else "quiet"))
    if tuning.effect is not None:
        rows.append(Row("all that was kept", "against the baseline", tuning.effect, "final"))
    return pairs(rows)


def loss_curves(same: SameTraining) -> list[tuple[str, Markup]]:
    """Return one chart per seed, titled: the baseline's loss and the candidate's over the steps."""
    charts = []
    for seed in range(max(len(same.baseline_losses), len(same.candidate_losses))):
        curves = [
            (name, losses[seed], class_)
            for name, losses, class_ in (
                ("baseline", same.baseline_losses, "baseline"),
                ("candidate", same.candidate_losses, "candidate"),
            )
            if seed < len(losses)
        ]
        chart = _losses(curves, f"Loss over the steps, seed {seed + 1}")
        if chart:
            charts.append((f"Seed {seed + 1}", chart))
    return charts


def memory_bars(tuning: Tuning) -> Markup:
    """Return the peak memory of the baseline and of each trial where it is known."""
    rows: list[tuple[str, int, str]] = []
    baseline = view.peak(tuning.facts)
    if baseline:
        rows.append(("baseline", baseline, "quiet"))
    for trial in tuning.trials:
        if trial.peak_memory:
            rows.append((trial.change.id, trial.peak_memory, "kept" if trial.kept else "quiet"))
    if not any(name != "baseline" for name, _, _ in rows):
        return Markup("")
    largest = max(value for _, value, _ in rows)
    factor, unit = (1e9, "GB") if largest >= 1e9 else (1e6, "MB")
    scale = svg.Scale(0.0, largest / factor, 0.0, 100.0)
    parts: list[Markup] = []
    for i, (name, value, class_) in enumerate(rows):
        y = 4.0 + 40 * i
        parts.append(svg.label(0, y + 11, f"{name}: {text.size(value)}", class_="row"))
        parts.append(svg.bar(0, y + 17, scale(value / factor), 14, f"memory {class_}", f"{name}: {text.size(value)}"))
    bottom = 6.0 + 40 * len(rows)
    parts += svg.horizontal_axis(scale, bottom, f"peak memory ({unit})")
    return svg.svg(bottom + 38, "Peak memory of the baseline and of the trials", *parts)


def step_times(run: Run, diagnosis: Diagnosis) -> Markup:
    """Return the time of each step, with warm-up shaded, the median drawn and outliers as triangles."""
    times = [core(step) for step in run.steps]
    if not times:
        return Markup("")
    unit = text.unit([diagnosis.step_seconds])
    values = [value / unit.factor for value in times]
    apart = set(diagnosis.outliers)
    ordinary = [value for i, value in enumerate(values) if i >= diagnosis.steady_from and i not in apart] or values
    top = min(max(values), 1.6 * max(max(ordinary), median(ordinary)))
    height, bottom = 220.0, 200.0
    across = svg.Scale(0.0, max(len(values) - 1, 1), svg.LEFT, svg.RIGHT)
    down = svg.Scale(0.0, top * 1.05 or 1.0, bottom, 26.0)
    parts = []
    if diagnosis.steady_from > 0:
        width = across(min(diagnosis.steady_from - 0.5, len(values) - 1)) - svg.LEFT
        tooltip = f"warm-up: the first {text.plural(diagnosis.steady_from, 'step')}"
        parts.append(svg.bar(svg.LEFT, 22, max(width, 0.3), bottom - 22, "warmup", tooltip))
    parts += svg.vertical_axis(down, f"time of a step without validation, saving and logging ({unit.name})")
    stride = math.ceil(len(values) / _MOST_POINTS)
    for i, value in enumerate(values):
        kind = "warm-up" if i < diagnosis.steady_from else "outlier" if i in apart else "steady"
        tooltip = f"step {run.steps[i].i}: {text.seconds(times[i])} ({kind})"
        if value > down.high or i in apart:
            above = ", beyond the axis" if value > down.high else ""
            parts.append(svg.triangle(across(i), down.inside(value), f"mark {kind}", tooltip + above))
        elif i % stride == 0 or i < diagnosis.steady_from:
            parts.append(svg.dot(across(i), down(value), f"step {kind}", tooltip, 2.2))
    middle = down.inside(diagnosis.step_seconds / unit.factor)
    parts.append(svg.line(svg.LEFT, middle, svg.RIGHT, middle, "median"))
    parts += svg.horizontal_axis(across, bottom, "step")
    return svg.svg(height + 18, f"Time of each of {len(values)} steps", *parts)


def _losses(curves: Sequence[tuple[str, Sequence[float | None], str]], title: str) -> Markup:
    values = [value for _, losses, _ in curves for value in losses if value is not None and math.isfinite(value)]
    longest = max((len(losses) for _, losses, _ in curves), default=0)
    if not values:
        return Markup("")
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    bottom = 180.0
    down = svg.Scale(low - margin, high + margin, bottom, 24.0)
    inner = svg.Scale(0.0, max(longest - 1, 1), 0.0, 1000.0)
    stride = math.ceil(longest / _MOST_POINTS)
    parts = svg.vertical_axis(down, "loss")
    for _, losses, class_ in curves:
        points = _points(losses[::stride], lambda i: inner(i * stride), down)
        parts.append(svg.curve(points, bottom, f"loss {class_}"))
    across = svg.Scale(0.0, max(longest - 1, 1), svg.LEFT, svg.RIGHT)
    parts += svg.horizontal_axis(across, bottom, "step")
    return svg.svg(bottom + 38, title, *parts)


def _points(
    values: Sequence[float | None], across: Callable[[int], float], down: svg.Scale
) -> list[tuple[float, float] | None]:
    return [
        (across(i), down(value)) if value is not None and math.isfinite(value) else None
        for i, value in enumerate(values)
    ]


def _stack(
    items: Iterable[tuple[str, float]], total: float, unit: text.Unit, scale: svg.Scale, y: float, height: float
) -> list[Markup]:
    parts, start = [], 0.0
    for name, value in items:
        x, end = scale(start / unit.factor), scale((start + value) / unit.factor)
        gap = min(0.15, 0.2 * (end - x))
        inside = name if (end - x) * _CHARACTERS > len(name) + 1 else ""
        tooltip = f"{name}: {unit(value)} ({text.percent(value / total)})"
        parts.append(svg.bar(x, y, end - x - gap, height, f"phase-{name}", tooltip, inside))
        start += value
    return parts

"""The charts of the pages, each a function from records to SVG, or to nothing where there is nothing to draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from markupsafe import Markup

from hotlap.diagnose import core
from hotlap.records import Comparison, Diagnosis, Effect, Run, SameTraining, Tuning
from hotlap.report import figures as svg
from hotlap.report import text, verdicts, view

#: More points than a screen has pixels only make the page heavy.
_MOST_POINTS = 500
_MOST_PAIRS = 150
#: Steps of the warm-up that are drawn one by one however many steps there are.
_WARMUP_SHOWN = 20
#: Characters of a label per per cent of the narrowest chart that shows labels inside bars (700 pixels).
_CHARACTERS = 1.0
#: Characters of a label beside another one that a telephone shows without touching.
_NAME = 26
#: A loss beyond this has diverged, and is left out like NaN.
_LARGEST = 1e30


def phase_bars(bars: Sequence[tuple[str, Diagnosis]]) -> Markup:
    """Return a step as one stacked bar per diagnosis, on one axis of time."""
    parts = [(name, view.leaves(diagnosis.phases)) for name, diagnosis in bars]
    return stacks(parts, "Time of a step by phase", "mean time of a step by phase")


def budget_bars(bars: Sequence[tuple[str, Diagnosis]]) -> Markup:
    """Return the wall clock of the process as one stacked bar per diagnosis, on one axis of time."""
    parts = [(name, dict(view.budget_rows(diagnosis.budget))) for name, diagnosis in bars]
    return stacks(parts, "Wall clock of the process", "wall clock of the process")


class Row(NamedTuple):
    """A line of the pairs plot."""

    name: str
    note: str
    effect: Effect
    class_: str


def pairs(rows: Sequence[Row]) -> Markup:
    """Return every pair's ratio as a dot, with interval and estimate, one line per change, on one axis."""
    rows = [row for row in rows if text.known(row.effect.ratio) and row.effect.n > 0]
    if not rows:
        return Markup("")
    scale = _ratios([row.effect for row in rows])
    bottom = 8.0 + 50 * len(rows)
    parts = svg.horizontal_axis(scale, bottom, "against the reference (ratio)", top=4)
    parts.append(svg.line(scale(1), 4, scale(1), bottom, "one"))
    for i, row in enumerate(rows):
        y = 8.0 + 50 * i
        parts.append(svg.label(1, y + 13, text.shorten(row.name, _NAME), class_="row halo"))
        parts.append(svg.label(99, y + 13, row.note, anchor="end", class_="tick halo"))
        parts += _pairs_row(row, scale, y + 30)
    words = "; ".join(f"{row.name} {text.effect_sentence(row.effect, '×')}" for row in rows)
    return svg.svg(bottom + 38, "Ratio to the reference, pair by pair", words, *parts)


def _ratios(effects: Sequence[Effect]) -> svg.Scale:
    """Return an axis that holds 1, the estimates and the known ends, whatever single pairs did."""
    ends = [1.0]
    for effect in effects:
        ends += [end for end in (*text.bounded(effect), effect.ratio) if end is not None]
    # A pair that a stall spoilt must not squeeze the others: beyond this it is drawn at the edge.
    room = 0.6 * (max(ends) - min(ends)) + 0.05
    seen = [pair for effect in effects for pair in effect.pairs if min(ends) - room <= pair <= max(ends) + room]
    low, high = min(ends + seen), max(ends + seen)
    margin = 0.04 * (high - low) + 0.005
    return svg.Scale(max(0.0, low - margin), high + margin, 1.0, 99.0)


def _pairs_row(row: Row, scale: svg.Scale, y: float) -> list[Markup]:
    parts, effect = [], row.effect
    low, high = text.bounded(effect)
    if low is not None or high is not None:
        start = scale.start if low is None else scale.inside(low)
        end = scale.end if high is None else scale.inside(high)
        tooltip = f"{row.name}: {text.effect_sentence(effect, '×')}"
        parts.append(svg.bar(start, y - 8, max(end - start, 0.3), 16, f"interval {row.class_}", tooltip))
    for k, pair in enumerate(effect.pairs[:_MOST_PAIRS]):
        tooltip = f"{row.name}, pair {k + 1}: {text.ratio(pair, '×')}"
        if not math.isfinite(pair):
            continue
        if scale.low <= pair <= scale.high:
            parts.append(svg.dot(scale(pair), y, f"pair {row.class_}", tooltip))
        else:
            parts.append(svg.triangle(scale.inside(pair), y, "beyond", f"{tooltip}, beyond the axis"))
    middle = scale.inside(effect.ratio)
    return [*parts, svg.line(middle, y - 11, middle, y + 11, f"middle {row.class_}")]


def tuning_pairs(tuning: Tuning) -> Markup:
    rows = [Row("no-op", "changes nothing", tuning.no_op, "quiet")]
    rows += [
        Row(trial.id, verdicts.fate(trial), trial.effect, "kept" if trial.kept else "quiet")
        for trial in tuning.trials
        if trial.effect is not None
    ]
    if tuning.effect is not None:
        rows.append(Row("all that was kept", "fresh processes", tuning.effect, "final"))
    return pairs(rows)


def comparison_pairs(comparison: Comparison) -> Markup:
    return pairs([Row("B against A", comparison.judgement, comparison.effect, "final")])


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


def losses(run: Run) -> Markup:
    """Return the loss of each step of a run."""
    return _losses([("loss", [step.loss for step in run.steps], "alone")], "Loss over the steps")


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
    parts += svg.vertical_axis(down, f"step time without what is between steps ({unit.name})")
    stride = math.ceil(len(values) / _MOST_POINTS)
    marks = 0
    for i, value in enumerate(values):
        kind = "warm-up" if i < diagnosis.steady_from else "outlier" if i in apart else "steady"
        tooltip = f"step {run.steps[i].i}: {text.seconds(times[i])} ({kind})"
        if value > down.high or i in apart:
            above = ", beyond the axis" if value > down.high else ""
            marks += 1
            if marks > _MOST_POINTS:
                continue
            parts.append(svg.triangle(across(i), down.inside(value), f"mark {kind}", tooltip + above))
        elif i % stride == 0 or i < _WARMUP_SHOWN:
            parts.append(svg.dot(across(i), down(value), f"step {kind}", tooltip, 2.2))
    middle = down.inside(diagnosis.step_seconds / unit.factor)
    parts.append(svg.line(svg.LEFT, middle, svg.RIGHT, middle, "median"))
    parts += svg.horizontal_axis(across, bottom, "step")
    words = f"median {text.seconds(diagnosis.step_seconds)}, steady from step {diagnosis.steady_from}"
    return svg.svg(height + 18, f"Time of each of {len(values)} steps", words, *parts)


def _losses(curves: Sequence[tuple[str, Sequence[float | None], str]], title: str) -> Markup:
    values = [value for _, losses, _ in curves for value in losses if value is not None and abs(value) < _LARGEST]
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
    return svg.svg(bottom + 38, title, "; ".join(_ends(name, losses) for name, losses, _ in curves), *parts)


def _ends(name: str, losses: Sequence[float | None]) -> str:
    known = [value for value in losses if value is not None and abs(value) < _LARGEST]
    missing = (
        f", {len(losses) - len(known)} of {len(losses)} not finite or not known" if len(known) < len(losses) else ""
    )
    span = f"from {text.figure(known[0])} to {text.figure(known[-1])}" if known else "n/a"
    return f"{name} {span}{missing}"


def _points(
    values: Sequence[float | None], across: Callable[[int], float], down: svg.Scale
) -> list[tuple[float, float] | None]:
    return [
        (across(i), down(value)) if value is not None and abs(value) < _LARGEST else None
        for i, value in enumerate(values)
    ]


def stacks(
    bars: Sequence[tuple[str, Mapping[str, float]]],
    title: str,
    axis: str,
    unit_of: Callable[[Iterable[float]], text.Unit] = text.unit,
) -> Markup:
    """Return stacked bars below each other; a part that is negative, which a clock can make of nothing, is left out."""
    shown = [(name, {part: value for part, value in stack.items() if value > 0}) for name, stack in bars]
    totals = [math.fsum(stack.values()) for _, stack in shown]
    if not max(totals, default=0.0) > 0:
        return Markup("")
    unit = unit_of(totals)
    scale = svg.Scale(0.0, max(totals) / unit.factor, 0.0, 100.0)
    parts: list[Markup] = []
    y = 0.0
    for (name, stack), total in zip(shown, totals, strict=True):
        if name:
            parts.append(svg.label(0, y + 14, f"{name}: {unit(total)}", class_="row"))
            y += 21
        parts += _stack(stack.items(), total, unit, scale, y, 34)
        y += 46
    parts += svg.horizontal_axis(scale, y - 10, f"{axis} ({unit.name})")
    words = ". ".join(
        ", ".join([f"{name or 'total'} {unit(total)}", *(f"{part} {unit(value)}" for part, value in stack.items())])
        for (name, stack), total in zip(shown, totals, strict=True)
    )
    return svg.svg(y + 28, title, words, *parts)


def _stack(
    items: Iterable[tuple[str, float]], total: float, unit: text.Unit, scale: svg.Scale, y: float, height: float
) -> list[Markup]:
    parts, start = [], 0.0
    for name, value in items:
        x, end = scale(start / unit.factor), scale((start + value) / unit.factor)
        gap = min(0.15, 0.2 * (end - x))
        inside = name if (end - x) * _CHARACTERS > len(name) + 1 else ""
        tooltip = f"{name}: {unit(value)} ({text.percent(value / total)})"
        parts.append(svg.bar(x, y, end - x - gap, height, f"phase-{name.replace(' ', '_')}", tooltip, inside))
        start += value
    return parts

"""The charts about memory: of a step, over the steps, and of what a tuning tried. Nothing to draw gives nothing."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from hotlap.records import Diagnosis, MemoryAccount, Run, Tuning
from hotlap.report import charts, pareto, text, view
from hotlap.report import figures as svg

#: Characters of a label beside another one that a telephone shows without touching.
_NAME = 26
#: The moments of a step at which memory was looked at, in its order.
_MOMENTS = {
    "before": "before the step",
    "forward": "after forward",
    "backward": "after backward",
    "optimizer": "after the optimizer",
}


def moments(account: MemoryAccount | None) -> Markup:
    """Return the memory in use at the moments of the step that was looked at, one bar each."""
    known = account.moments if account is not None else {}
    rows = [(words, known[name]) for name, words in _MOMENTS.items() if name in known]
    if len(rows) < 2:
        return Markup("")
    before = known.get("before")
    labels = [
        (name, used, _difference(used, before) if name != _MOMENTS["before"] else "", "final") for name, used in rows
    ]
    return _bars(labels, "memory in use", "Memory in use through the step")


def parts(diagnosis: Diagnosis) -> Markup:
    """Return what the peak of a step is made of as one stacked bar."""
    made = {part.name: float(part.bytes) for part in diagnosis.memory.parts}
    return charts.stacks([("", made)], "What the peak of a step is made of", "memory", text.size_unit)


def course(run: Run) -> Markup:
    """Return the memory of the training process over the steps, and of the GPU where there is one."""
    points = run.memory.points
    if len(points) < 3:
        return Markup("")
    lines = [("process", [(point.i, float(point.bytes)) for point in points], "alone")]
    device = [(point.i, float(point.device)) for point in points if point.device is not None]
    if len(device) > 2:
        lines.append(("GPU", device, "candidate"))
    unit = text.size_unit(value for _, line, _ in lines for _, value in line)
    bottom = 180.0
    first, last = points[0].i, points[-1].i
    top = max(value for _, line, _ in lines for _, value in line) / unit.factor
    down = svg.Scale(0.0, 1.08 * top or 1.0, bottom, 24.0)
    inner = svg.Scale(first, max(last, first + 1), 0.0, 1000.0)
    drawn = svg.vertical_axis(down, f"resident memory ({unit.name})")
    for name, line, class_ in lines:
        if len(lines) > 1:
            above = down(line[-1][1] / unit.factor) - 6
            drawn.append(svg.label(svg.RIGHT, above, name, anchor="end", class_="tick halo"))
        drawn.append(svg.curve([(inner(i), down(value / unit.factor)) for i, value in line], bottom, f"loss {class_}"))
    drawn += svg.horizontal_axis(svg.Scale(first, max(last, first + 1), svg.LEFT, svg.RIGHT), bottom, "step")
    words = "; ".join(f"{name} from {unit(line[0][1])} to {unit(line[-1][1])}" for name, line, _ in lines)
    return svg.svg(bottom + 38, "Memory over the steps", words, *drawn)


def peaks(tuning: Tuning) -> Markup:
    """Return the peak memory of the baseline and of each trial where it is known: of the GPU where there is one."""
    if not any(trial.peak_memory for trial in tuning.trials):
        return Markup("")
    rows: list[tuple[str, int, str, str]] = []
    baseline = view.peak(tuning.facts)
    if baseline:
        rows.append(("baseline", baseline, "", "quiet"))
    rows += [
        (trial.id, trial.peak_memory, "", "kept" if trial.kept else "quiet")
        for trial in tuning.trials
        if trial.peak_memory
    ]
    return _bars(rows, "peak memory", "Peak memory of the baseline and of the trials")


def speed_and_memory(points: Sequence[pareto.Point]) -> Markup:
    """Return each set as a dot: to the right what is faster, below what is smaller. Numbers are those of the table."""
    if len(points) < 2:
        return Markup("")
    unit = text.size_unit([float(point.peak) for point in points])
    speeds = [point.speed for point in points]
    room = 0.08 * (max(speeds) - min(speeds)) or 0.05
    bottom = 200.0
    across = svg.Scale(max(0.0, min(speeds) - room), max(speeds) + room, svg.LEFT, svg.RIGHT)
    down = svg.Scale(0.0, 1.1 * max(point.peak for point in points) / unit.factor, bottom, 26.0)
    drawn = svg.vertical_axis(down, f"peak memory ({unit.name})")
    drawn += svg.horizontal_axis(across, bottom, "speed against the baseline (ratio)")
    for number, point in enumerate(points, 1):
        x, y = across(point.speed), down(point.peak / unit.factor)
        tooltip = f"{number}. {point.label}: {text.ratio(point.speed, '×')}, {text.size(point.peak)}"
        drawn.append(svg.dot(x, y, "kept" if point.front else "quiet", tooltip, 5.0 if point.front else 4.0))
        drawn.append(svg.label(x, y - 9, str(number), anchor="middle", class_="tick halo"))
    words = "; ".join(
        f"{point.label} {text.ratio(point.speed, '×')} {text.size(point.peak)}{', on the front' if point.front else ''}"
        for point in points
    )
    return svg.svg(bottom + 38, "Speed against peak memory", words, *drawn)


def _difference(used: int, before: int | None) -> str:
    if before is None or used == before:
        return ""
    return f" ({'+' if used > before else '−'}{text.size(abs(used - before))})"


def _bars(rows: Sequence[tuple[str, int, str, str]], axis: str, title: str) -> Markup:
    """``rows``: name, bytes, what stands behind them, and class."""
    unit = text.size_unit([float(used) for _, used, _, _ in rows])
    scale = svg.Scale(0.0, max(used for _, used, _, _ in rows) / unit.factor or 1.0, 0.0, 100.0)
    drawn: list[Markup] = []
    for i, (name, used, behind, class_) in enumerate(rows):
        y = 4.0 + 40 * i
        words = f"{name}: {text.size(used)}{behind}"
        drawn.append(svg.label(0, y + 11, f"{text.shorten(name, _NAME)}: {text.size(used)}{behind}", class_="row"))
        drawn.append(svg.bar(0, y + 17, scale(used / unit.factor), 14, f"memory {class_}", words))
    bottom = 6.0 + 40 * len(rows)
    drawn += svg.horizontal_axis(scale, bottom, f"{axis} ({unit.name})")
    words = "; ".join(f"{name} {text.size(used)}" for name, used, _, _ in rows)
    return svg.svg(bottom + 38, title, words, *drawn)

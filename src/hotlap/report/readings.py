"""What a log says, for the terminal: each figure with where it is from, what follows, and how not to misread it."""

from __future__ import annotations

import math

from rich.console import RenderableType

from hotlap.diagnose import rule
from hotlap.records import Figure, Finding, LogDiagnosis, Reading, Series, Span
from hotlap.report import text, view
from hotlap.report.blocks import Report, blank, bullets, filled, heading, labelled, line, prose, table

_BAR = 16
#: Spans of a timing log that are shown at each level.
_SPANS = 12
#: As timing logs print them, so that figures can be found again.
_MILLISECONDS = text.Unit("ms", 1e-3, 2)
_SERIES = ("step time", "throughput", "data time", "device memory", "process memory", "GPU utilization", "loss")


def reading(found: Reading, diagnosis: LogDiagnosis) -> Report:
    """Return what was read, what it means, and what it cannot mean."""
    parts: list[RenderableType] = [
        prose(headline(found, diagnosis), style="bold"),
        blank(),
        *(prose(_source(found, at), style="dim") for at in range(len(found.sources))),
        *heading("What the log says"),
        *_figures(found),
    ]
    if len(found.step_times) > 1:
        parts += [*heading("A step's time, by each way to know it"), *bullets(map(_way, _ways(found)))]
    parts += [*_spans(found), *_course(found), *_search(found), *_findings(diagnosis)]
    if diagnosis.will_not_help:
        parts += [*heading("What will not help"), *bullets(map(view.will_not_help, diagnosis.will_not_help))]
    if found.notes:
        parts += [*heading("Notes"), *bullets(map(text.sentence, found.notes))]
    return Report(parts)


def headline(found: Reading, diagnosis: LogDiagnosis) -> str:
    """Return the one thing to know."""
    step, timing = found.step_seconds, found.timing
    said = "How long a step takes is not in the log"
    if step.value is not None:
        said = f"A step takes {_value(step, text.seconds)}"
        times = int(found.accumulation.value or 1)
        if timing is not None and times * timing.seen < step.value:
            said += f", of which the timing log sees {text.seconds(times * timing.seen)}"
    elif timing is not None:
        said += f"; of one, {text.seconds(timing.seen)} were timed"
    causes = [each for each in diagnosis.findings if each.risk is not None or each.seconds > 0]
    if causes:
        first = causes[0]
        return f"{said}; {text.lower_first(first.title)}" + (f": {first.risk}." if first.risk else ".")
    return f"{said}."


def _source(found: Reading, at: int) -> str:
    source = found.sources[at]
    formats = ", ".join(f"{name} ({count:,})" for name, count in source.formats.items()) or "nothing that is known"
    repeated = f"; {source.repeated:,} were there before, as once per rank, and count once" if source.repeated else ""
    notes = "".join(f"; {note}" for note in source.notes)
    return f"{source.name}: {text.plural(source.lines, 'line')}, {formats}{repeated}{notes}"


def _figures(found: Reading) -> list[RenderableType]:
    data = found.data_seconds
    rows = [
        ("step", found.step_seconds, text.seconds),
        ("throughput", found.throughput, text.rate),
        ("data time", data, text.seconds),
        *(
            (name, Figure(value=value, origin="printed", how="mean"), text.seconds)
            for name, value in found.parts.items()
        ),
        ("steps", found.steps, _count),
        ("of steps in all", found.total_steps, _count),
        ("batch size", found.batch_size, _count),
        ("world size", found.world_size, _count),
        ("accumulation", found.accumulation, _count),
        ("device memory", found.device_memory, text.size),
        ("process memory", found.process_memory, text.size),
    ]
    lines: list[RenderableType] = []
    for name, figure, shown in rows:
        label = f"  {name:<16} {'' if figure.value is None else shown(figure.value):<16} {figure.origin:<8} "
        lines.append(labelled(label, _how(figure, shown)))
    if data.value is not None and found.data_time != "copies":
        lines.append(labelled(" " * 19, f"Data time: {found.data_time_holds}", style="dim"))
    cache = found.cache
    if cache is not None and cache.hit_rate is not None:
        hits = "" if cache.hits is None or cache.misses is None else f"{cache.hits:,} hits, {cache.misses:,} misses"
        lines.append(labelled(f"  {'cache hit rate':<16} {text.percent(cache.hit_rate):<16} {'printed':<8} ", hits))
    return lines


def _how(figure: Figure, shown: object) -> str:
    between = ""
    if callable(shown) and _wide(figure):
        between = f"; {shown(figure.low)} to {shown(figure.high)} by the digits printed"
    return figure.how + between


def _value(figure: Figure, shown: object) -> str:
    assert callable(shown)
    value = str(shown(figure.value))
    return f"{value} ({shown(figure.low)} to {shown(figure.high)} by the digits printed)" if _wide(figure) else value


def _wide(figure: Figure) -> bool:
    """Whether the digits that were printed leave much open."""
    if figure.value is None or figure.low is None or figure.high is None:
        return False
    return figure.high - figure.low > 0.02 * figure.value


def _count(value: float | None) -> str:
    return text.NA if value is None else f"{value:,.0f}"


def _ways(found: Reading) -> list[tuple[float, str]]:
    ways = [(each.seconds, each.how + (" (wall clock)" if each.wall else "")) for each in found.step_times]
    if found.wall_seconds is not None:
        ways.append((found.wall_seconds, "mean by the wall clock, with all that is between steps"))
    return ways


def _way(way: tuple[float, str]) -> str:
    return f"{text.seconds(way[0])}: {way[1]}"


def _spans(found: Reading) -> list[RenderableType]:
    timing = found.timing
    if timing is None:
        return []
    # It times one micro-batch.
    times, step = found.accumulation.value or 1.0, found.step_seconds.value
    whole = step / times if step and step >= times * timing.seen else timing.seen
    known = whole > timing.seen
    shown = _MILLISECONDS if timing.seen < 100 else text.unit([timing.seen])
    cells = [("", "mean", "share", "of step" if known else "", "halved", "")]
    for depth, span in _flat(timing.roots, 0):
        share = span.seconds / timing.seen
        cells.append(
            (
                "  " * depth + span.name,
                shown(span.seconds),
                text.percent(share),
                text.percent(span.seconds / whole) if known else "",
                text.ratio(1 / (1 - 0.5 * min(1.0, span.seconds / whole))),
                filled(share, _BAR),
            )
        )
    counted = text.plural(timing.blocks, "block")
    what = "step" if known else "time that was timed"
    return [
        *heading(f"What the timing log sees of a step (mean of {counted})"),
        *table(cells, "<>>>><", header=True),
        prose(
            f"share: of the {shown(timing.seen)} that were timed, nothing counted twice. halved: what the {what} would "
            "gain at most if this took half as long, its backward not counted.",
            indent=2,
            style="dim",
        ),
    ]


def _flat(spans: list[Span], depth: int) -> list[tuple[int, Span]]:
    rows = []
    for span in spans[:_SPANS]:
        rows += [(depth, span), *_flat(span.children, depth + 1)]
    return rows


def _course(found: Reading) -> list[RenderableType]:
    """First, last and extremes of what is printed over the run."""
    rows = [("", "first tenth", "last tenth", "lowest", "highest", "lines")]
    for name, series in found.series.items():
        if name not in _SERIES or series.lines < 3:
            continue
        shown = _shown(name, series)
        tenth = max(1, len(series.value) // 10)
        ends = (_mean(series.value[:tenth]), _mean(series.value[-tenth:]))
        rows.append((name, *map(shown, (*ends, series.low, series.high)), f"{series.lines:,}"))
    if len(rows) == 1:
        return []
    return [*heading("Over the run"), *table(rows, "<>>>>>", header=True)]


def _shown(name: str, series: Series):  # type: ignore[no-untyped-def]
    if series.unit == "bytes":
        return text.size
    if series.unit == "s":
        return text.seconds
    return text.percent if name == "GPU utilization" else text.figure


def _mean(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else math.nan


def _search(found: Reading) -> list[RenderableType]:
    if not found.batch_search:
        return []
    best = max(found.batch_search, key=lambda each: each[2])
    cells = [("batch", "GPU utilization", "samples/s")]
    cells += [(f"{size:,}", text.percent(use), text.figure(rate)) for size, use, rate in found.batch_search[:_SPANS]]
    return [
        *heading("Batch sizes that were tried"),
        *table(cells, ">>>", header=True),
        line(f"  Batch size {best[0]:,} has the most samples/s; utilization is evidence, not the goal.", style="dim"),
    ]


def _findings(diagnosis: LogDiagnosis) -> list[RenderableType]:
    causes = [each for each in diagnosis.findings if not _reads(each)]
    traps = [each for each in diagnosis.findings if _reads(each)]
    parts = heading("Findings")
    if not causes:
        more = " How far that reaches is told below." if traps else ""
        parts.append(prose(f"None: what is printed shows no time that is lost, and no risk.{more}", indent=2))
    parts += _listed(causes)
    if traps:
        parts += [*heading("How to read this log"), *_listed(traps)]
    return parts


def _listed(findings: list[Finding]) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for rank, finding in enumerate(findings, 1):
        parts += [blank()] if rank > 1 else []
        parts.append(labelled(f"  {rank}. ", f"{finding.code}  {finding.title}", style="bold"))
        if not _reads(finding):
            parts.append(prose(text.stop(view.at_stake(finding)), indent=5))
        parts += [*bullets(finding.evidence, indent=5), labelled("     Remedy: ", finding.remedy)]
    return parts


def _reads(finding: Finding) -> bool:
    """Whether it says how the log is to be read, rather than what is wrong with the training."""
    return rule(finding.code).information or (finding.seconds <= 0 and finding.risk is None)

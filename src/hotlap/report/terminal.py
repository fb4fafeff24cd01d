"""Reports for the terminal: each is a function from records to something that rich can print.

Meaning never hangs on colour, figures are aligned, and only prose wraps, under its own indentation.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.constrain import Constrain
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hotlap.records import Comparison, Diagnosis, Effect, Environment, Facts, Run, SameTraining, Trial, Tuning
from hotlap.report import text, view

#: Prose wider than this is hard to read.
_MEASURE = 100

_BAR = 24


def render(renderable: RenderableType, width: int) -> str:
    """Return what a terminal of this width would show, without colours and without spaces at the ends of lines."""
    file = io.StringIO()
    Console(file=file, width=width, color_system=None, highlight=False, force_terminal=False).print(renderable)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def profile_view(run: Run, diagnosis: Diagnosis) -> Group:
    """Return where the time of a run went, why, and what would help."""
    info = run.info
    ran = f"{info.name}, {info.date}, {text.plural(len(run.steps), 'step')}, {info.outcome.replace('_', ' ')}"
    parts: list[RenderableType] = [
        _prose(view.profile_headline(diagnosis), style="bold"),
        _blank(),
        _prose(text.command(info.command), style="dim"),
        _prose(f"{ran}; {view.machine(run.facts, info.environment)}", style="dim"),
    ]
    ended = view.trouble(run)
    if ended:
        parts += [_blank(), _prose(f"Attention: {ended}", style="bold")]
    parts += [*_step(diagnosis), *_budget(diagnosis), *_findings(diagnosis), *_will_not_help(diagnosis)]
    parts += [*_heading("Cost of measuring"), _prose(view.probe_cost(run.facts, diagnosis), indent=2)]
    if run.notes:
        parts += [*_heading("Notes"), *_bullets(run.notes)]
    return Group(*parts)


def tuning_view(tuning: Tuning) -> Group:
    """Return what was tried, what was kept, and the proof."""
    diagnosis = tuning.diagnosis
    baseline = f"{text.seconds(diagnosis.step_seconds)} a step, {text.rate(diagnosis.throughput)}"
    kept = ", ".join(change.id for change in tuning.adopted) or "nothing"
    rows = [("Baseline", f"{baseline}, peak memory {text.size(view.peak(tuning.facts))}"), ("Kept", kept)]
    if tuning.adopted:
        rows += [("Final effect", text.effect_sentence(tuning.effect)), ("Pays back after", view.break_even(tuning))]
    parts: list[RenderableType] = [
        _prose(view.tuning_headline(tuning), style="bold"),
        *([_blank(), _prose(tuning.summary)] if tuning.summary else []),
        _blank(),
        *_origin(tuning.command, tuning.environment, tuning.facts),
        _prose(f"{tuning.name}, {tuning.date}, took {text.seconds(tuning.seconds)}", style="dim"),
        _blank(),
        *_pairs_of(rows),
    ]
    if tuning.warnings:
        parts += [*_heading("Warnings"), *_bullets(tuning.warnings)]
    parts += _trials("Changes tried", tuning.trials, none="None: no change was worth a trial.")
    parts += [_blank(), _prose(view.no_op_sentence(tuning.no_op), indent=2)]
    if tuning.skipped:
        parts += _trials("Not tried", tuning.skipped)
    if tuning.optimized is not None:
        parts += _before_after(diagnosis, tuning.optimized)
    if tuning.same_training is not None or tuning.adopted:
        parts += _same(tuning.same_training)
    if not tuning.adopted:
        parts += [*_findings(diagnosis), *_will_not_help(diagnosis)]
    return Group(*parts)


def comparison_view(comparison: Comparison) -> Group:
    """Return whether B is faster than A, and whether it is the same training."""
    rows = [
        ("A", f"{text.seconds(comparison.a_step_seconds)} a step"),
        ("B", f"{text.seconds(comparison.b_step_seconds)} a step"),
        ("B against A", f"{text.effect_sentence(comparison.effect)}, {comparison.judgement}"),
        ("Pairs", _spread(comparison.effect)),
    ]
    parts: list[RenderableType] = [
        _prose(view.comparison_headline(comparison), style="bold"),
        _blank(),
        _labelled("A  ", text.command(comparison.a), style="dim"),
        _labelled("B  ", text.command(comparison.b), style="dim"),
        _prose(view.machine(Facts(), comparison.environment), style="dim"),
        _blank(),
        *_pairs_of(rows),
        *_same(comparison.same_training),
    ]
    if comparison.warnings:
        parts += [*_heading("Warnings"), *_bullets(comparison.warnings)]
    return Group(*parts)


def _step(diagnosis: Diagnosis) -> list[RenderableType]:
    rows = view.phase_rows(diagnosis.phases)
    total = math.fsum(row.seconds for row in rows if row.leaf)
    shown = text.unit([total])
    parts = _heading(f"A steady step (mean of {text.plural(diagnosis.steady_steps, 'step')})")
    for row in rows:
        label = "  " * row.depth + row.label
        filled = "" if not row.leaf else "█" * round(_BAR * (row.share or 0)) or "▏"
        figures = f"{shown(row.seconds):>12}  {text.percent(row.share):>7}"
        parts.append(_line(f"  {label:<18}{figures}  {filled}"))
    parts.append(_line(f"  {'sum of the leaves':<18}{shown(total):>12}  {'100.0 %' if total > 0 else text.NA:>7}"))
    steady = f"Median step {text.seconds(diagnosis.step_seconds)}; steady from step {diagnosis.steady_from}"
    apart = f"{text.plural(len(diagnosis.outliers), 'outlier')} apart" if diagnosis.outliers else "no outliers"
    return [*parts, _prose(f"{steady}, {apart}.", indent=2, style="dim")]


def _budget(diagnosis: Diagnosis) -> list[RenderableType]:
    wall = diagnosis.budget.wall
    shown = text.unit([wall])
    parts = _heading("The whole process")
    for name, spent in view.budget_rows(diagnosis.budget):
        share = spent / wall if wall > 0 else None
        filled = "█" * round(_BAR * max(share or 0, 0)) or "▏"
        parts.append(_line(f"  {name:<18}{shown(spent):>12}  {text.percent(share):>7}  {filled}"))
    return [*parts, _line(f"  {'wall clock':<18}{shown(wall):>12}  {'100.0 %' if wall > 0 else text.NA:>7}")]


def _findings(diagnosis: Diagnosis) -> list[RenderableType]:
    parts = _heading("Findings")
    if not diagnosis.findings:
        return [*parts, _prose("None: no known cause has time at stake.", indent=2)]
    for rank, finding in enumerate(diagnosis.findings, 1):
        if rank > 1:
            parts.append(_blank())
        parts.append(_labelled(f"  {rank}. ", f"{finding.code}  {finding.title}", style="bold"))
        parts.append(_prose(text.stop(view.at_stake(finding)), indent=5))
        parts += _bullets(finding.evidence, indent=5)
        parts.append(_labelled("     Remedy: ", finding.remedy))
        if finding.changes:
            parts.append(_labelled("     Tried by hotlap tune: ", ", ".join(finding.changes)))
    return parts


def _will_not_help(diagnosis: Diagnosis) -> list[RenderableType]:
    if not diagnosis.will_not_help:
        return []
    parts = _heading("What will not help")
    for item in diagnosis.will_not_help:
        first = item.remedy[:1].upper() + item.remedy[1:]
        parts += _bullets([f"{first}: at most {text.ratio(item.bound)}. {item.reason}"])
    return parts


def _trials(title: str, trials: Sequence[Trial], none: str = "") -> list[RenderableType]:
    """Lay the trials out as a table with the reason under each line, which no column could hold."""
    parts = _heading(title)
    if not trials:
        return [*parts, _prose(none, indent=2)]
    widest = min(max(len(trial.change.id) for trial in trials), 28)
    measured = any(trial.effect is not None for trial in trials)

    def row(change: str, effect: str, spread: str, pairs: str, numerics: str, fate: str) -> Text:
        figures = f"  {effect:>7}  {spread:<13} {pairs:>5}" if measured else ""
        return _line(f"  {change:<{max(widest, 6)}}{figures}  {numerics:<10}  {fate}")

    header = row("change", "effect", "interval", "pairs", "numerics", "fate")
    header.stylize("dim")
    parts.append(header)
    for trial in trials:
        effect = trial.effect
        name = trial.change.id if len(trial.change.id) <= widest else trial.change.id[: widest - 1] + "…"
        figures = (text.ratio(effect.ratio), text.interval(effect), str(effect.n)) if effect else (text.NA,) * 3
        parts.append(row(name, *figures, trial.change.numerics, view.fate(trial)))
        title = trial.change.title.rstrip(".")
        parts.append(_prose(f"{title}: {text.lower_first(trial.why)}" if trial.why else title, indent=4, style="dim"))
    return parts


def _before_after(before: Diagnosis, after: Diagnosis) -> list[RenderableType]:
    rows = view.before_after(before, after)
    shown = text.unit(value for row in rows for value in (row.before or 0.0, row.after or 0.0))
    parts = _heading("A step before and after (leaves, means)")
    parts.append(_line(f"  {'phase':<18}{'before':>12}{'after':>12}{'difference':>14}"))
    for row in rows:
        old, new = ("none" if value is None else shown(value) for value in (row.before, row.after))
        difference = f"{row.difference / shown.factor:+,.{shown.decimals}f} {shown.name}"
        parts.append(_line(f"  {row.phase:<18}{old:>12}{new:>12}{difference:>14}"))
    return parts


def _same(same: SameTraining | None) -> list[RenderableType]:
    parts = _heading(f"Same training: {view.same_word(same)}")
    if same is None:
        return [*parts, _prose("It was not examined.", indent=2)]
    parts.append(_prose(f"{text.stop(same.evidence)} Numerics class: {same.numerics}.", indent=2))
    if same.metric and (same.baseline_quality or same.candidate_quality):
        for name, values in (("baseline", same.baseline_quality), ("candidate", same.candidate_quality)):
            shown = ", ".join(text.figure(value, 5) for value in values) or text.NA
            parts.append(_labelled(f"  {same.metric}, {name}: ", shown))
    return parts


def _spread(effect: Effect) -> str:
    pairs = [pair for pair in effect.pairs if math.isfinite(pair)]
    return f"{text.ratio(min(pairs))} to {text.ratio(max(pairs))}" if pairs else text.NA


def _origin(command: Sequence[str], environment: Environment, facts: Facts) -> list[RenderableType]:
    machine = view.machine(facts, environment)
    return [_prose(text.command(command), style="dim"), _prose(machine, style="dim")]


def _heading(title: str) -> list[RenderableType]:
    return [_blank(), Text(title, style="bold underline", no_wrap=True, overflow="ellipsis")]


def _pairs_of(rows: Iterable[tuple[str, str]]) -> list[RenderableType]:
    return [_labelled(f"{label:<17}", value) for label, value in rows]


def _bullets(lines: Iterable[str], indent: int = 2) -> list[RenderableType]:
    return [_labelled(" " * indent + "- ", line) for line in lines]


def _line(content: str) -> Text:
    return Text(content.rstrip(), no_wrap=True, overflow="ellipsis")


def _prose(content: str, *, indent: int = 0, style: str = "") -> RenderableType:
    return Constrain(Padding(Text(content, style=style, overflow="fold"), (0, 0, 0, indent)), _MEASURE)


def _labelled(label: str, content: str, style: str = "") -> RenderableType:
    """Return prose that starts after a label and goes on under its own beginning."""
    grid = Table.grid(padding=0)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(label, style=style), Text(content, style=style))
    return Constrain(grid, _MEASURE)


def _blank() -> Text:
    return Text("")

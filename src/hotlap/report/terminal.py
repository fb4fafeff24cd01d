"""Reports for the terminal: each is a function from records to something that rich can print.

Meaning never hangs on colour, figures are aligned, and only prose wraps, under its own indentation. Where the output
cannot show a character, a stand-in is shown: see ``blocks``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rich.console import RenderableType

from hotlap.records import Comparison, Diagnosis, Effect, Facts, Finding, Run, SameTraining, Trial, Tuning, WillNotHelp
from hotlap.report import device, gaps, pareto, proofs, ranks, reads, text, traces, verdicts, view
from hotlap.report.about import machine
from hotlap.report.blocks import Report, blank, bullets, filled, fit, heading, labelled, prose, table
from hotlap.report.compilations import compilations
from hotlap.report.memory import memory
from hotlap.report.stages import stages

_BAR = 24
_STYLES = {"faster": "bold green", "slower": "bold red", "unclear": "bold yellow", "not faster": "bold"}


def profile(run: Run, diagnosis: Diagnosis) -> Report:
    """Return where the time of a run went, why, and what would help."""
    info = run.info
    ran = f"{info.name}, {info.date}, {text.plural(len(run.steps), 'step')}, {info.outcome.replace('_', ' ')}"
    parts: list[RenderableType] = [
        prose(view.profile_headline(diagnosis, run.facts), style="bold"),
        blank(),
        prose(text.command(info.command), style="dim"),
        prose(f"{ran}; {machine(run.facts, info.environment)}", style="dim"),
    ]
    ended = view.trouble(run)
    if ended:
        parts += [blank(), prose(f"Attention: {ended}", style="bold yellow")]
    parts += [
        *_step(diagnosis),
        *stages(diagnosis),
        *ranks.table(diagnosis),
        *_budget(diagnosis),
        *compilations(diagnosis.compilations),
        *memory(diagnosis),
        *findings(diagnosis.findings),
        *will_not_help(diagnosis.will_not_help),
        *proofs.without_it(diagnosis),
        *reads.section(run, diagnosis),
        *traces.closer_look(run, diagnosis),
        *gaps.section(run.gap),
    ]
    parts += [*heading("Cost of measuring"), prose(view.probe_cost(run.facts, diagnosis), indent=2)]
    if run.notes:
        parts += [*heading("Notes"), *bullets(map(text.sentence, run.notes))]
    return Report(parts)


def tuning(tuning: Tuning) -> Report:
    """Return what was tried, what was kept, and the proof."""
    diagnosis = tuning.diagnosis
    judgement = tuning.judgement if tuning.adopted else "unclear" if tuning.effect is not None else "not faster"
    parts: list[RenderableType] = [
        prose(verdicts.tuning_headline(tuning), style=_STYLES[judgement]),
        blank(),
        prose(text.command(tuning.command), style="dim"),
        prose(machine(tuning.facts, tuning.environment), style="dim"),
        prose(f"{tuning.name}, {tuning.date}, took {text.seconds(tuning.seconds)}", style="dim"),
        blank(),
        *_labels(verdicts.tuning_facts(tuning)),
    ]
    if tuning.warnings:
        parts += [*heading("Warnings"), *bullets(map(text.sentence, tuning.warnings))]
    tried, untimed = verdicts.begun(tuning.trials)
    parts += _trials(tried, tuning.no_op, "There was no time for any." if untimed else "No change was worth a trial.")
    parts += _not_tried(untimed, tuning.skipped)
    if tuning.optimized is not None:
        parts += _before_after(diagnosis, tuning.optimized)
        parts += _left(tuning.optimized)
    else:
        parts += _step(diagnosis)
    if tuning.same_training is not None or tuning.adopted:
        parts += _same(tuning.same_training)
    if not tuning.adopted:
        parts += findings(diagnosis.findings, tuning.trials)
    parts += will_not_help(diagnosis.will_not_help)
    parts += _speed_against_memory(tuning)
    if tuning.adopted:
        parts += heading("To use it")
        for stage, how in verdicts.adoption(tuning):
            parts += [prose(stage, indent=2), *(prose(line, indent=4) for line in how)]
    return Report(parts)


def _speed_against_memory(tuning: Tuning) -> list[RenderableType]:
    lines = [
        f"{text.ratio(each.speed)} {text.size(each.peak)}{' *' if each.front else ''}: {each.label}"
        for each in pareto.points(tuning)
    ]
    if not lines:
        return []
    return [*heading("Speed against peak memory (* nothing measured is both faster and smaller)"), *bullets(lines)]


def comparison(comparison: Comparison) -> Report:
    """Return whether B is faster than A, and whether it is the same training."""
    rows = [
        ("A", f"{text.seconds(comparison.a_step_seconds)} a step (median)"),
        ("B", f"{text.seconds(comparison.b_step_seconds)} a step (median)"),
        ("B against A", f"{text.effect_sentence(comparison.effect)}, {comparison.judgement}"),
        ("Pairs", verdicts.spread(comparison.effect)),
    ]
    parts: list[RenderableType] = [
        prose(verdicts.comparison_headline(comparison), style=_STYLES[comparison.judgement]),
        blank(),
        labelled("A  ", text.command(comparison.a), style="dim"),
        labelled("B  ", text.command(comparison.b), style="dim"),
        prose(machine(Facts(), comparison.environment), style="dim"),
        prose(f"{comparison.name}, {comparison.date}", style="dim"),
        blank(),
        *_labels(rows),
        *(prose(each, style="dim") for each in verdicts.two_medians(comparison)),
        *_same(comparison.same_training),
    ]
    if comparison.warnings:
        parts += [*heading("Warnings"), *bullets(map(text.sentence, comparison.warnings))]
    return Report(parts)


def _step(diagnosis: Diagnosis) -> list[RenderableType]:
    rows = view.phase_rows(diagnosis.phases)
    total = math.fsum(row.seconds for row in rows if row.leaf)
    shown = text.unit([total])
    parts = heading(f"A steady step (mean of {text.plural(diagnosis.steady_steps, 'step')})")
    cells = [
        ("  " * row.depth + row.label, shown(row.seconds), text.percent(row.share), filled(row.share, _BAR))
        if row.leaf
        else (row.label, shown(row.seconds), text.percent(row.share), "")
        for row in rows
    ]
    cells.append((view.SUM, shown(total), "100.0 %" if total > 0 else text.NA, ""))
    if diagnosis.device is not None:
        return [
            *parts,
            *device.beside(cells, rows, diagnosis.device, shown),
            prose(view.steady_sentence(diagnosis), indent=2, style="dim"),
        ]
    return [*parts, *table(cells, "<>><"), prose(view.steady_sentence(diagnosis), indent=2, style="dim")]


def _budget(diagnosis: Diagnosis) -> list[RenderableType]:
    wall = diagnosis.budget.wall
    shown = text.unit([wall])
    cells = []
    for name, spent in view.budget_rows(diagnosis.budget):
        share = spent / wall if wall > 0 else None
        cells.append((name, shown(spent), text.percent(share), filled(share, _BAR)))
    cells.append(("wall clock", shown(wall), "100.0 %" if wall > 0 else text.NA, ""))
    return [*heading("The whole process"), *table(cells, "<>><")]


def findings(found: Sequence[Finding], trials: Sequence[Trial] | None = None) -> list[RenderableType]:
    """``trials``: of a tuning, which tell what came of each."""
    parts = heading("Findings")
    named = [finding for finding in found if not view.describes(finding)]
    if not named:
        parts.append(prose("None: no known cause has time at stake.", indent=2))
    for rank, finding in enumerate(named, 1):
        if rank > 1:
            parts.append(blank())
        parts += _finding(finding, f"  {rank}. ", "     Remedy: ", trials)
    described = [finding for finding in found if view.describes(finding)]
    if described:
        parts += heading("Where the time goes")
    for rank, finding in enumerate(described):
        if rank > 0:
            parts.append(blank())
        parts += _finding(
            finding, "  -  ", "     To make it cheaper: " if finding.seconds > 0 else "     Remedy: ", trials
        )
    return parts


def _finding(finding: Finding, label: str, remedy: str, trials: Sequence[Trial] | None) -> list[RenderableType]:
    parts: list[RenderableType] = [
        labelled(label, f"{finding.code}  {finding.title}", style="bold"),
        prose(text.stop(view.at_stake(finding)), indent=5),
        *bullets(finding.evidence, indent=5),
        labelled(remedy, finding.remedy),
    ]
    if finding.changes and trials is None:
        parts.append(labelled("     What hotlap tune tries: ", ", ".join(finding.changes)))
    elif finding.changes and trials is not None:
        parts.append(labelled("     Tried against it: ", verdicts.tried(finding, trials)))
    return parts


def will_not_help(items: Sequence[WillNotHelp]) -> list[RenderableType]:
    return [*heading("What will not help"), *bullets(map(view.will_not_help, items))] if items else []


def _trials(trials: Sequence[Trial], no_op: Effect, none: str) -> list[RenderableType]:
    """Lay the trials out as a table with the reason under each line, which no column could hold."""

    def row(name: str, effect: Effect | None, numerics: str, fate: str) -> list[str]:
        figures = [text.ratio(effect.ratio), text.interval(effect), str(effect.n)] if effect else [text.NA] * 3
        return [name, *figures, fate, numerics]

    rows = [["change", "effect", "interval", "pairs", "fate", "numerics"]]
    rows.append(row("baseline (no-op)", no_op, "exact", "reference"))
    rows += [row(trial.id, trial.effect, trial.change.numerics, verdicts.fate(trial)) for trial in trials]
    header, reference, *lines = table(rows, "<><><<", header=True)
    parts = [
        *heading("Changes tried"),
        header,
        reference,
        prose(verdicts.no_op_sentence(no_op), indent=4, style="dim"),
    ]
    for trial, shown in zip(trials, lines, strict=True):
        if trial.kept:
            shown.stylize("green")
        parts += [shown, prose(verdicts.trial_sentence(trial), indent=4, style="dim")]
    if not trials:
        parts.append(prose(none, indent=2))
    return parts


def _not_tried(untimed: Mapping[str, Sequence[str]], skipped: Sequence[Trial]) -> list[RenderableType]:
    lines = [f"{', '.join(names)}: {text.stop(why)}" for why, names in untimed.items()]
    lines += [f"{trial.change.id} ({trial.change.numerics}). {verdicts.trial_sentence(trial)}" for trial in skipped]
    return [*heading("Not tried"), *bullets(lines)] if lines else []


def _before_after(before: Diagnosis, after: Diagnosis) -> list[RenderableType]:
    rows = view.before_after(before, after)
    shown = text.unit(value for row in rows for value in (row.before or 0.0, row.after or 0.0))
    cells = [("phase", "before", "after", "difference")]
    for row in rows:
        old, new = ("none" if value is None else shown(value) for value in (row.before, row.after))
        cells.append((row.phase, old, new, shown.signed(row.difference)))
    return [*heading("A step before and after (leaves, means)"), *table(cells, "<>>>", header=True)]


def _left(after: Diagnosis) -> list[RenderableType]:
    """What is found in the training with the changes, in a line each."""
    if not after.findings:
        return []
    found = (f"{finding.code}  {finding.title} ({text.percent(finding.share)} of a step)" for finding in after.findings)
    return [*heading("Found with the changes"), *bullets(map(text.stop, found))]


def _same(same: SameTraining | None) -> list[RenderableType]:
    parts = heading(f"Same training: {verdicts.same_word(same)}")
    if same is None:
        return [*parts, prose("It was not examined.", indent=2)]
    parts.append(prose(verdicts.same_sentence(same), indent=2))
    if same.metric and (same.baseline_quality or same.candidate_quality):
        for name, values in (("baseline", same.baseline_quality), ("candidate", same.candidate_quality)):
            shown = ", ".join(text.figure(value, 5) for value in values) or text.NA
            parts.append(labelled(f"  {same.metric}, {name}: ", shown))
    return parts


def _labels(rows: Sequence[tuple[str, str]]) -> list[RenderableType]:
    return [labelled(fit(label, 17), value) for label, value in rows]

"""Any record as Markdown for a pull request: what was found, with its evidence, and how to measure it again.

headline            what one says of it in a sentence
figures             before and after, or the step
findings            with their evidence
how to reproduce
<details>           the rest
"""

from __future__ import annotations

from collections.abc import Sequence

from hotlap.diagnose import diagnose
from hotlap.errors import TrainingFailed
from hotlap.records import Comparison, Diagnosis, Effect, Environment, Facts, Finding, Run, SameTraining, Trial, Tuning
from hotlap.report import about, again, memory, pareto, proofs, stages, text, verdicts, view
from hotlap.report.marked import block, code, folded, name, table, words
from hotlap.report.secrets import MASK

_SIGN = "×"
#: Findings that are told in full; the others are named.
_TOLD = 5

#: GitHub takes 65,536 characters for a comment.
_MOST = 60_000

Lines = list[str]


def render(record: Run | Tuning | Comparison) -> str:
    """Return the Markdown of a record."""
    if isinstance(record, Tuning):
        parts = _tuning(record)
    elif isinstance(record, Comparison):
        parts = _comparison(record)
    else:
        parts = _run(record)
    shown = ["\n".join(part) for part in parts if part]
    while len("\n\n".join(shown)) > _MOST and any(map(_is_folded, shown)):
        shown.remove(max(filter(_is_folded, shown), key=len))
    left = len([part for part in parts if part]) - len(shown)
    if left:
        shown.append(f"{text.plural(left, 'longer part')} left out, or this would be too long for a comment.")
    return "\n\n".join(shown) + "\n"


def _is_folded(part: str) -> bool:
    return part.startswith("<details>")


def _run(run: Run) -> list[Lines]:
    info = run.info
    try:
        diagnosis = diagnose(run)
    except TrainingFailed:
        diagnosis = None
    headline = view.profile_headline(diagnosis, run.facts, _SIGN) if diagnosis else "The run took no training step."
    trouble = view.trouble(run)
    parts = [
        [f"### {words(headline)}"],
        _warnings([trouble] if trouble else [], "How the run ended"),
        table(
            ("", "", ""),
            (
                (name(label), f"**{name(shown)}**", name(note))
                for label, shown, note in view.run_tiles(run, diagnosis, _SIGN)
            ),
            "<><",
        ),
    ]
    if diagnosis is not None:
        parts += [_phases(diagnosis), *_findings(diagnosis.findings), *_without_it(diagnosis)]
    parts += _reproduce(again.run(info), run.facts, info.environment)
    if diagnosis is not None:
        parts += [
            _will_not_help(diagnosis),
            _stages(diagnosis),
            _memory(diagnosis),
            _budget(diagnosis),
        ]
    parts += [folded("Notes of the probe", [f"- {words(text.sentence(note))}" for note in run.notes])]
    return [*parts, _environment(info.environment)]


def _tuning(tuning: Tuning) -> list[Lines]:
    before, after = tuning.diagnosis, tuning.optimized
    parts = [
        [f"### {words(verdicts.tuning_headline(tuning, _SIGN))}"],
        _warnings(tuning.warnings, "Why the figures may be shaky"),
        _before_and_after(tuning),
    ]
    if tuning.adopted:
        parts += [["**What was changed**"], _adopted(tuning)]
    parts += _findings(before.findings, "What was found before the changes" if tuning.adopted else "What was found")
    if tuning.adopted:
        for stage, how in verdicts.adoption(tuning):
            parts += [[f"**To use it. {name(stage)}**"], block(how)]
    parts += _reproduce(again.tuning(tuning), tuning.facts, tuning.environment)
    parts.append(_tried(tuning))
    parts.append(folded("Where a step's time goes, before and after", _shifts(before, after)) if after else [])
    if tuning.same_training is not None or tuning.adopted:
        parts.append(_same(tuning.same_training))
    parts.append(
        folded(
            "Speed against peak memory",
            table(
                ("set of changes", "speed", "peak", "neither faster nor smaller was measured"),
                (
                    (code(each.label), text.ratio(each.speed, _SIGN), text.size(each.peak), "yes" if each.front else "")
                    for each in points
                ),
                "<>><",
            ),
        )
        if (points := pareto.points(tuning))
        else []
    )
    return [*parts, _will_not_help(before), _environment(tuning.environment)]


def _comparison(comparison: Comparison) -> list[Lines]:
    effect = comparison.effect
    return [
        [f"### {words(verdicts.comparison_headline(comparison, _SIGN))}"],
        _warnings(comparison.warnings, "Why the figures may be shaky"),
        table(
            ("", "A", "B", "B against A"),
            [
                (
                    "a step (median)",
                    text.seconds(comparison.a_step_seconds),
                    text.seconds(comparison.b_step_seconds),
                    f"**{_effect(effect)}**",
                ),
                ("same training", "", verdicts.same_word(comparison.same_training), ""),
            ],
            "<>><",
        ),
        *_reproduce(again.comparison(comparison), Facts(), comparison.environment),
        folded("The commands", block([f"A  {text.command(comparison.a)}", f"B  {text.command(comparison.b)}"])),
        folded("Pair by pair", [_pairs(effect)] if effect.pairs else []),
        _same(comparison.same_training),
        _environment(comparison.environment),
    ]


def _before_and_after(tuning: Tuning) -> Lines:
    before, after = tuning.diagnosis, tuning.optimized
    peaks = tuning.peaks or (view.peak(tuning.facts), None)
    gain = _effect(tuning.effect) if tuning.effect is not None else ""
    cells = [
        ("a step (median)", text.seconds(before.step_seconds), text.seconds(after.step_seconds if after else None), ""),
        ("throughput", text.rate(before.throughput), text.rate(after.throughput if after else None), ""),
        ("peak memory", text.size(peaks[0]), text.size(peaks[1]), ""),
    ]
    goal = {"throughput": 1, "memory": 2}.get(tuning.goal)
    rows = [(*row[:3], f"**{gain}**" if gain and i == goal else "") for i, row in enumerate(cells)]
    if gain and goal is None:
        rows.append((verdicts.GOALS[tuning.goal].lower(), "", "", f"**{gain}**"))
    if tuning.same_training is not None:
        numerics = f"numerics: {tuning.same_training.numerics}"
        rows.append(("same training", "", verdicts.same_word(tuning.same_training), numerics))
    if after is None and tuning.effect is None:
        return table(("", "as it is"), [row[:2] for row in rows if row[1]], "<>")
    return table(("", "before", "after", "effect"), rows, "<>><")


def _adopted(tuning: Tuning) -> Lines:
    effects = {trial.id: trial.effect for trial in tuning.trials if trial.kept}
    rows = [
        (
            code(change.id),
            name(text.upper_first(change.title)),
            _effect(effects.get(change.id)),
            f"{change.numerics}: {verdicts.NUMERICS[change.numerics]}",
        )
        for change in tuning.adopted
    ]
    return table(("change", "what it is", "its own effect", "numerics"), rows, "<<<<")


def _tried(tuning: Tuning) -> Lines:
    def row(trial: Trial) -> tuple[str, ...]:
        return code(trial.id), _effect(trial.effect), verdicts.fate(trial), words(verdicts.trial_sentence(trial))

    trials = [row(trial) for trial in [*tuning.trials, *tuning.skipped]]
    if not trials:
        return []
    control = (code("no-op"), _effect(tuning.no_op), "reference", words(verdicts.no_op_sentence(tuning.no_op, _SIGN)))
    tried = text.plural(len(tuning.trials), "change")
    return folded(
        f"Everything that was tried ({tried}, {len(tuning.skipped)} not)",
        table(("change", "effect", "fate", "why"), [control, *trials], "<<<<"),
    )


def _findings(found: Sequence[Finding], title: str = "What was found") -> list[Lines]:
    if not found:
        return [[f"**{title}:** no known cause has time at stake."]]
    lines = [f"**{title}**", ""]
    for finding in found[:_TOLD]:
        at_stake = text.stop(view.at_stake(finding, _SIGN))
        lines.append(f"- **{code(finding.code)} {name(finding.title)}.** {words(at_stake)}")
        lines += [f"  - {words(sentence)}" for sentence in finding.evidence]
        lines.append(f"  - Remedy: {words(finding.remedy)}")
    if found[_TOLD:]:
        others = ", ".join(f"{code(finding.code)} {name(finding.title)}" for finding in found[_TOLD:])
        lines.append(f"- And {text.plural(len(found) - _TOLD, 'more finding')}: {others}.")
    return [lines]


def _without_it(diagnosis: Diagnosis) -> list[Lines]:
    proven = diagnosis.ablations
    if proven is None:
        return []
    parts = [["**Without it (measured)**"]]
    cells = proofs.rows(proven)
    if cells:
        header = ("without", "a step takes less", "interval", "pairs", "at most")
        parts.append(table(header, ([name(cell) for cell in row] for row in cells), "<>>>>"))
    parts.append([f"- {words(sentence)}" for sentence in proofs.sentences(proven)])
    if diagnosis.data_stalls is not None:
        parts.append([f"- {words(sentence)}" for sentence in proofs.stalls(diagnosis.data_stalls)])
    return parts


def _reproduce(lines: Lines, facts: Facts, environment: Environment) -> list[Lines]:
    own = f" Put your own secrets in for `{MASK}`." if MASK in " ".join(lines) else ""
    software = f"hotlap {environment.hotlap}, Python {environment.python}"
    machine = name(f"{about.machine(facts, environment)}, {software}")
    return [["**How to reproduce**"], block(lines, "bash"), [f"Measured on {machine}.{own}"]]


def _phases(diagnosis: Diagnosis) -> Lines:
    unit = text.unit([view.total(diagnosis.phases)])
    rows = [
        ("&emsp;" * row.depth + name(row.label), unit(row.seconds), text.percent(row.share))
        for row in view.phase_rows(diagnosis.phases)
    ]
    rows.append((f"**{view.SUM}**", f"**{unit(view.total(diagnosis.phases))}**", ""))
    return table(("phase of a step", "mean", "share"), rows, "<>>")


def _shifts(before: Diagnosis, after: Diagnosis) -> Lines:
    shifts = view.before_after(before, after)
    unit = text.unit(value for row in shifts for value in (row.before or 0.0, row.after or 0.0))
    rows = [
        (
            name(row.phase),
            *("none" if value is None else unit(value) for value in (row.before, row.after)),
            unit.signed(row.difference),
        )
        for row in shifts
    ]
    return table(("phase", "before", "after", "difference"), rows, "<>>>")


def _stages(diagnosis: Diagnosis) -> Lines:
    tree = diagnosis.stages
    if tree is None:
        return []
    unit = text.unit([tree.total])
    rows = [
        (
            "&emsp;" * row.depth + name(row.name),
            *[unit(time) for time in (*row.times, row.total)],
            text.percent(row.share),
        )
        for row in stages.rows(tree, view.total(diagnosis.phases))
    ]
    columns = stages.columns(tree)
    cells = table(("stage", *columns, "total", "of step"), rows, "<" + ">" * (len(columns) + 2))
    return folded("Stages of the model", [*cells, "", words(stages.note(tree))])


def _memory(diagnosis: Diagnosis) -> Lines:
    report = diagnosis.memory
    lines: Lines = []
    if report.parts:
        rows = [(part.name, text.size(part.bytes), text.percent(part.share)) for part in report.parts]
        rows.append(("**peak of a step**", f"**{text.size(report.peak)}**", ""))
        lines += [*table(("memory", "size", "share"), rows, "<>>"), "", words(memory.peak_note(report)), ""]
    held = memory.processes(report)
    if held:
        lines += table(memory.PROCESSES, held, "<>>>")
    lines += ["", *(f"- {words(sentence)}" for sentence in [*memory.growths(report), *report.dataset_said])]
    return folded("Memory", lines if any(lines) else [])


def _budget(diagnosis: Diagnosis) -> Lines:
    wall = diagnosis.budget.wall
    unit = text.unit([wall])
    rows = [
        (name(part), unit(seconds), text.percent(seconds / wall if wall > 0 else None))
        for part, seconds in view.budget_rows(diagnosis.budget)
    ]
    rows.append(("**wall clock**", f"**{unit(wall)}**", ""))
    return folded("The whole process", table(("part", "time", "share"), rows, "<>>"))


def _will_not_help(diagnosis: Diagnosis) -> Lines:
    said = [f"- {words(view.will_not_help(item, _SIGN))}" for item in diagnosis.will_not_help]
    return folded("What will not help", said)


def _same(same: SameTraining | None) -> Lines:
    if same is None:
        return ["**Same training:** it was not examined."]
    lines = [words(text.upper_first(verdicts.same_sentence(same)))]
    if same.metric and (same.baseline_quality or same.candidate_quality):
        rows = [
            (str(seed), text.figure(old, 5), text.figure(new, 5))
            for seed, (old, new) in enumerate(verdicts.by_seed(same.baseline_quality, same.candidate_quality), 1)
        ]
        lines += ["", *table(("seed", f"{name(same.metric)}, before", "after"), rows, ">>>")]
    return folded(f"Same training: {verdicts.same_word(same)}", lines)


def _environment(environment: Environment) -> Lines:
    rows = [(name(label), name(value)) for label, value in about.environment_rows(environment)]
    return folded("Environment", table(("", ""), rows, "<<"))


def _warnings(said: Sequence[str], title: str) -> Lines:
    if not said:
        return []
    return ["> [!WARNING]", f"> **{title}**", ">", *(f"> - {words(text.sentence(line))}" for line in said)]


def _pairs(effect: Effect) -> str:
    return ", ".join(text.ratio(pair, _SIGN) for pair in effect.pairs)


def _effect(effect: Effect | None) -> str:
    return name(text.effect_sentence(effect, _SIGN))

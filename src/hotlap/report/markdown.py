"""Any record as Markdown for a pull request: what was found, with its evidence, and how to measure it again.

headline            what one says of it in a sentence
figures             before and after, or the step
findings            with their evidence
how to reproduce
<details>           the rest
"""

from __future__ import annotations

from hotlap.diagnose import diagnose
from hotlap.errors import TrainingFailed
from hotlap.records import Comparison, Effect, Facts, Run, Trial, Tuning
from hotlap.report import again, pareto, text, verdicts, view
from hotlap.report import markdown_pieces as pieces
from hotlap.report.markdown_pieces import SIGN, Lines
from hotlap.report.marked import block, code, folded, name, table, words

#: GitHub takes 65,536 characters for a comment.
_MOST = 60_000


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
    headline = view.profile_headline(diagnosis, run.facts, SIGN) if diagnosis else "The run took no training step."
    trouble = view.trouble(run)
    parts = [
        [f"### {words(headline)}"],
        pieces.warning([trouble] if trouble else [], "How the run ended"),
        table(
            ("", "", ""),
            (
                (name(label), f"**{name(shown)}**", name(note))
                for label, shown, note in view.run_tiles(run, diagnosis, SIGN)
            ),
            "<><",
        ),
    ]
    if diagnosis is not None:
        parts += [pieces.phases(diagnosis), *pieces.findings(diagnosis.findings), *pieces.without_it(diagnosis)]
    parts += pieces.reproduce(again.run(run), run.facts, info.environment)
    if diagnosis is not None:
        parts += [
            pieces.will_not_help(diagnosis),
            pieces.stage_tree(diagnosis),
            pieces.gap(run.gap),
            pieces.memory_of(diagnosis),
            pieces.budget(diagnosis),
        ]
    parts += [folded("Notes of the probe", [f"- {words(text.sentence(note))}" for note in run.notes])]
    return [*parts, pieces.machine(info.environment)]


def _tuning(tuning: Tuning) -> list[Lines]:
    before, after = tuning.diagnosis, tuning.optimized
    parts = [
        [f"### {words(verdicts.tuning_headline(tuning, SIGN))}"],
        pieces.warning(tuning.warnings, "Why the figures may be shaky"),
        _before_and_after(tuning),
    ]
    if tuning.adopted:
        parts += [["**What was changed**"], _adopted(tuning)]
    title = "What was found before the changes" if tuning.adopted else "What was found"
    parts += pieces.findings(before.findings, title, tuning.trials)
    if tuning.adopted:
        for stage, how in verdicts.adoption(tuning):
            parts += [[f"**To use it. {name(stage)}**"], block(how)]
    parts += pieces.reproduce(again.tuning(tuning), tuning.facts, tuning.environment)
    parts.append(_tried(tuning))
    parts.append(folded("Where a step's time goes, before and after", pieces.shifts(before, after)) if after else [])
    if tuning.same_training is not None or tuning.adopted:
        parts.append(pieces.same_training(tuning.same_training))
    parts.append(
        folded(
            "Speed against peak memory",
            table(
                ("set of changes", "speed", "peak", "nothing is both faster and smaller"),
                (
                    (code(each.label), text.ratio(each.speed, SIGN), text.size(each.peak), "yes" if each.front else "")
                    for each in points
                ),
                "<>><",
            ),
        )
        if (points := pareto.points(tuning))
        else []
    )
    return [*parts, pieces.will_not_help(before), pieces.machine(tuning.environment)]


def _comparison(comparison: Comparison) -> list[Lines]:
    effect = comparison.effect
    return [
        [f"### {words(verdicts.comparison_headline(comparison, SIGN))}"],
        pieces.warning(comparison.warnings, "Why the figures may be shaky"),
        table(
            ("", "A", "B", "B against A"),
            [
                (
                    "a step (median)",
                    text.seconds(comparison.a_step_seconds),
                    text.seconds(comparison.b_step_seconds),
                    f"**{pieces.effect(effect)}**",
                ),
                ("same training", "", verdicts.same_word(comparison.same_training), ""),
            ],
            "<>><",
        ),
        *([words(each)] for each in verdicts.two_medians(comparison)),
        *pieces.reproduce(again.comparison(comparison), Facts(), comparison.environment),
        folded("The commands", block([f"A  {text.command(comparison.a)}", f"B  {text.command(comparison.b)}"])),
        folded("Pair by pair", [_pairs(effect)] if effect.pairs else []),
        pieces.same_training(comparison.same_training),
        pieces.machine(comparison.environment),
    ]


def _before_and_after(tuning: Tuning) -> Lines:
    before, after = tuning.diagnosis, tuning.optimized
    peaks = tuning.peaks or (view.peak(tuning.facts), None)
    gain = pieces.effect(tuning.effect) if tuning.effect is not None else ""
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
            pieces.effect(effects.get(change.id)),
            f"{change.numerics}: {verdicts.NUMERICS[change.numerics]}",
        )
        for change in tuning.adopted
    ]
    return table(("change", "what it is", "effect, on top of those before", "numerics"), rows, "<<<<")


def _tried(tuning: Tuning) -> Lines:
    def row(trial: Trial) -> tuple[str, ...]:
        return code(trial.id), pieces.effect(trial.effect), verdicts.fate(trial), words(verdicts.trial_sentence(trial))

    tried, untimed = verdicts.begun(tuning.trials)
    trials = [row(trial) for trial in tried]
    trials += [
        (", ".join(map(code, names)), "", "not tried", words(text.sentence(why))) for why, names in untimed.items()
    ]
    trials += [row(trial) for trial in tuning.skipped]
    if not trials:
        return []
    control = (
        code("no-op"),
        pieces.effect(tuning.no_op),
        "reference",
        words(verdicts.no_op_sentence(tuning.no_op, SIGN)),
    )
    left_out = sum(map(len, untimed.values())) + len(tuning.skipped)
    return folded(
        f"Everything that was tried ({text.plural(len(tried), 'change')}, {left_out} not)",
        table(("change", "effect", "fate", "why"), [control, *trials], "<<<<"),
    )


def _pairs(effect: Effect) -> str:
    return ", ".join(text.ratio(pair, SIGN) for pair in effect.pairs)

"""Parts of a record as Markdown, each a list of lines; without lines there is nothing to say."""

from __future__ import annotations

from collections.abc import Sequence

from hotlap.records import Diagnosis, Effect, Environment, Facts, Finding, Gap, SameTraining, Trial
from hotlap.report import about, gaps, memory, proofs, stages, text, verdicts, view
from hotlap.report.marked import block, code, folded, name, table, words
from hotlap.report.secrets import MASK

SIGN = "×"
#: Findings that are told in full; the others are named.
_TOLD = 5

Lines = list[str]


def findings(
    found: Sequence[Finding], title: str = "What was found", trials: Sequence[Trial] | None = None
) -> list[Lines]:
    """``trials``: of a tuning, which tell what came of each."""
    if not found:
        return [[f"**{title}:** no known cause has time at stake."]]
    lines = [f"**{title}**", ""]
    for finding in found[:_TOLD]:
        at_stake = text.stop(view.at_stake(finding, SIGN))
        lines.append(f"- **{code(finding.code)} {name(finding.title)}.** {words(at_stake)}")
        lines += [f"  - {words(sentence)}" for sentence in finding.evidence]
        lines.append(f"  - Remedy: {words(finding.remedy)}")
        if finding.changes and trials is not None:
            lines.append(f"  - Tried against it: {words(verdicts.tried(finding, trials, SIGN))}.")
    if found[_TOLD:]:
        others = ", ".join(f"{code(finding.code)} {name(finding.title)}" for finding in found[_TOLD:])
        lines.append(f"- And {text.plural(len(found) - _TOLD, 'more finding')}: {others}.")
    return [lines]


def without_it(diagnosis: Diagnosis) -> list[Lines]:
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


def reproduce(lines: Lines, facts: Facts, environment: Environment) -> list[Lines]:
    own = f" Put your own secrets in for `{MASK}`." if MASK in " ".join(lines) else ""
    software = f"hotlap {environment.hotlap}, Python {environment.python}"
    machine = name(f"{about.machine(facts, environment)}, {software}")
    return [["**How to reproduce**"], block(lines, "bash"), [f"Measured on {machine}.{own}"]]


def phases(diagnosis: Diagnosis) -> Lines:
    unit = text.unit([view.total(diagnosis.phases)])
    rows = [
        ("&emsp;" * row.depth + name(row.label), unit(row.seconds), text.percent(row.share))
        for row in view.phase_rows(diagnosis.phases)
    ]
    rows.append((f"**{view.SUM}**", f"**{unit(view.total(diagnosis.phases))}**", ""))
    return table(("phase of a step", "mean", "share"), rows, "<>>")


def shifts(before: Diagnosis, after: Diagnosis) -> Lines:
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


def gap(found: Gap | None) -> Lines:
    if found is None:
        return []
    rows = [(name(first), *rest) for first, *rest in gaps.rows(found)]
    notes = [gaps.basis(found), gaps.reached(found), *gaps.doubts(found), gaps.words(found)]
    lines = [words(gaps.headline(found)), "", *table(gaps.HEADER, rows, "<>>>>>")]
    for note in notes:
        lines += ["", words(note)]
    return folded("The step beside what its work needs", lines)


def stage_tree(diagnosis: Diagnosis) -> Lines:
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


def memory_of(diagnosis: Diagnosis) -> Lines:
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


def budget(diagnosis: Diagnosis) -> Lines:
    wall = diagnosis.budget.wall
    unit = text.unit([wall])
    rows = [
        (name(part), unit(seconds), text.percent(seconds / wall if wall > 0 else None))
        for part, seconds in view.budget_rows(diagnosis.budget)
    ]
    rows.append(("**wall clock**", f"**{unit(wall)}**", ""))
    return folded("The whole process", table(("part", "time", "share"), rows, "<>>"))


def will_not_help(diagnosis: Diagnosis) -> Lines:
    said = [f"- {words(view.will_not_help(item, SIGN))}" for item in diagnosis.will_not_help]
    return folded("What will not help", said)


def same_training(same: SameTraining | None) -> Lines:
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


def machine(environment: Environment) -> Lines:
    rows = [(name(label), name(value)) for label, value in about.environment_rows(environment)]
    return folded("Environment", table(("", ""), rows, "<<"))


def warning(said: Sequence[str], title: str) -> Lines:
    if not said:
        return []
    return ["> [!WARNING]", f"> **{title}**", ">", *(f"> - {words(text.sentence(line))}" for line in said)]


def effect(effect: Effect | None) -> str:
    return name(text.effect_sentence(effect, SIGN))

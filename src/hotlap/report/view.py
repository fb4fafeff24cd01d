"""What every report says, whatever it is drawn with: rows and sentences made from the records.

backward            12.0 ms        a parent: the sum of what is under it, never added itself
├── rest of it       7.0 ms        the leaf that the record calls ``backward``
├── recompute        4.0 ms
└── gradient_sync    1.0 ms
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from hotlap.diagnose import rule
from hotlap.errors import HotlapError
from hotlap.records import (
    PHASES,
    Budget,
    Comparison,
    Diagnosis,
    Effect,
    Environment,
    Facts,
    Finding,
    Run,
    SameTraining,
    Trial,
    Tuning,
)
from hotlap.report import text

INSIDE_BACKWARD = ("recompute", "gradient_sync")

OWN_BACKWARD = "backward itself"


class PhaseRow(NamedTuple):
    """A line of the phase tree. Only leaves count towards the sum."""

    #: Name in the record, which chooses the colour.
    phase: str
    label: str
    seconds: float
    #: Of the sum of all leaves, 0 to 1; None when that sum is zero.
    share: float | None
    depth: int
    leaf: bool


def leaves(phases: Mapping[str, float]) -> dict[str, float]:
    """Return the leaves that took time, in the order of a step, ``other`` last and always there."""
    names = [name for name in PHASES if name != "other" and phases.get(name, 0.0) > 0]
    names += [name for name, spent in phases.items() if name not in PHASES and spent > 0]
    return {name: phases[name] for name in names} | {"other": phases.get("other", 0.0)}


def in_order(names: Iterable[str]) -> list[str]:
    """Return each name once, in the order of a step, ``other`` last."""
    once = list(dict.fromkeys(names))
    known = {name: rank for rank, name in enumerate(PHASES)}
    return sorted(once, key=lambda name: known.get(name, len(known) - 1.5))


def phase_rows(phases: Mapping[str, float]) -> list[PhaseRow]:
    """Return the tree of a step: leaves, and ``backward`` as a parent where something is known inside it."""
    spent = leaves(phases)
    total = math.fsum(spent.values())
    inside = {name: spent[name] for name in ("backward", *INSIDE_BACKWARD) if name in spent}
    nested = any(name in spent for name in INSIDE_BACKWARD)
    rows: list[PhaseRow] = []

    def add(phase: str, label: str, value: float, depth: int = 0, leaf: bool = True) -> None:
        rows.append(PhaseRow(phase, label, value, value / total if total > 0 else None, depth, leaf))

    for name, value in spent.items():
        if not (nested and name in inside):
            add(name, name, value)
        elif not any(not row.leaf for row in rows):
            add("backward", "backward", math.fsum(inside.values()), leaf=False)
            for part, part_value in inside.items():
                add(part, OWN_BACKWARD if part == "backward" else part, part_value, depth=1)
    return rows


class Shift(NamedTuple):
    """A leaf before and after; None where the record has no time of it."""

    phase: str
    before: float | None
    after: float | None

    @property
    def difference(self) -> float:
        return (self.after or 0.0) - (self.before or 0.0)


def before_after(before: Diagnosis, after: Diagnosis) -> list[Shift]:
    """Return the leaves of a step before and after, and their sums as the last row."""
    old, new = leaves(before.phases), leaves(after.phases)
    rows = [Shift(name, old.get(name), new.get(name)) for name in in_order([*old, *new])]
    return [*rows, Shift("sum of the leaves", math.fsum(old.values()), math.fsum(new.values()))]


def budget_rows(budget: Budget) -> list[tuple[str, float]]:
    """Return the parts of the process's wall clock; what they leave open is the row ``unexplained``."""
    parts = [
        ("startup", budget.startup),
        ("warmup", budget.warmup),
        ("steps", budget.steps),
        ("validation", budget.validation),
        ("checkpoint", budget.checkpoint),
        ("logging", budget.logging),
        ("end", budget.end),
    ]
    left = budget.wall - math.fsum(value for _, value in parts)
    if abs(left) > max(1e-3, 1e-4 * abs(budget.wall)):
        parts.append(("unexplained", left))
    return [(name, value) for name, value in parts if value or name in ("startup", "steps")]


def informs_only(finding: Finding) -> bool:
    """Whether a finding describes the training rather than naming something to remove."""
    try:
        return rule(finding.code).information
    except (HotlapError, LookupError):
        return finding.seconds <= 0


def causes(diagnosis: Diagnosis) -> list[Finding]:
    return [finding for finding in diagnosis.findings if not informs_only(finding)]


def at_stake(finding: Finding, sign: str = "x") -> str:
    if finding.seconds <= 0:
        return "Nothing at stake"
    return (
        f"{text.seconds(finding.seconds)} of a step at stake ({text.percent(finding.share)}), "
        f"at most {text.ratio(finding.bound, sign)}"
    )


def profile_headline(diagnosis: Diagnosis, sign: str = "x") -> str:
    speed = f"A step takes {text.seconds(diagnosis.step_seconds)}"
    if text.known(diagnosis.throughput):
        speed += f" ({text.rate(diagnosis.throughput)})"
    found = causes(diagnosis)
    if found:
        first = found[0]
        title = text.lower_first(first.title.rstrip("."))
        return f"{speed}; {title}, and ending that could give at most {text.ratio(first.bound, sign)}."
    if diagnosis.findings:
        return f"{speed}; {text.lower_first(diagnosis.findings[0].title.rstrip('.'))}."
    return f"{speed}; no known cause has time at stake."


def probe_cost(facts: Facts, diagnosis: Diagnosis) -> str:
    if facts.probe_seconds is None:
        return "What the probe itself cost is not known (n/a)."
    mean = math.fsum(diagnosis.phases.values())
    share = f" ({100 * facts.probe_seconds / mean:.2g} %)" if mean > 0 else ""
    return f"The probe itself cost {text.seconds(facts.probe_seconds)} a step{share}, measured around its own code."


def trouble(run: Run) -> str | None:
    """Return what a reader must know about how the run ended, or None when it ended well."""
    info = run.info
    if info.outcome in ("finished", "stopped") and not info.reason:
        return None
    ended = f"The run ended as: {info.outcome.replace('_', ' ')}"
    if info.exit_code is not None:
        ended += f", exit code {info.exit_code}"
    return text.stop(f"{ended}. {info.reason}" if info.reason else ended)


def machine(facts: Facts, environment: Environment) -> str:
    """Return the machine in one line."""
    gpus = environment.gpus
    device = ", ".join(f"{gpus.count(name)} × {name}" for name in dict.fromkeys(gpus)) or environment.cpu or "CPU n/a"
    parts = [device, text.plural(environment.cores, "core"), f"torch {environment.torch or text.NA}"]
    if facts.world_size > 1:
        parts.append(f"{facts.world_size} ranks")
    return ", ".join(parts)


def fate(trial: Trial) -> Literal["kept", "dropped", "not run"]:
    if trial.kept:
        return "kept"
    return "dropped" if trial.effect is not None else "not run"


def nothing_gained(tuning: Tuning) -> bool:
    return not tuning.adopted


def tuning_headline(tuning: Tuning, sign: str = "x") -> str:
    """Return the verdict of a tuning in one sentence, with the interval."""
    if nothing_gained(tuning):
        tried = sum(trial.effect is not None for trial in tuning.trials)
        if not tried:
            return "Nothing to gain: no change was worth a trial."
        return f"Nothing to gain: of {text.plural(tried, 'change')} measured, none was proven faster."
    if tuning.effect is None:
        return f"{text.plural(len(tuning.adopted), 'change')} kept, but not measured together in fresh processes."
    words = {"faster": "Faster", "not faster": "Not faster", "slower": "Slower", "unclear": "Unclear"}
    changes = ", ".join(change.id for change in tuning.adopted)
    same = {True: "", False: "; it is another training", None: "; whether it is the same training is unclear"}
    but = same[tuning.same_training.same if tuning.same_training else None]
    return f"{words[tuning.judgement]}: {text.effect_sentence(tuning.effect, sign)}, with {changes}{but}."


def comparison_headline(comparison: Comparison, sign: str = "x") -> str:
    words = {
        "faster": "B is faster than A",
        "not faster": "B is not faster than A",
        "slower": "B is slower than A",
        "unclear": "Unclear whether B is faster than A",
    }
    same = {
        True: "it is the same training",
        False: "but it is another training",
        None: "and whether it is the same training is unclear",
    }
    effect = text.effect_sentence(comparison.effect, sign)
    return f"{words[comparison.judgement]}: {effect}; {same[comparison.same_training.same]}."


def no_op_sentence(effect: Effect, sign: str = "x") -> str:
    """Return what the arm that changes nothing says about the machine."""
    figures = text.effect_sentence(effect, sign)
    if not (text.known(effect.low) and text.known(effect.high)) or effect.n < 1:
        return f"No-op arm: {figures}; whether the machine is quiet enough is not known."
    if effect.low <= 1 <= effect.high:
        return f"No-op arm: {figures}; it does not move, as it must."
    return f"No-op arm: {figures}; it moves although nothing changed, so the machine is too noisy."


def same_word(same: SameTraining | None) -> str:
    if same is None:
        return text.NA
    return {True: "yes", False: "no", None: "unclear"}[same.same]


def break_even(tuning: Tuning) -> str:
    steps = tuning.break_even_steps
    return text.NA if steps is None else text.plural(steps, "step")


def peak(facts: Facts) -> int | None:
    """Return the peak memory of the device, or of the host where there is no other device."""
    return facts.peak_device_memory if facts.peak_device_memory is not None else facts.peak_memory

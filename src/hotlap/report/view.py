"""What every report says, whatever it is drawn with: rows and sentences made from the records.

backward            12.0 ms        a parent: the sum of what is under it, never added itself
├── rest of it       7.0 ms        the leaf that the record calls ``backward``
├── recompute        4.0 ms
└── gradient_sync    1.0 ms
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from hotlap.diagnose import rule
from hotlap.errors import HotlapError
from hotlap.records import (
    PHASES,
    UNCOUNTED,
    Budget,
    Diagnosis,
    Facts,
    Finding,
    Metric,
    Run,
    WillNotHelp,
)
from hotlap.report import text

#: Where the mean of the steps is that many times their median, both are said.
_SKEWED = 1.25

INSIDE_BACKWARD = ("recompute", "gradient_sync")

OWN_BACKWARD = "backward itself"

SUM = "sum of the leaves"


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
    """Return the leaves of a step before and after, and their sums as the last row.

    Without validation and checkpoints where one of the two was too short to come to them: nothing was saved there.
    """
    old, new = leaves(before.phases), leaves(after.phases)
    once = {name for name in UNCOUNTED if (name in old) != (name in new)}
    old, new = ({name: spent for name, spent in part.items() if name not in once} for part in (old, new))
    rows = [Shift(name, old.get(name), new.get(name)) for name in in_order([*old, *new])]
    return [*rows, Shift(SUM, math.fsum(old.values()), math.fsum(new.values()))]


def budget_rows(budget: Budget) -> list[tuple[str, float]]:
    """Return the parts of the process's wall clock; what they leave open is the row ``unexplained``."""
    parts = [
        ("startup", budget.startup),
        ("building", budget.building),
        ("compiling", budget.compiling),
        ("loader_start", budget.loader_start),
        ("warmup", budget.warmup),
        ("steps", budget.steps),
        ("measuring", budget.measuring),
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
        return finding.seconds <= 0 and finding.risk is None


def describes(finding: Finding) -> bool:
    """Whether a finding says where the time goes when nothing is wrong, so that its bound is no promise."""
    try:
        return rule(finding.code).describes
    except (HotlapError, LookupError):
        return False


def causes(diagnosis: Diagnosis) -> list[Finding]:
    return [finding for finding in diagnosis.findings if not informs_only(finding)]


def at_stake(finding: Finding, sign: str = "x") -> str:
    if finding.risk is not None:
        return f"A risk: {finding.risk}"
    if finding.seconds <= 0:
        return "Nothing at stake" if informs_only(finding) else "What it costs is not measured"
    if describes(finding):
        return f"{text.seconds(finding.seconds)} of a step ({text.percent(finding.share)}), which is no fault"
    return (
        f"{text.seconds(finding.seconds)} of a step at stake ({text.percent(finding.share)}), "
        f"at most {text.ratio(finding.bound, sign)}"
    )


def measured_rank(facts: Facts) -> str:
    """Return whose samples were counted, where there are several ranks; the others may train others or the same."""
    return f"on rank 0 of {facts.world_size}" if facts.world_size > 1 else ""


def rate(diagnosis: Diagnosis, facts: Facts) -> str:
    return f"{text.rate(diagnosis.throughput)} {measured_rank(facts)}".rstrip()


def profile_headline(diagnosis: Diagnosis, facts: Facts, sign: str = "x") -> str:
    speed = f"A step takes {text.seconds(diagnosis.step_seconds)} (median{_mean(diagnosis)})"
    if text.known(diagnosis.throughput):
        speed += f", {rate(diagnosis, facts)} (mean, without validation, checkpoints and logging)"
    found = causes(diagnosis)
    if found:
        first = found[0]
        title = text.lower_first(first.title.rstrip("."))
        if first.risk is not None:
            return f"{speed}; {title}: {first.risk}."
        risks = [finding for finding in found if finding.risk is not None]
        also = f" {risks[0].title.rstrip('.')}: {risks[0].risk}." if risks else ""
        gain = f", and ending that could give at most {text.ratio(first.bound, sign)}" if first.seconds > 0 else ""
        return f"{speed}; {title}{gain}.{also}"
    if diagnosis.findings and describes(diagnosis.findings[0]) and diagnosis.findings[0].seconds > 0:
        outside = [each for each in diagnosis.findings if not describes(each) and each.seconds > 0]
        where = " in the training" if outside else ""
        said = "; ".join(text.lower_first(each.title.rstrip(".")) for each in [diagnosis.findings[0], *outside[:1]])
        return f"{speed}; nothing known is wrong{where}: {said}."
    if diagnosis.findings:
        return f"{speed}; {text.lower_first(diagnosis.findings[0].title.rstrip('.'))}."
    return f"{speed}; no known cause has time at stake."


def _mean(diagnosis: Diagnosis) -> str:
    """Where a few steps take most of the time, the median alone would mislead."""
    mean = math.fsum(seconds for phase, seconds in diagnosis.phases.items() if phase not in UNCOUNTED)
    return f"; {text.seconds(mean)} on average" if mean > _SKEWED * diagnosis.step_seconds else ""


def steady_sentence(diagnosis: Diagnosis) -> str:
    steady = f"Median step {text.seconds(diagnosis.step_seconds)}; steady from step {diagnosis.steady_from}"
    apart = f"{text.plural(len(diagnosis.outliers), 'outlier')} apart" if diagnosis.outliers else "no outliers"
    return f"{steady}, {apart}."


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
    if info.reason and info.reason.startswith("exit code"):
        return text.stop(f"{ended}, {info.reason}")
    if info.exit_code is not None:
        ended += f", exit code {info.exit_code}"
    return text.stop(f"{ended}. {text.upper_first(info.reason)}" if info.reason else ended)


def will_not_help(item: WillNotHelp, sign: str = "x") -> str:
    return f"{text.upper_first(item.remedy)}: at most {text.ratio(item.bound, sign)}. {text.stop(item.reason)}"


def total(phases: Mapping[str, float]) -> float:
    return math.fsum(leaves(phases).values())


def last_metrics(run: Run) -> list[Metric]:
    """Return the last value of each metric, in the order in which they first came."""
    return list({metric.name: metric for metric in run.metrics}.values())


def speed(diagnosis: Diagnosis, facts: Facts) -> str:
    samples = f", {rate(diagnosis, facts)}" if text.known(diagnosis.throughput) else ""
    return f"{text.seconds(diagnosis.step_seconds)} a step (median{_mean(diagnosis)}){samples}"


#: A figure that a page shows large: its label, the figure, and a note that may be empty.
Tile = tuple[str, str, str]


def run_tiles(run: Run, diagnosis: Diagnosis | None, sign: str = "x") -> list[Tile]:
    wall = text.seconds(run.info.ended - run.info.started)
    ended: Tile = ("The run", run.info.outcome.replace("_", " "), f"{text.plural(len(run.steps), 'step')} in {wall}")
    memory: Tile = ("Peak memory", text.size(peak(run.facts)), "of the device" if run.facts.peak_device_memory else "")
    if diagnosis is None:
        return [ended, memory]
    found = causes(diagnosis)
    steady = f"median of {text.plural(diagnosis.steady_steps, 'steady step')}{_mean(diagnosis)}"
    tiles: list[Tile] = [
        ("A step", text.seconds(diagnosis.step_seconds), steady),
        ("Throughput", text.rate(diagnosis.throughput), measured_rank(run.facts)),
    ]
    if found and found[0].seconds > 0:
        tiles.append(("Most to gain", text.ratio(found[0].bound, sign), f"{found[0].code}, an upper bound"))
    return [*tiles, ended, memory]


def peak(facts: Facts) -> int | None:
    """Return the peak memory of the device, or of the host where there is no other device."""
    return facts.peak_device_memory if facts.peak_device_memory is not None else facts.peak_memory

"""A run in Prometheus' text format, as node_exporter's textfile collector takes it: no time stamps, base units.

Every sample has the label ``run``, so that files of several runs may lie in one folder.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from hotlap.diagnose import core
from hotlap.diagnose.context import Context
from hotlap.export.described import began
from hotlap.records import Diagnosis, Run
from hotlap.report import view

_QUANTILES = (0.5, 0.9, 0.99)


class Family(NamedTuple):
    """A metric with its samples: what stands behind its name, labels, and the value."""

    name: str
    kind: str
    help: str
    samples: list[tuple[str, dict[str, str], float]]


def render(run: Run, diagnosis: Diagnosis) -> str:
    """Return the text; a figure that is not known has no sample, and a family without samples is not there."""
    return "".join(_lines(family, run.info.name) for family in families(run, diagnosis) if family.samples)


def families(run: Run, diagnosis: Diagnosis) -> list[Family]:
    info, facts, environment = run.info, run.facts, run.info.environment
    labels = {
        "outcome": info.outcome,
        "hotlap": environment.hotlap,
        "torch": environment.torch or "",
        "python": environment.python,
        "device": facts.device or "",
    }
    budget = dict(view.budget_rows(diagnosis.budget))
    losses = [step.loss for step in run.steps if step.loss is not None]
    last = {metric.name: metric.value for metric in run.metrics}
    stake = {finding.code: finding.seconds for finding in diagnosis.findings if finding.seconds > 0}
    return [
        _gauge("hotlap_run_info", "The run, and what it ran on.", [(labels, 1)]),
        _one("hotlap_run_start_time_seconds", "Unix time at which it began.", began(run)),
        _one("hotlap_run_duration_seconds", "Wall time of the whole process.", info.ended - info.started),
        _one("hotlap_steps", "Optimizer steps that were recorded.", len(run.steps)),
        _steps(run),
        _by("hotlap_phase_seconds", "Mean of each leaf phase of a steady step.", "phase", diagnosis.phases),
        _by("hotlap_budget_seconds", "Where the wall time of the process went.", "part", budget),
        _one("hotlap_throughput_samples_per_second", "Throughput of the steady steps.", diagnosis.throughput),
        _one("hotlap_loss", "Loss of the last step that has one.", losses[-1] if losses else None),
        _one("hotlap_peak_memory_bytes", "Peak memory of the training process.", facts.peak_memory),
        _one("hotlap_peak_device_memory_bytes", "Peak memory of its device.", facts.peak_device_memory),
        _gauge(
            "hotlap_finding",
            "1 for each finding.",
            [({"code": each.code, "title": each.title}, 1) for each in diagnosis.findings],
        ),
        _by("hotlap_finding_seconds", "Seconds of a step at stake by a finding.", "code", stake),
        _by("hotlap_metric", "Last value of a metric that the training reported.", "name", last),
    ]


def _steps(run: Run) -> Family:
    """Of the steady steps, as the diagnosis counts them: without outliers and what happens between the steps."""
    walls = sorted(core(step) for step in Context(run).steps)
    samples: list[tuple[str, dict[str, str], float]] = []
    if walls:
        samples = [("", {"quantile": f"{q:g}"}, _quantile(walls, q)) for q in _QUANTILES]
        samples += [("_sum", {}, math.fsum(walls)), ("_count", {}, len(walls))]
    return Family("hotlap_step_seconds", "summary", "Wall time of a steady step.", samples)


def _quantile(ordered: Sequence[float], q: float) -> float:
    """Between two values where it falls between them, so that 0.5 is the median that the profile shows."""
    place = q * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def _one(name: str, told: str, value: float | None) -> Family:
    return _gauge(name, told, [] if value is None else [({}, value)])


def _by(name: str, told: str, label: str, values: Mapping[str, float]) -> Family:
    return _gauge(name, told, [({label: key}, value) for key, value in values.items()])


def _gauge(name: str, told: str, samples: Iterable[tuple[dict[str, str], float]]) -> Family:
    return Family(name, "gauge", told, [("", labels, value) for labels, value in samples])


def _lines(family: Family, run: str) -> str:
    lines = [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
    for suffix, labels, value in family.samples:
        written = ",".join(f'{key}="{_escaped(each)}"' for key, each in {"run": run, **labels}.items())
        lines.append(f"{family.name}{suffix}{{{written}}} {_number(value)}")
    return "\n".join(lines) + "\n"


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"

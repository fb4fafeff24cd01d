"""From the record of a run to named causes. Pure functions: nothing here measures, trains or prints.

Run -> steady steps -> Context (means) -> rules -> Diagnosis
"""

from __future__ import annotations

from hotlap.callable import make_callable
from hotlap.diagnose import ranks
from hotlap.diagnose.budget import budget
from hotlap.diagnose.context import Context
from hotlap.diagnose.held import said_of_dataset
from hotlap.diagnose.logs import diagnose_log
from hotlap.diagnose.machine import Machine
from hotlap.diagnose.memory import memory_report
from hotlap.diagnose.rules import catalogue, everything, explain, rule
from hotlap.diagnose.stages import leaves as stage_leaves
from hotlap.diagnose.stalls import data_stalls
from hotlap.diagnose.steady import core, steady
from hotlap.diagnose.will_not_help import will_not_help
from hotlap.errors import TrainingFailed
from hotlap.records import Diagnosis, Finding, Run

make_callable(__name__)

__all__ = [
    "Machine",
    "budget",
    "catalogue",
    "core",
    "diagnose",
    "diagnose_log",
    "everything",
    "explain",
    "rule",
    "stage_leaves",
    "steady",
]


def diagnose(run: Run, machine: Machine | None = None) -> Diagnosis:
    """Name the causes that keep this training from being faster, the costliest first.

    After those come findings without seconds, and information last.

    ``step_seconds`` is the median of the steady steps without the time between them; ``phases`` are means over the
    steady steps that add up to the mean step with its part of the time between (see ``Context.phases``), so the two
    differ where steps scatter. ``throughput`` is samples over seconds of the steady steps, without the time between
    and without outliers. Of several ranks it is that of rank 0: whether the others train other samples (data parallel)
    or the same (tensor parallel) cannot be seen, so it is not multiplied.

    Raises:
        TrainingFailed: the run has no step.
    """
    if not run.steps:
        raise TrainingFailed(_no_steps(run))
    context = Context(run, machine)
    for each in catalogue():
        finding = each.check(context)
        if finding is not None:
            context.found.append(finding)
    return Diagnosis(
        findings=sorted(context.found, key=_rank),
        will_not_help=will_not_help(context),
        step_seconds=context.step_seconds,
        phases=context.phases,
        throughput=_throughput(context),
        budget=budget(run),
        steady_from=context.steady_from,
        steady_steps=len(context.steps),
        outliers=context.outliers,
        memory=memory_report(context, said_of_dataset(run.memory.dataset, run.facts)),
        ranks=ranks.rows(context),
        syncs=run.syncs,
        sampled=run.sampled,
        compilations=run.compilations,
        stages=context.stages,
        device=run.device,
        ablations=run.ablations,
        data_stalls=data_stalls(run.ablations),
    )


def _rank(finding: Finding) -> tuple[bool, bool, float]:
    """What costs time, then what is wrong otherwise, then information."""
    it = rule(finding.code)
    return it.information, it.risk, -finding.seconds


def _throughput(context: Context) -> float | None:
    samples = [step.samples for step in context.steps if step.samples is not None]
    seconds = sum(core(step) for step in context.steps)
    return sum(samples) / seconds if len(samples) == len(context.steps) and seconds > 0 else None


def _no_steps(run: Run) -> str:
    info = run.info
    seen = f"{' '.join(info.command)!r} ran for {info.ended - info.started:.1f} s ({info.outcome.replace('_', ' ')})"
    why = f": {info.reason.rstrip('.')}" if info.reason else ""
    if info.outcome not in ("finished", "hung"):
        return f"{seen} before its first training step{why}"
    return (
        f"{seen} without a training step{why}. A step is a call of optimizer.step() on a torch optimizer: let it "
        "train for at least one, or call hotlap.step() once per step in a loop without one"
    )

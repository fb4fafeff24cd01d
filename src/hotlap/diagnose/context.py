"""What the rules look at: the run, and the means of its steady steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean, median

from hotlap.diagnose.happenings import compiled, compiled_in_validation, started, training_starts, usual_wait
from hotlap.diagnose.inputs import OF_INPUTS, Inputs, growing, tenths
from hotlap.diagnose.machine import Machine
from hotlap.diagnose.stages import stage_tree
from hotlap.diagnose.steady import core, scatter, scatter_around, steady_steps
from hotlap.diagnose.thresholds import (
    DEVICE_BOUND,
    DEVICE_KNOWN,
    FEW_STEPS,
    FEW_STEPS_SHARE,
    LEAST_SHARE,
    MAD_TO_SIGMA,
)
from hotlap.diagnose.trend import Shift, Trend, trend
from hotlap.records import BETWEEN, PHASES, Facts, Finding, Run, StageTree, Step


@dataclass(frozen=True)
class Context:
    """A run with at least one step, as the rules see it. ``found`` are the findings of the rules before."""

    run: Run
    machine: Machine | None = None
    found: list[Finding] = field(default_factory=list)

    @property
    def facts(self) -> Facts:
        return self.run.facts

    @cached_property
    def _steady(self) -> tuple[int, list[int]]:
        return steady_steps(self.run.steps, self.compiled)

    @cached_property
    def compiled(self) -> dict[int, float]:
        """Seconds of compilation by the number of the step, for each that has any."""
        return compiled(self.run)

    @property
    def steady_from(self) -> int:
        return self._steady[0]

    @property
    def outliers(self) -> list[int]:
        return self._steady[1]

    @cached_property
    def steps(self) -> list[Step]:
        """The steady steps without the outliers, and without those that compiled something where others are left."""
        apart = set(self.outliers)
        steady = [
            step
            for i, step in enumerate(self.run.steps)
            if i >= self.steady_from and i not in apart and not step.looked
        ]
        return [step for step in steady if step.i not in self.compiled] or steady

    @cached_property
    def starts(self) -> dict[int, float]:
        """Seconds beyond the usual wait for a batch, by the number of the step in which a training loader started."""
        at = {each.step: None for each in training_starts(self.run) if each.step is not None}
        return started(self.run, usual_wait(self.run.steps[self.steady_from :], at))

    @cached_property
    def start_wait(self) -> float:
        """Mean seconds of a loader's start that are in the ``data_wait`` of ``phases``."""
        return fmean(self.starts.get(step.i, 0.0) for step in self.steps)

    @cached_property
    def step_seconds(self) -> float:
        """Median ``core`` of a steady step."""
        return median(core(step) for step in self.steps)

    @cached_property
    def phases(self) -> dict[str, float]:
        """Mean seconds of each leaf that was seen; they add up to the mean core plus the mean time between steps.

        Leaves of the core are means over the steady steps without outliers. Those between the steps are means over all
        steady steps, because an evaluation or a checkpoint often goes with a stall. Where the recorded leaves do not
        add up to the step (rounding, or a leaf that nobody measured), what is missing is ``other`` and what is too
        much is scaled away.
        """
        rows = [step.phases for step in self.steps]
        seen = {name for row in rows for name in row} - set(BETWEEN)
        means = {name: fmean(row.get(name, 0.0) for row in rows) for name in seen}
        total = fmean(core(step) for step in self.steps)
        missing = total - sum(means.values())
        if missing > 1e-9 * total:
            means["other"] = means.get("other", 0.0) + missing
        elif missing < 0:
            means = {name: seconds * total / (total - missing) for name, seconds in means.items()}
        everything = [step for step in self.run.steps[self.steady_from :] if not step.looked]
        for name in BETWEEN:
            if any(name in step.phases for step in everything):
                means[name] = fmean(step.phases.get(name, 0.0) for step in everything)
        if means.get("validation"):
            compiling = compiled_in_validation(self.run)
            means["validation"] -= fmean(compiling.get(step.i, 0.0) for step in everything)
        ordered = [name for name in PHASES if name in means] + sorted(set(means) - set(PHASES))
        return {name: means[name] for name in ordered}

    @cached_property
    def mean(self) -> float:
        """Mean seconds of a steady step with its share of the time between steps."""
        return sum(self.phases.values())

    @cached_property
    def stages(self) -> StageTree | None:
        """Where the time goes in the models."""
        return stage_tree(self.run.stages, self.phases, self.medians)

    @cached_property
    def spread(self) -> float:
        """Median absolute deviation of the steps without their wait for data, over the median step.

        The wait is left out because workers deliver in bursts: that is a pattern, not noise. Nor is it noise that steps
        change over the run: where they are known to, each is compared to those around it.
        """
        busy = [core(step) - step.phases.get("data_wait", 0.0) for step in self.steps]
        if self.changes_over_run:
            return scatter_around(busy)
        return scatter(busy) / self.step_seconds if self.step_seconds > 0 else 0.0

    @cached_property
    def uncertainty(self) -> float:
        """About two standard errors of the mean step, as a share of it."""
        return 2 * MAD_TO_SIGMA * self.spread / math.sqrt(len(self.steps))

    @cached_property
    def least_share(self) -> float:
        """The share of the step that a finding must have at stake."""
        few = FEW_STEPS_SHARE if len(self.steps) < FEW_STEPS else 0.0
        return max(LEAST_SHARE, few, self.uncertainty, self.share(self.facts.probe_seconds or 0.0))

    @cached_property
    def micro_batches(self) -> float:
        """Mean number of micro-batches of a step."""
        return fmean(step.micro_batches for step in self.steps)

    @property
    def cores(self) -> int:
        """Cores for each process of the training."""
        return max(1, self.run.info.environment.cores // max(1, self.facts.world_size))

    @property
    def physical_cores(self) -> int:
        """Like ``cores``, with the hyper-threads of a core counted as one."""
        environment = self.run.info.environment
        physical = min(environment.cores, environment.physical_cores or environment.cores)
        return max(1, physical // max(1, self.facts.world_size))

    @property
    def queue_seconds(self) -> float | None:
        """Seconds of a steady step in which the training thread was ready to run and had no core.

        They were counted over stalls and starts of loaders too, in which a step takes longer.
        """
        seconds, counted = self.facts.queue_seconds, self.facts.counted_seconds
        return None if seconds is None else min(self.mean, seconds * min(1.0, self.mean / (counted or self.mean)))

    @property
    def on_cuda(self) -> bool:
        return (self.facts.device or "").startswith("cuda")

    def seconds(self, *phases: str) -> float:
        return sum(self.phases.get(phase, 0.0) for phase in phases)

    def growth(self, phase: str) -> float:
        """Mean seconds by which a phase that grows over the run lies above its beginning: LOOP06 names these."""
        found = self.trend
        if not isinstance(found, Trend) or found.phase != phase or self.goes_with_inputs(phase):
            return 0.0
        return max(0.0, found.mean - found.first)

    def goes_with_inputs(self, phase: str) -> bool:
        """Whether a phase may take longer over the run only because the inputs grow."""
        if self.inputs is None or phase not in OF_INPUTS:
            return False
        first, last = tenths(self.steps, phase)
        return last <= 0 or (first > 0 and self.inputs.explain(last / first))

    @property
    def changes_over_run(self) -> bool:
        return self.trend is not None or self.inputs is not None

    @cached_property
    def inputs(self) -> Inputs | None:
        """How the inputs grow over the run; None where they do not, or where that was not seen."""
        return growing(self.run.memory.points)

    @cached_property
    def trend(self) -> Trend | Shift | None:
        return trend(self.steps)

    @cached_property
    def medians(self) -> dict[str, float]:
        """``typical``, of all phases."""
        return {phase: self.typical(phase) for phase in self.phases} if self.steps else {}

    def typical(self, phase: str) -> float:
        """Median seconds of a phase that every step has: where other programs interrupt a step, its mean is theirs."""
        return median(step.phases.get(phase, 0.0) for step in self.steps)

    def share(self, seconds: float) -> float:
        """``seconds`` as a share of the mean step, 0 to 1."""
        return min(1.0, max(0.0, seconds / self.mean)) if self.mean > 0 else 0.0

    def device_seconds(self, *phases: str) -> float | None:
        """Seconds that a GPU works in these phases; None where that is not known well, or none computes."""
        seen = self.run.device
        if seen is None or not self.on_cuda:
            return None
        known = [seen.phases[phase] for phase in phases if phase in seen.phases]
        at_least, at_most = sum(each.at_least for each in known), sum(each.at_most for each in known)
        return (at_least + at_most) / 2 if known and at_least >= DEVICE_KNOWN * at_most else None

    @property
    def device_bound(self) -> bool:
        """Whether a GPU is known to work nearly all the time: then the host's seconds say when it had to wait."""
        seen = self.run.device
        return seen is not None and self.on_cuda and seen.busy_at_least >= DEVICE_BOUND

    def spent(self, *phases: str) -> float:
        """Seconds that these phases take: of the device where the step is bound by it, else of the host."""
        device = self.device_seconds(*phases) if self.device_bound else None
        return self.seconds(*phases) if device is None else device

    def exposed(self, *phases: str) -> float:
        """Seconds that the host takes for these phases and that not having them would save.

        Where a GPU works nearly all the time, the host may as well wait for it there as anywhere.
        """
        seconds = self.seconds(*phases)
        working = self.device_seconds(*self.phases) if self.device_bound else None
        return seconds if working is None else max(0.0, min(seconds, self.mean - working))

    @property
    def compute(self) -> float:
        """Seconds of the arithmetic of the model."""
        return self.spent("forward", "backward", "recompute")

"""Ablations: what is suspected is taken away, and the training measured with and without it, block by block.

    profile ──> suspects, by their seconds at stake
    with        |==|    |==||==|    |==|        look after 4 pairs: clear? else go on to 7, then to 10
    without         |==|        |==|            "without X a step takes Y ms less [interval]"

What is measured bounds every remedy against that suspect. It is nothing to train with. Both arms write into the run
directory, so the user's files stay as they are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from hotlap.errors import RunError, TrainingFailed
from hotlap.launch import Limits, environment
from hotlap.launch.rundir import ABLATIONS
from hotlap.records import UNCOUNTED, Ablation, Ablations, Change, Diagnosis, Effect, Run, Step, write_record
from hotlap.tune.arms import BLOCK_SECONDS, BLOCK_STEPS, Arm, ArmFailed, bounded, throughput
from hotlap.tune.statistics import UNBOUNDED, confidence_at_look, effect, too_noisy
from hotlap.tune.target import Target

#: Pairs after which a suspect is looked at, and how often the looks at one may err together.
LOOKS = (4, 7, 10)
ALPHA = 0.05
#: A suspect with a smaller share of the step at stake, and no finding against it, is not worth its time.
LEAST_SHARE = 0.02
#: An effect is known well enough when its interval reaches no further than this share of it to either side ...
WELL_KNOWN = 0.2
#: ... or lies within this share of the step around 0.
NOTHING = 0.02
#: A block has to hold what happens every N steps; longer ones would leave no time for pairs of them.
LONGEST_BLOCK = 4.0


class Suspect(NamedTuple):
    """What may be taken away, by the name that ``hotlap.probe.ablations`` knows."""

    name: str
    title: str
    how: str
    #: Phases whose seconds are at stake, and how the codes of findings against it begin.
    phases: tuple[str, ...]
    codes: tuple[str, ...] = ()
    #: Asked of the run: whether there is such a thing at all.
    there: Callable[[Run], bool] = lambda run: True
    #: A change that takes it away.
    change: Change | None = None
    #: What is said where there is no such thing, and it was asked for.
    absent: str = ""


_NO_RECOMPUTE = Change(
    name="checkpointing",
    value="off",
    title="activations are kept",
    numerics="rounding",
    inject={"checkpointing": "off"},
)
SUSPECTS = (
    Suspect(
        "data",
        "waiting for data",
        "every loader hands out the same batch again",
        ("data_wait",),
        ("DATA",),
        lambda run: run.facts.workers is not None,
        absent="the training has no DataLoader of torch",
    ),
    Suspect(
        "samples",
        "making samples",
        "the first samples of a dataset are used again; collating them stays",
        ("data_wait",),
        ("DATA",),
        lambda run: run.facts.workers is not None and not run.facts.iterable_dataset,
        absent="the training has no DataLoader of torch whose samples have numbers",
    ),
    Suspect(
        "optimizer", "the optimizer", "the step of the optimizer does nothing", ("optimizer",), ("OPTIMIZER", "UPDATE")
    ),
    Suspect("clipping", "gradient clipping", "gradients are not clipped", ("gradient_clip",)),
    Suspect(
        "frozen networks",
        "networks in the loss",
        "a network without a trained parameter returns its first result",
        ("loss",),
        ("LOSS",),
    ),
    Suspect(
        "logging",
        "logging",
        "print, loggers, json.dump and trackers do nothing",
        ("logging",),
        ("LOOP03",),
    ),
    Suspect("saving", "writing checkpoints", "torch.save leaves an empty file", ("checkpoint",), ("LOOP02",)),
    Suspect(
        "validation",
        "validation",
        "it has one batch, and the model returns its first result",
        ("validation",),
        ("LOOP01",),
    ),
    Suspect(
        "recompute",
        "recomputing activations",
        "activations are kept",
        ("recompute",),
        ("CHECKPOINT0", "CHECKPOINTING"),
        change=_NO_RECOMPUTE,
    ),
    Suspect(
        "gradient sync",
        "gradient sync",
        "ranks keep their gradients to themselves",
        ("gradient_sync",),
        ("DISTRIBUTED",),
        lambda run: run.facts.world_size > 1,
    ),
    Suspect(
        "syncs",
        "values read from the device",
        "`.item()` and its like return what they returned first",
        ("other", "logging"),
        ("HOST01", "OTHER01"),
        lambda run: (run.facts.device or "").startswith("cuda"),
    ),
)
#: The differential test of the data side, from the compute ceiling on.
DATA_SIDE = ("data", "samples")
_NOT_FOUND = "nothing was found that could be taken away"
_CONTROL = Suspect("control", "nothing", "nothing is taken away", ())


class Block(NamedTuple):
    """How much of a training a measurement takes, and what of it does not count."""

    seconds: float = BLOCK_SECONDS
    steps: int = BLOCK_STEPS
    uncounted: tuple[str, ...] = UNCOUNTED


def suspects(run: Run, diagnosis: Diagnosis) -> list[tuple[Suspect, Ablation]]:
    """Return what the profile gives reason to take away, with the most at stake first."""
    found = []
    for suspect in SUSPECTS:
        unmeasured = _suspected(suspect, diagnosis)
        if unmeasured.suspected > 0 and suspect.there(run):
            found.append((suspect, unmeasured))
    return sorted(found, key=lambda each: -each[1].suspected)


def _suspected(suspect: Suspect, diagnosis: Diagnosis) -> Ablation:
    against = [finding for finding in diagnosis.findings if finding.code.startswith(suspect.codes or ("-",))]
    stake = sum(diagnosis.phases.get(phase, 0.0) for phase in suspect.phases)
    stake = max([stake, *(finding.seconds for finding in against)])
    return _unmeasured(suspect, stake, [finding.code for finding in against])


def block_for(suspect: Suspect, run: Run, diagnosis: Diagnosis) -> Block | str:
    """Return the block that holds what the suspect does, or why none does.

    What happens every N steps has to happen equally often in every block, so such a block has a multiple of N steps.
    """
    rare = {"logging", "checkpoint", "validation"}.intersection(suspect.phases)
    if not rare or suspect.name == "syncs":
        return Block()
    uncounted = tuple(phase for phase in UNCOUNTED if phase not in rare)
    steps = run.steps[diagnosis.steady_from :]
    when = [step.i for step in steps if any(step.phases.get(phase, 0.0) > 0 for phase in rare)]
    if len(when) == len(steps):
        return Block(uncounted=uncounted)
    if len(when) < 2:
        return "it happened once, so that it is not known how often it happens"
    every = max(after - before for before, after in pairwise(when))
    step = sum(diagnosis.phases.values())
    if every * step > LONGEST_BLOCK:
        return f"it happens every {every} steps, too seldom for short runs; the profile has its share"
    return Block(0.0, every * max(math.ceil(BLOCK_SECONDS / (every * step)), math.ceil(BLOCK_STEPS / every)), uncounted)


def prove_suspects(
    command: Sequence[str],
    run: Run,
    diagnosis: Diagnosis,
    directory: Path,
    *,
    budget: float,
    progress: Callable[[str], None],
    limits: Limits | None = None,
    asked: Sequence[str] = (),
    suspected: bool = True,
) -> Ablations:
    """Take the suspects of a profile away one by one; what was measured is also written to ``directory``.

    First those that are ``asked`` for by name, whatever is at stake or left of the budget; then, where ``suspected``,
    what the profile gives reason to.
    """
    with _Proof(Target.of_command(command), directory, budget, progress, limits or Limits(), asked) as proof:
        named = {suspect.name: (suspect, _suspected(suspect, diagnosis)) for suspect in SUSPECTS}
        found = [named[name] for name in asked]
        if suspected:
            found += [each for each in suspects(run, diagnosis) if each[0].name not in asked]
        for number, (suspect, unmeasured) in enumerate(found):
            proof.waiting = len(found) - number - 1
            proof.examine(suspect, unmeasured, run, diagnosis)
        ablations = proof.concluded()
    write_record(directory / ABLATIONS, ablations)
    return ablations


class _Proof:
    def __init__(
        self,
        target: Target,
        directory: Path,
        budget: float,
        progress: Callable[[str], None],
        limits: Limits,
        asked: Sequence[str],
    ) -> None:
        self.target = target
        self.asked = asked
        self.directory = directory / "ablations"
        self.environment = environment()
        self.limits = bounded(limits, self.environment)
        self.budget = budget
        self.progress = progress
        self.began = time.monotonic()
        self.tried: list[Ablation] = []
        self.not_tried: list[Ablation] = []
        self.control: Ablation | None = None
        self.warnings: list[str] = []
        #: Seconds that a suspect needs at the least, by the one before.
        self.needed = 0.0
        #: Suspects that are still to come: they are left as much time as this one takes for more looks.
        self.waiting = 0
        self.baseline = self.arm("baseline")

    def __enter__(self) -> _Proof:
        return self

    def __exit__(self, *_: object) -> None:
        self.baseline.close()

    def arm(self, name: str, suspect: Suspect | None = None) -> Arm:
        change = suspect.change if suspect else None
        without = suspect.name if suspect and suspect is not _CONTROL and change is None else None
        return Arm(
            self.target,
            [change] if change else [],
            self.directory / name.replace(" ", "-"),
            self.environment,
            limits=self.limits,
            without=without,
        )

    def left(self) -> float:
        return self.budget - (time.monotonic() - self.began)

    def examine(self, suspect: Suspect, unmeasured: Ablation, run: Run, diagnosis: Diagnosis) -> None:
        share = unmeasured.suspected / max(sum(diagnosis.phases.values()), 1e-12)
        block = block_for(suspect, run, diagnosis)
        why, asked = None, suspect.name in self.asked
        if not suspect.there(run):
            why = suspect.absent
        elif share < LEAST_SHARE and not unmeasured.findings and not asked:
            why = f"too little is at stake: {100 * share:.2g}% of a step"
        elif isinstance(block, str):
            why = block
        elif self.warnings:
            why = "the training itself could not be measured"
        elif self.left() < self.needed and not asked:
            why = "no time was left: a longer --budget has it"
        if why is not None or isinstance(block, str):
            self.not_tried.append(_with(unmeasured, why=why or ""))
            return
        began = time.monotonic()
        self.tried.append(self.measured(suspect, unmeasured, block))
        if self.control is None and not self.warnings and self.left() > time.monotonic() - began:
            self.control = self.measured(_CONTROL, _unmeasured(_CONTROL, 0.0, []), Block(), LOOKS[:1])

    def measured(self, suspect: Suspect, unmeasured: Ablation, block: Block, looks: Sequence[int] = LOOKS) -> Ablation:
        """Measure until it is clear, or the last look has been taken, or no time is left."""
        control = suspect is _CONTROL
        self.progress("the training against itself" if control else f"taking away {suspect.title}: {suspect.how}")
        arm = self.arm(suspect.name, suspect)
        pairs: list[float] = []
        steps: list[float] = []
        result = unmeasured
        try:
            self.baseline.warm()
            began_at = time.monotonic()
            arm.warm()
            # What happens every N steps has perhaps not happened yet.
            if block.seconds and not _taken_away(arm, suspect):
                return _with(unmeasured, why=_NOT_FOUND)
            for look in looks:
                began, before = time.monotonic(), len(pairs)
                while len(pairs) < look:
                    ratio, seconds = _pair(self.baseline, arm, block, len(pairs))
                    pairs.append(ratio)
                    steps.append(seconds)
                result = _result(unmeasured, effect(pairs, confidence_at_look(ALPHA, LOOKS, look)), median(steps))
                each = (time.monotonic() - began) / (look - before)
                if _clear(result) or look == looks[-1]:
                    break
                if (looks[looks.index(look) + 1] - look) * each > self.left() / (1 + self.waiting):
                    break
            if not _taken_away(arm, suspect):
                return _with(unmeasured, why=_NOT_FOUND)
            self.needed = 0.7 * (time.monotonic() - began_at)
        except (TrainingFailed, RunError) as error:
            if isinstance(error, ArmFailed) and arm.training is None and self.baseline.training is not None:
                return _with(unmeasured, why=f"the training does not run without it: {error}")
            self.warnings.append(f"the ablations could not be measured: {error}")
            return _with(unmeasured, why="the training itself could not be measured")
        finally:
            arm.close()
        if not control:
            self.progress(f"without {suspect.title} a step takes {1e3 * (result.seconds or 0.0):.3g} ms less")
        return result

    def concluded(self) -> Ablations:
        control = self.control.effect if self.control is not None else None
        noisy = [_noisy(control)] if control is not None and too_noisy(control) else []
        return Ablations(
            budget=self.budget,
            spent=time.monotonic() - self.began,
            tried=self.tried,
            not_tried=self.not_tried,
            control=self.control,
            warnings=[*self.warnings, *noisy],
        )


def _noisy(control: Effect) -> str:
    return (
        f"machine too noisy: with nothing taken away, blocks gave {min(control.pairs):.2f}x to "
        f"{max(control.pairs):.2f}x; small effects cannot be seen here, so close other programs and profile again"
    )


def _pair(with_it: Arm, without: Arm, block: Block, number: int) -> tuple[float, float]:
    """Return the ratio of throughputs, and the seconds of a step with it."""
    order = (with_it, without) if number % 2 == 0 else (without, with_it)
    steps = {id(arm): arm.block(block.seconds, block.steps) for arm in order}
    a, b = steps[id(with_it)], steps[id(without)]
    return throughput(b, block.uncounted) / throughput(a, block.uncounted), _seconds(a, block)


def _seconds(steps: Sequence[Step], block: Block) -> float:
    return sum(step.wall - sum(step.phases.get(name, 0.0) for name in block.uncounted) for step in steps) / len(steps)


def _taken_away(arm: Arm, suspect: Suspect) -> bool:
    """Whether the probe says so."""
    if suspect is _CONTROL:
        return True
    notes = arm.so_far().notes
    return not notes if suspect.change else f"taken away: {suspect.name}" in notes


def _result(unmeasured: Ablation, measured: Effect, step: float) -> Ablation:
    def saved(ratio: float) -> float:
        return step * (1 - 1 / ratio)

    return _with(
        unmeasured,
        effect=measured,
        step_seconds=step,
        seconds=saved(measured.ratio),
        low=saved(measured.low) if measured.low > 0 else None,
        high=saved(measured.high) if measured.high < UNBOUNDED else None,
    )


def _clear(result: Ablation) -> bool:
    if result.seconds is None or result.low is None or result.high is None or result.step_seconds is None:
        return False
    nothing = NOTHING * result.step_seconds
    if -nothing <= result.low and result.high <= nothing:
        return True
    return result.low > 0 and result.high - result.low <= 2 * WELL_KNOWN * result.seconds


def _unmeasured(suspect: Suspect, stake: float, codes: list[str]) -> Ablation:
    return Ablation(name=suspect.name, title=suspect.title, how=suspect.how, findings=codes, suspected=stake)


def _with(ablation: Ablation, **fields: object) -> Ablation:
    return msgspec.structs.replace(ablation, **fields)

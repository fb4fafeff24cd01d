"""Two commands: is B really faster than A, and is it the same training? The proof of a tuning, without its search."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from statistics import median

import msgspec

from hotlap.errors import TrainingFailed
from hotlap.launch import environment
from hotlap.records import Comparison, Diagnosis, SameTraining, write_record
from hotlap.tune.arms import Arm, bounded, losses, measure_pairs
from hotlap.tune.goals import objective
from hotlap.tune.guard import identical
from hotlap.tune.journal import open_journal
from hotlap.tune.options import Options
from hotlap.tune.paces import Pace
from hotlap.tune.proof import Launch, launch_pair, over_budget, proof_steps, prove, same_training, warnings_of
from hotlap.tune.statistics import ALPHA, MINIMUM_GAIN, effect, least_gain, too_noisy
from hotlap.tune.target import Target
from hotlap.tune.work import NO_OP_PAIRS


class _First(msgspec.Struct, frozen=True, kw_only=True):
    """What A shows against itself, before it is compared."""

    no_op: list[float]
    deterministic: bool
    step_seconds: float
    first_step: float


def compare(
    a: Sequence[str], b: Sequence[str], options: Options, progress: Callable[[str], None]
) -> tuple[Comparison, Path]:
    """Measure both commands in pairs of fresh processes; return the verdict with its directory.

    Raises:
        TrainingFailed: one of them crashes, never steps, or is not there.
    """
    targets = Target.of_command(a), Target.of_command(b)
    for option, target in zip(("--a", "--b"), targets, strict=True):
        try:
            target.check()
        except TrainingFailed as error:
            raise TrainingFailed(f"{option}: {error}") from None
    here = environment()
    name = hashlib.sha256("".join(target.fingerprint(here) for target in targets).encode()).hexdigest()[:12]
    journal = open_journal(f"compare-{name}", options.run_dir, options.fresh)
    if journal.resumed:
        progress(f"going on with {journal.directory.name}: {journal.resumed} measurements are there already")
    changed = journal.changed_since(here)
    arms: list[Arm] = []

    def arm(which: int, label: str, seed: int = 0) -> Arm:
        directory = journal.directory / "arms" / label
        made = Arm(
            targets[which],
            [],
            directory,
            here,
            limits=bounded(options.limits, here),
            seed_offset=seed,
            called="AB"[which],
        )
        arms.append(made)
        return made

    def first() -> _First:
        progress("A against itself, to see what this machine calls a difference")
        one, other = arm(0, "a"), arm(0, "no-op")
        pairs = measure_pairs(one, other, NO_OP_PAIRS)
        runs = one.so_far(), other.so_far()
        same, _ = identical(losses(runs[0]), losses(runs[1]))
        walls = [step.wall for step in runs[0].steps]
        one.close()
        other.close()
        return _First(
            no_op=pairs, deterministic=bool(same), step_seconds=median(walls), first_step=one.first_step or 0.0
        )

    def measure(number: int) -> Launch:
        pair_of = arm(0, f"proof-{number}-a", number), arm(1, f"proof-{number}-b", number)
        return launch_pair(*pair_of, steps, to_the_end=False)

    def pairs(numbers: Sequence[int]) -> list[Launch]:
        return [journal.once(f"pair {number}", Launch, partial(measure, number)) for number in numbers]

    try:
        alone = journal.once("first", _First, first)
        pace = Pace(alone.step_seconds, alone.first_step)
        steps = journal.once("steps", int, lambda: proof_steps(pace, options.budget - journal.spent()))
        progress(f"comparing in fresh processes of {steps} steps, a seed for each pair")
        least = least_gain(alone.no_op, options.minimum)
        launches, measured, judgement = prove(
            pairs,
            ALPHA,
            least,
            progress,
            lambda: options.budget - journal.spent(),
            objective("throughput"),
            recorded=lambda number: f"pair {number}" in journal.entries,
        )
        noisy = too_noisy(effect(alone.no_op, 0.95))
        warnings = [*changed, *([noisy] if noisy else []), *warnings_of(launches, judgement, measured, here.cores)]
        warnings += over_budget(journal.spent(), options.budget)
        comparison = Comparison(
            name=journal.directory.name,
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            a=list(a),
            b=list(b),
            environment=here,
            effect=measured,
            judgement=judgement,
            same_training=_judged(launches, alone.deterministic),
            a_step_seconds=_step(each.baseline_diagnosis for each in launches),
            b_step_seconds=_step(each.diagnosis for each in launches),
            warnings=warnings,
        )
        write_record(journal.directory / "result.json", comparison)
    finally:
        for each in arms:
            each.close()
        journal.close()
    return comparison, journal.directory


def regression(comparison: Comparison) -> str | None:
    """Why B is a regression, None where it is not; what stays unclear counts where it leans to the slow side.

    "Unclear" is no regression by itself, or every pipeline on a noisy machine would fail; and it is none that the
    pairs point away from. So the median decides: slower by more than the minimum gain.
    """
    effect = comparison.effect
    slower = f"{effect.ratio:.2f}x [{effect.low:.2f}, {effect.high:.2f}], {effect.n} pairs"
    if comparison.judgement == "slower":
        return f"it is slower: {slower}"
    if comparison.same_training.same is False:
        return f"it is another training: {comparison.same_training.evidence}"
    if comparison.judgement != "faster" and effect.ratio < 1 / (1 + MINIMUM_GAIN):
        return f"it looks slower, and that it is not could not be shown: {slower}"
    return None


def _judged(launches: Sequence[Launch], deterministic: bool) -> SameTraining:
    """Nobody said what B changes: bit-identical if it is, or else judged by what seeds do to A."""
    exact = deterministic and all(identical(each.baseline, each.candidate)[0] for each in launches)
    judged = same_training(launches, "exact" if exact else "rounding", deterministic=deterministic)
    if any(
        (each.baseline_samples, each.baseline_devices) != (each.candidate_samples, each.candidate_devices)
        for each in launches
    ):
        why = "A and B train on different numbers of samples in a step, so their losses cannot be compared step by step"
        return msgspec.structs.replace(judged, same=None, numerics="trajectory", evidence=why)
    if judged.same and not exact:
        steps = min(len(each.candidate) for each in launches)
        caution = f"no more can be told from {steps} steps: a difference that grows slowly would not be seen"
        return msgspec.structs.replace(judged, evidence=f"not bit-identical; {judged.evidence}; {caution}")
    return judged


def _step(diagnoses: Iterable[Diagnosis]) -> float:
    return median(each.step_seconds for each in diagnoses)

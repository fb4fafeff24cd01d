"""The whole of a tuning, from top to bottom.

    baseline ──> diagnosis ──> changes to try
       │  no-op arm: what this machine calls a difference, and whether the training repeats itself
       ├─ change 1 against the best set so far ──> kept | dropped
       ├─ change 2 against the best set so far ──> ...          rejected ones once more when the set has grown
       └─ the best set against the baseline, fresh processes, a seed each: the claim, and the same-training proof

What was searched for with blocks is claimed with fresh launches; see ``statistics``.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from hotlap.changes import Situation, propose
from hotlap.diagnose import Machine, diagnose
from hotlap.launch import environment
from hotlap.launch.process import Limits
from hotlap.records import (
    Change,
    Diagnosis,
    Effect,
    Environment,
    Facts,
    Judgement,
    Run,
    SameTraining,
    Trial,
    Tuning,
    write_record,
)
from hotlap.tune.arms import Arm, ArmFailed, losses, measure_pairs
from hotlap.tune.guard import compare_trainings, identical, strictest
from hotlap.tune.journal import Journal, open_journal
from hotlap.tune.statistics import ALPHA, MINIMUM_GAIN, PLANNED_LOOKS, confidence_at_look, effect, judge, noise
from hotlap.tune.target import Target

#: Pairs of blocks after which a change is judged while searching; the claim itself is made elsewhere.
SCREEN_LOOKS = (4, 7, 10)
SCREEN_ALPHA = 0.05
NO_OP_PAIRS = 5
#: Pairs of blocks in each pair of fresh launches.
BLOCKS_PER_LAUNCH = 3
#: A no-op arm that moves by more than this makes every verdict doubtful.
NOISY = 0.05


class Options(msgspec.Struct, frozen=True, kw_only=True):
    #: Seconds for the search; the proof comes on top.
    budget: float = 600.0
    #: Steps of each training in the same-training proof.
    guard_steps: int = 120
    run_dir: Path | None = None
    fresh: bool = False
    minimum: float = MINIMUM_GAIN
    limits: Limits = Limits()


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    diagnosis: Diagnosis
    facts: Facts
    losses: list[float | None]
    no_op: Effect
    deterministic: bool
    first_step: float | None


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """One pair of fresh processes with the same seed."""

    ratio: float
    baseline: list[float | None]
    candidate: list[float | None]
    baseline_quality: dict[str, float]
    candidate_quality: dict[str, float]
    diagnosis: Diagnosis
    candidate_peak: int | None


Progress = Callable[[str], None]


def tune(target: Target, options: Options, progress: Progress) -> tuple[Tuning, Path]:
    """Find the fastest set of changes that trains the same; return it with its directory.

    Raises:
        TrainingFailed: the baseline itself crashes, or never steps.
        RunError: the run directory cannot be written.
    """
    began = time.monotonic()
    journal = open_journal(target.fingerprint, options.run_dir, options.fresh)
    if journal.resumed:
        progress(f"going on with {journal.directory.name}: {journal.resumed} measurements are there already")
    search = _Search(target, options, progress, journal, began)
    try:
        tuning = search.run()
    finally:
        search.close()
    write_record(journal.directory / "result.json", tuning)
    return tuning, journal.directory


class _Search:
    def __init__(self, target: Target, options: Options, progress: Progress, journal: Journal, began: float) -> None:
        self.target, self.options, self.progress, self.journal, self.began = target, options, progress, journal, began
        self.environment: Environment = environment()
        self.arms: list[Arm] = []
        self.trials: list[Trial] = []
        self.warnings: list[str] = []

    def run(self) -> Tuning:
        baseline_arm = self.arm([], "baseline")
        machine = self.journal.once("machine", Machine, self.calibrate)
        baseline = self.journal.once("baseline", Baseline, lambda: self.measure_baseline(baseline_arm, machine))
        self.check_noise(baseline)
        situation = Situation(
            diagnosis=baseline.diagnosis,
            facts=baseline.facts,
            environment=self.environment,
            machine=machine,
            keys=self.target.keys,
        )
        changes, skipped = propose(situation, self.options.minimum)
        best = self.climb(baseline_arm, changes, baseline)
        proof = self.prove(best.changes, baseline) if best.changes else []
        return self.conclude(baseline, best, proof, skipped)

    def calibrate(self) -> Machine:
        """In the interpreter that trains, where it can be told; a machine that cannot be calibrated is unknown."""
        self.progress("calibrating: float32 against bfloat16 on this machine")
        from hotlap.estimate import machine

        python = self.target.command[0] if "python" in Path(self.target.command[0]).name else sys.executable
        try:
            done = subprocess.run([python, machine.__file__], capture_output=True, text=True, timeout=120, check=True)
            return msgspec.convert(json.loads(done.stdout.splitlines()[-1]), Machine)
        except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
            self.warnings.append(f"the machine could not be calibrated ({error})")
            return Machine()

    def measure_baseline(self, arm: Arm, machine: Machine) -> Baseline:
        self.progress("baseline: starting and warming up")
        twin = self.arm([], "no-op")
        arm.start()
        self.progress("no-op arm: the same command again, to see what this machine calls a difference")
        pairs = measure_pairs(arm, twin, NO_OP_PAIRS)
        run = self.snapshot(arm)
        same, _ = identical(losses(run), losses(self.snapshot(twin)))
        twin.close()
        return Baseline(
            diagnosis=diagnose(run, machine),
            facts=run.facts,
            losses=losses(run),
            no_op=effect(pairs, 0.95),
            deterministic=bool(same),
            first_step=arm.first_step,
        )

    def check_noise(self, baseline: Baseline) -> None:
        self.least_gain = max(self.options.minimum, min(noise(baseline.no_op.pairs), NOISY))
        if noise(baseline.no_op.pairs) > NOISY:
            self.warnings.append(
                f"machine too noisy: the same command differed from itself by {noise(baseline.no_op.pairs):.0%}; "
                "small effects cannot be seen here, so close other programs and run again with --fresh"
            )
        if not baseline.deterministic:
            self.warnings.append(
                "the training does not repeat itself with the same seed, so bit-identical losses cannot be asked of it"
            )

    def climb(self, reference: Arm, changes: list[Change], baseline: Baseline) -> Arm:
        """Try each change on top of the best set so far; then those that were rejected once more."""
        rejected: list[Change] = []
        for change in changes:
            if any(change.name == other.name for other in reference.changes):
                continue
            trial, reference = self.try_change(reference, change, baseline)
            if not trial.kept and trial.judgement in ("unclear", "not faster") and change.numerics != "exact":
                rejected.append(change)
        grown_since = {trial.change.id: trial.against for trial in self.trials}
        for change in rejected:
            if grown_since[change.id] != reference.ids and not any(change.name == c.name for c in reference.changes):
                _, reference = self.try_change(reference, change, baseline)
        return reference

    def try_change(self, reference: Arm, change: Change, baseline: Baseline) -> tuple[Trial, Arm]:
        candidate = self.arm([*reference.changes, change], change.id)
        key = f"try {'+'.join(reference.ids) or 'baseline'} | {change.id}"
        trial = self.journal.once(key, Trial, lambda: self.screen(reference, candidate, change, baseline))
        self.trials.append(trial)
        if trial.effect is not None:
            self.progress(
                f"{change.title}: {trial.effect.ratio:.2f}x, {'kept' if trial.kept else 'dropped'}: {trial.why}"
            )
        else:
            self.progress(f"{change.title}: {trial.why}")
        if trial.kept:
            reference.close()
            return trial, candidate
        candidate.close()
        return trial, reference

    def screen(self, reference: Arm, candidate: Arm, change: Change, baseline: Baseline) -> Trial:
        def trial(judgement: Judgement, kept: bool, why: str, measured: Effect | None = None) -> Trial:
            return Trial(
                change=change,
                against=reference.ids,
                effect=measured,
                judgement=judgement,
                kept=kept,
                why=why,
                first_step=candidate.first_step,
                peak_memory=self.snapshot(candidate).facts.peak_memory if candidate.training else None,
            )

        if time.monotonic() - self.began > self.options.budget:
            return trial("unclear", False, "not tried: the time budget was used up")
        self.progress(f"trying {change.title}")
        reference.start()
        try:
            candidate.start()
        except ArmFailed as error:
            return trial("unclear", False, f"it could not be run: {error}")
        pairs: list[float] = []
        for look in SCREEN_LOOKS:
            try:
                pairs += measure_pairs(reference, candidate, look - len(pairs), len(pairs))
            except ArmFailed as error:
                return trial("unclear", False, f"it could not be run: {error}")
            measured = effect(pairs, confidence_at_look(SCREEN_ALPHA, SCREEN_LOOKS, look))
            judgement = judge(measured, self.least_gain)
            if judgement != "unclear":
                break
        notes = self.snapshot(candidate).notes
        if notes:
            return trial("unclear", False, f"it could not be applied: {notes[0]}", measured)
        if judgement != "faster":
            return trial(judgement, False, _dropped(judgement, self.least_gain), measured)
        curve = losses(self.snapshot(candidate))
        if any(value is not None and value != value for value in curve):
            return trial(judgement, False, "its loss became NaN", measured)
        if strictest([c.numerics for c in candidate.changes]) == "exact" and baseline.deterministic:
            same, why = identical(baseline.losses, curve)
            if same is False:
                return trial(judgement, False, f"not the same training: {why}", measured)
        return trial(judgement, True, f"faster than the set before it by more than {self.least_gain:.0%}", measured)

    def prove(self, changes: list[Change], baseline: Baseline) -> list[Launch]:
        """Pairs of fresh launches, a seed each, until the verdict is clear or the looks are used up."""
        launches: list[Launch] = []
        for look in PLANNED_LOOKS:
            while len(launches) < look:
                number = len(launches)
                self.progress(f"proving the set in fresh processes: pair {number + 1}, seed +{number}")
                key = f"prove {'+'.join(c.id for c in changes)} {number}"
                launches.append(self.journal.once(key, Launch, lambda n=number: self.launch_pair(changes, n)))  # type: ignore[misc]
                self.progress(f"  {launches[-1].ratio:.2f}x")
            if self.claim(launches)[1] != "unclear":
                break
        return launches

    def claim(self, launches: list[Launch]) -> tuple[Effect, Judgement]:
        confidence = confidence_at_look(ALPHA, PLANNED_LOOKS, len(launches))
        measured = effect([launch.ratio for launch in launches], confidence)
        return measured, judge(measured, self.least_gain)

    def launch_pair(self, changes: list[Change], seed: int) -> Launch:
        steps = self.options.guard_steps
        a = self.arm([], f"proof-{seed}-baseline", seed=seed, steps=steps)
        b = self.arm(changes, f"proof-{seed}-candidate", seed=seed, steps=steps)
        pairs = measure_pairs(a, b, BLOCKS_PER_LAUNCH)
        runs = []
        for arm in (a, b):
            if self.target.keys is not None:
                arm.run_to_end()
            else:
                arm.run_until(steps)
            runs.append(arm.recorded())
        return Launch(
            ratio=effect(pairs, 0.5).ratio,
            baseline=losses(runs[0])[:steps],
            candidate=losses(runs[1])[:steps],
            baseline_quality={metric.name: metric.value for metric in runs[0].metrics},
            candidate_quality={metric.name: metric.value for metric in runs[1].metrics},
            diagnosis=diagnose(runs[1]),
            candidate_peak=runs[1].facts.peak_memory,
        )

    def conclude(self, baseline: Baseline, best: Arm, proof: list[Launch], skipped: list[Trial]) -> Tuning:
        measured, judgement = self.claim(proof) if proof else (None, "not faster")
        same = self.same_training(best.changes, proof, baseline) if proof else None
        adopt = judgement == "faster" and same is not None and same.same is True
        even = None
        if adopt and proof:
            even = self.break_even(baseline, proof[0].diagnosis)
        summary = _summary(measured, judgement, same, adopt, baseline.diagnosis)
        return Tuning(
            name=self.journal.directory.name,
            command=self.target.command,
            config=self.target.config,
            environment=self.environment,
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            seconds=time.monotonic() - self.began,
            diagnosis=baseline.diagnosis,
            optimized=proof[0].diagnosis if adopt else None,
            facts=baseline.facts,
            no_op=baseline.no_op,
            trials=self.trials,
            skipped=skipped,
            adopted=best.changes if adopt else [],
            effect=measured,
            judgement=judgement,
            same_training=same,
            break_even_steps=even,
            summary=summary,
            warnings=self.warnings,
        )

    def same_training(self, changes: list[Change], proof: list[Launch], baseline: Baseline) -> SameTraining:
        metric = next(iter(proof[0].baseline_quality), None)
        return compare_trainings(
            [launch.baseline for launch in proof],
            [launch.candidate for launch in proof],
            strictest([change.numerics for change in changes]),
            deterministic=baseline.deterministic,
            metric=metric,
            baseline_quality=[launch.baseline_quality[metric] for launch in proof] if metric else (),
            candidate_quality=[launch.candidate_quality[metric] for launch in proof] if metric else (),
        )

    def break_even(self, baseline: Baseline, optimized: Diagnosis) -> int | None:
        """Steps after which the longer start (compilation) has been earned back."""
        starts = [trial.first_step for trial in self.trials if trial.kept and trial.first_step is not None]
        saved = baseline.diagnosis.step_seconds - optimized.step_seconds
        if not starts or baseline.first_step is None or saved <= 0:
            return None
        return max(0, round((max(starts) - baseline.first_step) / saved))

    def arm(self, changes: list[Change], name: str, *, seed: int = 0, steps: int | None = None) -> Arm:
        directory = self.journal.directory / "arms" / name.replace("/", "_")
        limits = self.options.limits
        arm = Arm(self.target, changes, directory, self.environment, limits=limits, seed_offset=seed, steps=steps)
        self.arms.append(arm)
        return arm

    def snapshot(self, arm: Arm) -> Run:
        """What an arm has recorded so far, while it lives."""
        return arm.so_far()

    def close(self) -> None:
        for arm in self.arms:
            arm.close()
        self.journal.close()


def _dropped(judgement: Judgement, least: float) -> str:
    return {
        "slower": "slower",
        "not faster": f"a gain of {least:.0%} or more is excluded",
        "unclear": f"no gain of more than {least:.0%} could be shown",
    }.get(judgement, judgement)


def _summary(
    measured: Effect | None, judgement: Judgement, same: SameTraining | None, adopt: bool, diagnosis: Diagnosis
) -> str:
    if measured is None:
        return f"Nothing to gain: none of the changes made a step of {diagnosis.step_seconds * 1000:.3g} ms faster."
    figure = f"{measured.ratio:.2f}x [{measured.low:.2f}, {measured.high:.2f}], {measured.n} pairs of fresh processes"
    if adopt:
        return f"{figure}: faster, and the same training."
    if judgement == "faster":
        word = "is not" if same is not None and same.same is False else "could not be shown to be"
        return f"{figure}: faster, but it {word} the same training; nothing was adopted."
    return f"Nothing adopted: in fresh processes the best set was {judgement} ({figure})."

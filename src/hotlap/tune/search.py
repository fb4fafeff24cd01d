"""The whole of a tuning, from top to bottom.

    baseline ──> diagnosis ──> changes to try
       │  no-op arm: what this machine calls a difference, and whether the training repeats itself
       ├─ change 1 against the best set so far ──> kept | dropped
       ├─ change 2 against the best set so far ──> ...
       │  where the set has grown: diagnosis of the best set ──> what has become worth trying, or trying again
       └─ the best set against the baseline, fresh processes, a seed each: the claim, and the same-training proof

What was searched for with blocks is claimed with fresh launches; see ``statistics`` and ``proof``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from hotlap.changes import Situation, propose
from hotlap.diagnose import Machine, diagnose
from hotlap.launch import environment
from hotlap.records import (
    Change,
    Diagnosis,
    Effect,
    Environment,
    Facts,
    Judgement,
    SameTraining,
    Trial,
    Tuning,
    write_record,
)
from hotlap.tune.arms import Arm, bounded, losses, measure_pairs
from hotlap.tune.guard import identical, strictest
from hotlap.tune.journal import Journal, open_journal
from hotlap.tune.options import Options
from hotlap.tune.proof import Launch, launch_pair, proof_steps, prove, same_training
from hotlap.tune.screening import screen, trial_of
from hotlap.tune.statistics import ALPHA, NOISY, effect, noise, too_noisy
from hotlap.tune.target import Target

NO_OP_PAIRS = 5
#: Share of the time budget that the search may use up; the rest is the proof's.
SEARCH_SHARE = 0.6


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    diagnosis: Diagnosis
    facts: Facts
    losses: list[float | None]
    no_op: Effect
    deterministic: bool
    first_step: float | None


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a set of changes looks like."""

    diagnosis: Diagnosis
    facts: Facts


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What the proof of one set of changes came to."""

    changes: list[Change]
    launches: list[Launch]
    effect: Effect
    judgement: Judgement
    same: SameTraining

    @property
    def holds(self) -> bool:
        return self.judgement == "faster" and self.same.same is True


Progress = Callable[[str], None]


def tune(target: Target, options: Options, progress: Progress) -> tuple[Tuning, Path]:
    """Find the fastest set of changes that trains the same; return it with its directory.

    Raises:
        TrainingFailed: the baseline itself crashes, or never steps.
        RunError: the run directory cannot be written.
    """
    here = environment()
    journal = open_journal(f"tune-{target.fingerprint(here)}", options.run_dir, options.fresh)
    if journal.resumed:
        progress(f"going on with {journal.directory.name}: {journal.resumed} measurements are there already")
    search = _Search(target, options, progress, journal, here)
    try:
        tuning = search.run()
        write_record(journal.directory / "result.json", tuning)
    finally:
        search.close()
    return tuning, journal.directory


class _Search:
    def __init__(
        self, target: Target, options: Options, progress: Progress, journal: Journal, here: Environment
    ) -> None:
        self.target, self.options, self.progress, self.journal = target, options, progress, journal
        self.environment = here
        self.arms: list[Arm] = []
        self.trials: list[Trial] = []
        self.warnings: list[str] = []

    def run(self) -> Tuning:
        baseline_arm = self.arm([], "baseline")
        machine = self.journal.once("machine", Machine, self.calibrate)
        baseline = self.journal.once("baseline", Baseline, lambda: self.measure_baseline(baseline_arm, machine))
        self.check_noise(baseline)
        best, skipped = self.climb(baseline_arm, baseline, machine)
        best.close()
        return self.conclude(baseline, self.prove(best.changes, baseline), skipped)

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
        arm.warm()
        self.progress("no-op arm: the same command again, to see what this machine calls a difference")
        pairs = measure_pairs(arm, twin, NO_OP_PAIRS)
        run = arm.so_far()
        same, _ = identical(losses(run), losses(twin.so_far()))
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
        moved = noise(baseline.no_op.pairs)
        self.least_gain = max(self.options.minimum, min(moved, NOISY))
        warning = too_noisy(baseline.no_op)
        if warning:
            self.warnings.append(warning)
        if all(loss is None for loss in baseline.losses):
            self.warnings.append(
                "losses could not be seen, so whether it is the same training cannot be judged by them"
            )
        elif not baseline.deterministic:
            self.warnings.append(
                "the training does not repeat itself with the same seed, so bit-identical losses cannot be asked of it"
            )

    def climb(self, reference: Arm, baseline: Baseline, machine: Machine) -> tuple[Arm, list[Trial]]:
        """Try each change on top of the best set so far, then once more what has become worth it.

        What cost 1 % of a slow step may cost 4 % of a fast one, and what did not pay alone may pay together. Returns
        the best set, and what was never worth a trial.
        """
        skipped: list[Trial] = []
        before: list[str] | None = None
        for _ in range(2):
            if reference.ids == before:
                break
            before = reference.ids
            changes, skipped = propose(self.situation(self.look_at(reference, baseline), machine), self.least_gain)
            for change in changes:
                known = {(trial.change.id, tuple(trial.against)) for trial in self.trials}
                if change.id not in reference.ids and (change.id, tuple(reference.ids)) not in known:
                    _, reference = self.try_change(reference, change, baseline)
        tried = {trial.change.id for trial in self.trials}
        return reference, [trial for trial in skipped if trial.change.id not in tried]

    def situation(self, seen: Seen, machine: Machine) -> Situation:
        return Situation(
            diagnosis=seen.diagnosis,
            facts=seen.facts,
            environment=self.environment,
            machine=machine,
            keys=self.target.keys,
        )

    def look_at(self, arm: Arm, baseline: Baseline) -> Seen:
        """What a set looks like while it runs."""

        def look() -> Seen:
            arm.block()
            run = arm.so_far()
            return Seen(diagnosis=diagnose(run), facts=run.facts)

        if not arm.changes:
            return Seen(diagnosis=baseline.diagnosis, facts=baseline.facts)
        return self.journal.once(f"seen {'+'.join(arm.ids)}", Seen, look)

    def try_change(self, reference: Arm, change: Change, baseline: Baseline) -> tuple[Trial, Arm]:
        # Another value of what is in the set already takes its place: two workers that of one.
        others = [other for other in reference.changes if other.name != change.name]
        candidate = self.arm([*others, change], change.id)
        key = f"try {'+'.join(reference.ids) or 'baseline'} | {change.id}"
        if key not in self.journal.entries and self.search_time() <= 0:
            # Not in the journal: another budget may have time for it.
            trial = trial_of(
                reference, candidate, change, "unclear", "not tried: the search's share of the time was used up"
            )
        else:

            def measure() -> Trial:
                return screen(
                    reference,
                    candidate,
                    change,
                    least_gain=self.least_gain,
                    repeated=baseline.losses if baseline.deterministic else None,
                    time_left=self.search_time,
                    progress=self.progress,
                )

            trial = self.journal.once(key, Trial, measure)
        self.trials.append(trial)
        figure = f"{trial.effect.ratio:.2f}x, {'kept' if trial.kept else 'dropped'}: " if trial.effect else ""
        self.progress(f"{change.title}: {figure}{trial.why}")
        loser, winner = (reference, candidate) if trial.kept else (candidate, reference)
        loser.close()
        return trial, winner

    def time_left(self) -> float:
        """Seconds of the budget."""
        return self.options.budget - self.journal.spent()

    def search_time(self) -> float:
        """Seconds that the search may still take."""
        return self.options.budget * SEARCH_SHARE - self.journal.spent()

    def prove(self, changes: list[Change], baseline: Baseline) -> Claim | None:
        """Claim the set; where it turns out to be another training, claim what of it is exact."""
        exact = [change for change in changes if change.numerics == "exact"]
        sets = [each for each in (changes, exact if exact != changes else []) if each]
        claim = None
        for each in sets:
            if claim is not None and f"steps {_ids(each)}" not in self.journal.entries and self.time_left() <= 0:
                self.progress("no time is left to claim what of it is exact")
                break
            claim = self.claim(each, baseline, ALPHA / len(sets))
            if claim.holds:
                break
        return claim

    def claim(self, changes: list[Change], baseline: Baseline, alpha: float) -> Claim:
        ids = _ids(changes)
        steps = self.journal.once(
            f"steps {ids}",
            int,
            lambda: proof_steps(baseline.diagnosis.step_seconds, baseline.first_step or 0.0, self.time_left()),
        )
        self.progress(f"proving {ids} in fresh processes of {steps} steps, a seed for each pair")

        def pair(number: int) -> Launch:
            return self.journal.once(f"prove {ids} {number}", Launch, lambda: self.launch_pair(changes, number, steps))

        launches, measured, judgement = prove(pair, alpha, self.least_gain, self.progress, self.time_left)
        same = same_training(
            launches, strictest([change.numerics for change in changes]), deterministic=baseline.deterministic
        )
        return Claim(changes=changes, launches=launches, effect=measured, judgement=judgement, same=same)

    def launch_pair(self, changes: list[Change], number: int, steps: int) -> Launch:
        a = self.arm([], f"proof-{number}-baseline", seed=number, steps=steps)
        b = self.arm(changes, f"proof-{number}-candidate", seed=number, steps=steps)
        return launch_pair(a, b, steps, to_the_end=self.target.keys is not None)

    def conclude(self, baseline: Baseline, claim: Claim | None, skipped: list[Trial]) -> Tuning:
        adopted = claim if claim is not None and claim.holds else None
        return Tuning(
            name=self.journal.directory.name,
            command=self.target.command,
            config=self.target.config,
            environment=self.environment,
            date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            seconds=self.journal.spent(),
            diagnosis=baseline.diagnosis,
            optimized=adopted.launches[0].diagnosis if adopted else None,
            facts=baseline.facts,
            no_op=baseline.no_op,
            trials=self.trials,
            skipped=skipped,
            adopted=adopted.changes if adopted else [],
            effect=claim.effect if claim else None,
            judgement=claim.judgement if claim else "not faster",
            same_training=claim.same if claim else None,
            break_even_steps=self.break_even(baseline, adopted.launches[0]) if adopted else None,
            warnings=self.warnings,
        )

    def break_even(self, baseline: Baseline, launch: Launch) -> int | None:
        """Steps after which the longer start (compilation) has been earned back."""
        starts = [trial.first_step for trial in self.trials if trial.kept and trial.first_step is not None]
        saved = launch.baseline_diagnosis.step_seconds - launch.diagnosis.step_seconds
        if not starts or baseline.first_step is None or saved <= 0:
            return None
        return max(0, round((max(starts) - baseline.first_step) / saved))

    def arm(self, changes: list[Change], name: str, *, seed: int = 0, steps: int | None = None) -> Arm:
        directory = self.journal.directory / "arms" / name.replace("/", "_")
        limits = bounded(self.options.limits, self.environment)
        arm = Arm(self.target, changes, directory, self.environment, limits=limits, seed_offset=seed, steps=steps)
        self.arms.append(arm)
        return arm

    def close(self) -> None:
        for arm in self.arms:
            arm.close()
        self.journal.close()


def _ids(changes: list[Change]) -> str:
    return "+".join(change.id for change in changes)

"""The whole of a tuning, from top to bottom.

    baseline ──> diagnosis ──> changes to try
       │  no-op arms: what this machine calls a difference, between processes and inside one
       ├─ climb: each change on top of the best set so far, in alternating blocks (``climb``, ``screening``)
       └─ claim: the best set against the baseline, fresh processes, a seed each, and the same training (``claims``)

What was searched for with blocks is claimed with fresh launches; see ``statistics`` and ``proof``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import msgspec

from hotlap.changes import Situation, propose
from hotlap.diagnose import Machine
from hotlap.launch import environment
from hotlap.records import Change, Environment, Goal, Handover, Limit, Trial, Tuning, write_record
from hotlap.tune.asked import resolved
from hotlap.tune.bench import ids, on_top
from hotlap.tune.break_even import charged
from hotlap.tune.calibration import calibrated
from hotlap.tune.claims import Claim, Claims, names
from hotlap.tune.climb import Climb, dropped, likeliest, one_back
from hotlap.tune.conclusions import doubts, earned_back, median_peaks, never_tried, shown, skipped_by_both, unanswered
from hotlap.tune.costs import BASELINE, HASTE, SHARE_OF_A_TRIAL, Costs, Time
from hotlap.tune.engines import engine_of
from hotlap.tune.handover import hand_over, hand_over_seconds
from hotlap.tune.journal import Journal, open_journal
from hotlap.tune.options import Options, name_of
from hotlap.tune.paces import Pace, Paces, foreseen
from hotlap.tune.proof import first_look_seconds, over_budget, steps_to
from hotlap.tune.room import measured_peaks, memory_limit, obstacle
from hotlap.tune.screening import Wanted, trial_of
from hotlap.tune.statistics import ALPHA, least_gain
from hotlap.tune.target import Target
from hotlap.tune.work import (
    Attempt,
    Baseline,
    Beginning,
    Seen,
    from_outside,
    look,
    machine_limit,
    measure_baseline,
    try_on_top,
    unheeded,
)

REFUSED = "not tried here: "
_NO_TIME = "the search's share was used up, and the rest is kept for a proof"
_LATER = "a larger --budget goes on"
_OTHER_TRAINING = "not tried: another training, which --quality METRIC compares at equal samples"


Progress = Callable[[str], None]


def tune(target: Target, options: Options, progress: Progress) -> tuple[Tuning, Path]:
    """Find the fastest set of changes that trains the same; return it with its directory.

    Raises:
        TrainingFailed: the baseline itself crashes, or never steps, or its script is not there.
        RunError: the run directory cannot be written.
    """
    target.check()
    if options.quality is not None and options.quality.lower() != "loss":
        target = msgspec.structs.replace(target, metric=options.quality)
    here = environment()
    journal = open_journal(name_of(target, options, here), options.run_dir, options.fresh)
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
        self.date = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self.engine = engine_of(target, options, journal.directory, here)
        self.trials: list[Trial] = []
        #: What the user asked for, as it is made in this training.
        self.asked: list[Change] = []
        self.warnings: list[str] = []
        #: Whether there was no time for something of the search, and for a proof, by the names of its changes.
        self.unfinished = False
        self.cut_short: dict[str, bool] = {}
        #: Changes of claims that hold.
        self.proven: frozenset[str] = frozenset()
        self.time = Time(options.budget, journal.spent)

    def run(self) -> Tuning:
        self.warnings += self.journal.changed_since(self.environment)
        machine = self.journal.once("machine", Machine, self.calibrate)
        self.progress("baseline: warming up, and running against itself, to see what this machine calls a difference")
        asked = Beginning(machine=machine, seconds=self.options.budget * BASELINE)
        baseline = self.journal.once("baseline", Baseline, lambda: self.engine.map(measure_baseline, [asked])[0])
        self.check_noise(baseline)
        self.pace = Pace(baseline.diagnosis.step_seconds, baseline.first_step or 0.0)
        situation = self.situation(Seen(diagnosis=baseline.diagnosis, facts=baseline.facts), machine, [])
        self.asked = [resolved(change, situation) for change in self.options.asked]
        self.time.begin(*self.needed([]), others=self.quality is not None, named=self.only_asked)
        # Of several ranks all would have to switch at the same moment. Peaks of memory belong to processes.
        shares = baseline.facts.world_size == 1 and self.options.goal != "memory"
        self.engine.settle(baseline.facts, shares=shares)
        self.costs = Costs(self.pace, shares=shares)
        climb = self.searched(baseline, machine)
        goal: Goal = "throughput" if self.options.goal == "time-to-quality" else self.options.goal
        best, claim = self.first_proof(climb.best, baseline, goal)
        skipped = climb.skipped
        if self.quality is not None:
            # On top of what trains the same, or where that could not be shown, of the script as it is.
            start = claim.changes if claim is not None and claim.holds else []
            self.time.begin_others(first_look_seconds(self.pace, steps_to(baseline.first_value(self.quality))))
            further = self.searched(baseline, machine, start, trajectory=True)
            skipped = skipped_by_both(skipped, further.skipped, self.trials)
            if ids(further.best) != ids(start):
                claim = self.better(claim, start, further.best, baseline)
            if claim is not None and claim.judgement == "unclear" and ids(claim.changes) <= ids(best):
                # There is more time for it than when it was given up.
                claim = self.prove(best, baseline, goal) or claim
            self.warnings += unanswered(self.options, claim, other_trainings=ids(further.best) != ids(start))
        return self.conclude(baseline, claim, skipped)

    def first_proof(
        self, found: Sequence[Change], baseline: Baseline, goal: Goal
    ) -> tuple[Sequence[Change], Claim | None]:
        """What of what was found is claimed, and the claim; of a guess, none that does not hold."""
        best = self.checked(found or self.guessed(), baseline)
        if best:
            self.time.something_to_prove()
        claim = self.prove(best, baseline, goal)
        if found or claim is None or claim.holds:
            return best, claim
        self.drop({change.id: claim.refusal for change in best})
        return [], None

    def guessed(self) -> list[Change]:
        """Where nothing was kept: what looked best of all that stayed unclear, if there is time to prove it."""
        trial = likeliest(self.trials) if self.options.goal != "memory" else None
        if trial is None or trial.effect is None:
            return []
        changes = [trial.change, *trial.beside]
        if self.time.left() < HASTE * first_look_seconds(self.paces(changes).mean):
            return []
        why = "unclear, and the likeliest of all: kept for a proof"
        self.progress(f"{names(changes)} looked best ({trial.effect.ratio:.2f}x): there is time to prove it")
        kept = msgspec.structs.replace(trial, kept=True, why=why)
        self.trials = [kept if each is trial else each for each in self.trials]
        return changes

    def better(
        self, claim: Claim | None, start: Sequence[Change], best: Sequence[Change], baseline: Baseline
    ) -> Claim | None:
        """What is proven with other trainings, where that holds; where not, their trials say so.

        What is faster and worse is tried with the value before it: that of a smaller batch.
        """
        asked: Sequence[Change] | None = best
        other = None
        while asked is not None and (found := self.prove(asked, baseline)) is not None:
            other = found
            if other.holds:
                break
            self.drop({change.id: other.refusal for change in asked if change.id not in ids(start)})
            worse = other.judgement == "faster" and other.same.same is False
            asked = one_back(asked, start, self.trials) if worse else None
        return other if claim is None or (other is not None and other.holds) else claim

    def paces(self, changes: Sequence[Change]) -> Paces:
        return foreseen(changes, self.trials, self.pace)

    def needed(self, trials: Sequence[Trial]) -> tuple[float, float]:
        """Seconds of a first look at what these kept, and of handing it over."""
        changes = [change for trial in trials if trial.kept for change in (trial.change, *trial.beside)]
        paces = foreseen(changes, trials, self.pace)
        closing = hand_over_seconds(paces) if self.target.config is None else 0.0
        return first_look_seconds(paces.mean), closing

    @property
    def quality(self) -> str | None:
        """What other trainings are judged by; None where they are not tried."""
        asked = any(change.numerics == "trajectory" for change in self.asked)
        return self.options.quality or ("loss" if asked or self.options.goal == "time-to-quality" else None)

    @property
    def only_asked(self) -> bool:
        """Whether of other trainings only those that the user named may be tried."""
        return self.options.quality is None and self.options.goal != "time-to-quality"

    @property
    def planned_steps(self) -> int | None:
        steps = self.options.planned_steps
        return self.target.keys.get("steps") if steps is None and self.target.keys is not None else steps

    def checked(self, changes: Sequence[Change], baseline: Baseline) -> list[Change]:
        """As they will be claimed: without keys that do nothing, and without what should not alter a loss and does."""
        if any(self.target.has_keys(change) and change.inject for change in changes) and self.target.config is None:
            claimed = list(changes)
            ignored = self.journal.once(
                f"keys {names(claimed)}", list[str], lambda: self.engine.map(unheeded, [claimed])[0]
            )
            changes = [from_outside(change) if change.id in ignored and change.inject else change for change in changes]
        guilty = self.claims(baseline).exact_ones(changes, baseline.losses) if baseline.deterministic else []
        why = {trial.change.id: trial.why for trial in guilty}
        self.drop(why)
        return [change for change in changes if change.id not in why]

    def drop(self, why: Mapping[str, str]) -> None:
        self.trials = dropped(self.trials, why)

    def prove(self, changes: Sequence[Change], baseline: Baseline, goal: Goal | None = None) -> Claim | None:
        claims = self.claims(baseline, goal)
        # With other trainings there are two of them.
        claim = claims.prove(changes, ALPHA / (1 if self.quality is None else 2))
        self.warnings += [each for each in claims.unproven if each not in self.warnings]
        if claim is None and claims.failed is not None:
            claims.dropped.update({change.id: f"dropped again: {claims.failed}" for change in changes})
        self.drop({name: why for name, why in claims.dropped.items() if name not in self.proven})
        self.cut_short[names(changes)] = claims.cut_short
        if claim is not None and claim.holds:
            self.proven |= ids(claim.changes)
        return claim

    def claims(self, baseline: Baseline, goal: Goal | None = None) -> Claims:
        return Claims(
            self.engine,
            self.journal,
            least_gain=self.wanted.least_gain,
            deterministic=baseline.deterministic,
            paces=self.paces,
            to_the_end=self.target.config is not None,
            goal=goal or self.options.goal,
            quality=self.quality,
            first_value=baseline.first_value(self.quality),
            time_left=self.time.left,
            progress=self.progress,
        )

    def calibrate(self) -> Machine:
        self.progress("calibrating: float32 against bfloat16 on this machine")
        machine, obstacle = calibrated(self.target.command)
        self.warnings += [obstacle] if obstacle else []
        return machine

    def check_noise(self, baseline: Baseline) -> None:
        self.wanted = Wanted(
            least_gain=least_gain(baseline.no_op.pairs, self.options.minimum),
            least_live_gain=least_gain(baseline.live_no_op.pairs, self.options.minimum),
            losses=baseline.losses if baseline.deterministic else None,
            goal=self.options.goal,
        )
        self.warnings += doubts(baseline)

    def searched(
        self, baseline: Baseline, machine: Machine, start: Sequence[Change] = (), *, trajectory: bool = False
    ) -> Climb:
        """Climb; while there is nothing to prove, also in the time that was kept for a proof."""
        before, unfinished = len(self.trials), self.unfinished
        climb = self.climb(baseline, machine, start, trajectory=trajectory)
        late = [trial for trial in self.trials[before:] if _NO_TIME in trial.why]
        if late and ids(climb.best) == ids(start) and self.time.nothing_to_prove():
            self.trials = [trial for trial in self.trials if trial not in late]
            self.unfinished = unfinished
            climb = self.climb(baseline, machine, start, trajectory=trajectory)
        untried = {trial.id: trial for trial in self.trials[before:] if trial.why.endswith(_LATER)}
        told = [name for name, trial in untried.items() if trial.why.startswith("not tried")]
        if told:
            self.progress(f"not tried: {', '.join(told)}: {untried[told[-1]].why.partition(': ')[2]}")
        return climb

    def climb(
        self, baseline: Baseline, machine: Machine, start: Sequence[Change] = (), *, trajectory: bool = False
    ) -> Climb:
        """Search among the changes that train the same, or among the others."""

        def propose_on_top(best: Sequence[Change]) -> tuple[list[Change], list[Trial]]:
            least = min(self.wanted.least_gain, self.wanted.least_live_gain)
            changes, skipped = propose(self.situation(self.look_at(best, baseline), machine, best), least)
            # What the user asks for comes first, and is not asked for a bound.
            changes = self.asked + [each for each in changes if each.id not in ids(self.asked)]
            if trajectory and self.only_asked:
                changes = list(self.asked)
            others = [change for change in changes if (change.numerics == "trajectory") != trajectory]
            if not trajectory:
                skipped += [trial_of(best, [change], "unclear", _OTHER_TRAINING) for change in others]
            return [change for change in changes if change not in others], skipped

        climb = Climb(propose_on_top, partial(self.attempt, baseline, machine), start, slots=self.engine.slots)
        climb.trials = self.trials
        climb.run()
        return climb

    def situation(self, seen: Seen, machine: Machine, best: Sequence[Change]) -> Situation:
        return Situation(
            diagnosis=seen.diagnosis,
            facts=seen.facts,
            environment=self.environment,
            machine=machine,
            keys=None if self.target.keys is None else self.target.keys | self.target.edits(best),
            peaks=measured_peaks((self.target.keys or {}).get("batch_size"), seen.facts, self.trials),
            goal=self.options.goal,
            memory_limit=memory_limit(self.options.limits.memory, seen.facts, self.environment, machine),
        )

    def look_at(self, changes: Sequence[Change], baseline: Baseline) -> Seen:
        """What a set looks like while it runs."""
        if not changes:
            return Seen(diagnosis=baseline.diagnosis, facts=baseline.facts)
        return self.journal.once(f"seen {names(changes)}", Seen, lambda: self.engine.map(look, [list(changes)])[0])

    def attempt(
        self, baseline: Baseline, machine: Machine, best: Sequence[Change], sets: Sequence[Sequence[Change]]
    ) -> list[Trial]:
        """Try each of these sets on top of the best one, as many at once as there are devices."""
        seen = self.look_at(best, baseline)
        situation = self.situation(seen, machine, best)
        left = self.time.for_search()
        refused: dict[int, Trial] = {}
        attempts: dict[str, Attempt] = {}
        keys = [f"try {names(best) or 'baseline'} | {names(changes)}" for changes in sets]
        for number, (key, changes) in enumerate(zip(keys, sets, strict=True)):
            why = obstacle(on_top(best, changes), changes, situation, self.target, self.trials, self.journal)
            if why:
                refused[number] = trial_of(best, changes, "unclear", f"{REFUSED}{why}")
            elif key in self.journal.entries or self.time.for_search() > self.costs.of(
                changes, seen.diagnosis.step_seconds
            ):
                # What is in the journal takes no time.
                attempts[key] = Attempt(
                    best=list(best),
                    changes=list(changes),
                    wanted=self.wanted,
                    seconds=left * SHARE_OF_A_TRIAL,
                    longest=left,
                )
        for each in attempts.values():
            self.progress(f"trying {' + '.join(change.title for change in each.changes)}")
        trials = self.try_all(attempts)
        return [
            refused.get(number) or self.judged(best, changes, trials.get(key), seen.diagnosis.step_seconds)
            for number, (key, changes) in enumerate(zip(keys, sets, strict=True))
        ]

    def try_all(self, attempts: Mapping[str, Attempt]) -> dict[str, Trial]:
        """The trials by the keys of the journal, without those for which the time was too short."""
        new = {key: attempt for key, attempt in attempts.items() if key not in self.journal.entries}
        began = time.monotonic()
        found = dict(zip(new, self.engine.map(try_on_top, list(new.values())), strict=True)) if new else {}
        for key, trial in found.items():
            if trial is None:
                self.costs.too_late(new[key].changes, new[key].longest)
                continue
            self.journal.record(key, trial)
            if len(new) == 1:
                self.costs.learn(new[key].changes, time.monotonic() - began)
        return {key: self.journal.value(key, Trial) for key in attempts if key in self.journal.entries}

    def judged(
        self, best: Sequence[Change], changes: Sequence[Change], trial: Trial | None, step_seconds: float
    ) -> Trial:
        """``trial``: None where there was no time for it, or too little."""
        if trial is not None:
            if self.options.goal != "memory":
                trial = charged(trial, step_seconds, self.planned_steps, self.wanted.least_gain)
            if trial.kept:
                self.time.found(*self.needed([*self.trials, trial]))
        else:
            # Not in the journal: another budget may have time for it.
            self.unfinished = True
            why = "the time is kept for other trainings" if self.time.for_others else _NO_TIME
            given = self.costs.given(changes)
            tried = f"not at speed after {given:.0f} s" if given else "not tried"
            trial = trial_of(best, changes, "unclear", f"{tried}: {why}; {_LATER}")
            if not given:
                # It is asked for again where the proof lends time, so it is told at the end.
                return trial
        figure = f"{trial.effect.ratio:.2f}x, {'kept' if trial.kept else 'dropped'}: " if trial.effect else ""
        self.progress(f"{trial.title}: {figure}{trial.why}")
        return trial

    def limit(self, baseline: Baseline) -> Limit | None:
        if not baseline.flops:
            return None
        peak, dtype = self.journal.once(
            "limit", tuple[float | None, str], lambda: self.engine.map(machine_limit, [baseline.facts])[0]
        )
        if not peak:
            return None
        seconds = baseline.diagnosis.step_seconds
        return Limit(flops=baseline.flops, peak=peak, dtype=dtype, step_seconds=seconds)

    def hand_over(self, adopted: Claim, baseline: Baseline) -> Handover:
        of_script = self.target.config is None and bool(self.target.levers(adopted.changes))
        self.progress("writing the patch" + (", and running the patched script" if of_script else ""))
        return self.journal.once(
            f"handover {names(adopted.changes)}",
            Handover,
            lambda: hand_over(
                self.engine,
                self.target,
                adopted.changes,
                baseline.sites,
                self.journal.directory,
                adopted.launches[0].candidate,
                deterministic=baseline.deterministic,
                paces=self.paces(adopted.changes),
                time_left=lambda: self.options.budget - self.journal.spent(),
            ),
        )

    def conclude(self, baseline: Baseline, claim: Claim | None, skipped: list[Trial]) -> Tuning:
        adopted = claim if claim is not None and claim.holds else None
        if claim is not None:
            self.warnings += claim.warnings(self.environment.cores)
        handover = self.hand_over(adopted, baseline) if adopted is not None else None
        self.warnings += over_budget(self.journal.spent(), self.options.budget)
        refused = [trial for trial in self.trials if trial.why.startswith(REFUSED)]
        return Tuning(
            name=self.journal.directory.name,
            command=self.target.command,
            config=self.target.config,
            environment=self.environment,
            date=self.date,
            seconds=self.journal.spent(),
            diagnosis=baseline.diagnosis,
            optimized=adopted.launches[0].diagnosis if adopted else None,
            facts=baseline.facts,
            no_op=baseline.no_op,
            trials=[trial for trial in self.trials if trial not in refused],
            # A refusal holds for the set that it was asked on top of; what was tried on another one was tried.
            skipped=[*skipped, *never_tried(refused, self.trials)],
            adopted=adopted.changes if adopted else [],
            claimed=claim.changes if claim else [],
            effect=claim.effect if claim else None,
            judgement=claim.judgement if claim else "not faster",
            same_training=claim.same if claim else None,
            goal=claim.goal if claim else self.options.goal,
            speed=claim.speed if claim else None,
            peaks=median_peaks(claim.launches) if claim else None,
            live_no_op=baseline.live_no_op,
            break_even_steps=earned_back(adopted.launches) if adopted else None,
            limit=self.limit(baseline) if adopted is None else None,
            directory=shown(self.journal.directory),
            handover=handover,
            unfinished=self.unfinished or any(self.cut_short.values()),
            warnings=self.warnings,
        )

    def close(self) -> None:
        self.engine.close()
        self.journal.close()

"""What is done on a bench, each as a function of the bench and of what is asked: an engine may run it anywhere.

measure_baseline, look           what the training is, what a set looks like
try_on_top                       one comparison of the search
launch, curve                    fresh processes for the claim
patched                          the user's files as they were edited
"""

from __future__ import annotations

import math
import time

import msgspec

from hotlap.diagnose import Machine, diagnose
from hotlap.estimate.peak import measured_peak
from hotlap.records import Change, Diagnosis, Effect, Facts, Sites, Trial
from hotlap.tune.arms import Arm, ArmFailed, ArmLate, LiveArm, losses, measure_pairs, warm_by
from hotlap.tune.bench import Bench, on_top
from hotlap.tune.effects import unmet
from hotlap.tune.guard import identical
from hotlap.tune.proof import Launch, launch_pair
from hotlap.tune.screening import Wanted, screen
from hotlap.tune.statistics import effect
from hotlap.tune.target import python_of

NO_OP_PAIRS = 5
#: How long a set of changes is looked at before what costs it time is named.
LOOK_SECONDS = 1.0
LOOK_STEPS = 12
#: How long the baseline is profiled, and how many steady steps tell more than those of the blocks.
PROFILE_SECONDS = 6.0
FEWEST_STEPS = 12
#: Steps after which facts tell what a training is set to.
KEYS_STEPS = 8


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """The baseline, which may take so many seconds before what can be left out of it is."""

    machine: Machine
    seconds: float


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    diagnosis: Diagnosis
    facts: Facts
    losses: list[float | None]
    no_op: Effect
    #: The same inside one process; that between two where there was no time for it, which scatters by more.
    live_no_op: Effect
    deterministic: bool
    first_step: float | None
    #: Where in the script things happen.
    sites: Sites | None = None
    #: Floating-point operations of a step; None where they could not be counted.
    flops: float | None = None
    #: By the name of a metric in small letters, the steps that were made when its first value after a step came.
    reported: dict[str, int] = {}

    def first_value(self, metric: str | None) -> int | None:
        return None if metric is None else self.reported.get(metric.lower())


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a set of changes looks like."""

    diagnosis: Diagnosis
    facts: Facts


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """Changes to be tried at once on top of a set, in so many seconds, of which they may take more to come to speed."""

    best: list[Change]
    changes: list[Change]
    wanted: Wanted
    seconds: float
    longest: float


class Launching(msgspec.Struct, frozen=True, kw_only=True):
    """A pair of fresh processes: the baseline, and a set of changes."""

    changes: list[Change]
    #: Added to the script's seed.
    number: int
    steps: int
    to_the_end: bool


class Curving(msgspec.Struct, frozen=True, kw_only=True):
    """The losses of a set over so many steps."""

    changes: list[Change]
    steps: int
    name: str
    #: A training of so many steps, as a launch of the claim is, and not the beginning of a longer one.
    short: bool = False


class Patching(msgspec.Struct, frozen=True, kw_only=True):
    """What runs in the place of the user's files, to be compared with the losses of the proof, and timed."""

    changes: list[Change]
    copies: dict[str, str]
    name: str
    losses: list[float | None]
    deterministic: bool
    #: Seconds that are left, and those that timing takes of them.
    seconds: float
    timing: float


class Patched(msgspec.Struct, frozen=True, kw_only=True):
    #: Whether it trains the same; None where that cannot be told.
    same: bool | None
    why: str
    #: Against the baseline; None where it was not timed.
    effect: Effect | None = None


def measure_baseline(bench: Bench, asked: Beginning) -> Baseline:
    """Look at the baseline, and run it against itself: in another process, and in its own."""
    began, machine = time.monotonic(), asked.machine
    profiled = bench.profile(PROFILE_SECONDS)
    arm, twin = bench.arm([]), bench.fresh([], "no-op")
    arm.warm()
    paired = time.monotonic()
    no_op = effect(measure_pairs(arm, twin, NO_OP_PAIRS), 0.95)
    run = arm.so_far()
    same, _ = identical(losses(run), twin.curve())
    twin.close()
    live_no_op, now = no_op, time.monotonic()
    if run.facts.world_size == 1 and now - began + (now - paired) <= asked.seconds:
        live_no_op = effect(measure_pairs(arm, bench.same_again([]), NO_OP_PAIRS), 0.95)
    # What looks at single steps is not there in a training that is measured in blocks.
    seen = diagnose(profiled, machine) if len(profiled.steps) >= FEWEST_STEPS else None
    looked = seen is not None and seen.steady_steps >= FEWEST_STEPS
    return Baseline(
        diagnosis=seen if seen is not None and looked else diagnose(run, machine),
        facts=profiled.facts if looked else run.facts,
        losses=losses(run),
        no_op=no_op,
        live_no_op=live_no_op,
        deterministic=bool(same),
        first_step=arm.first_step,
        sites=run.sites,
        flops=profiled.trace.flops if profiled.trace is not None else None,
        reported={metric.name.lower(): metric.step for metric in reversed(run.metrics) if metric.step > 0},
    )


def machine_limit(bench: Bench, facts: Facts) -> tuple[float | None, str]:
    """Operations per second that the device reaches in a large matrix product of the training's type, and that type."""
    dtype = facts.autocast or facts.parameter_dtype or "float32"
    return measured_peak(python_of(bench.target.command), facts.device or "cpu", dtype, facts.threads or 1), dtype


def look(bench: Bench, changes: list[Change]) -> Seen:
    """Let a set run for a while."""
    arm = bench.arm(changes)
    block = arm.block(LOOK_SECONDS, LOOK_STEPS)
    run = arm.so_far()
    # In a process that others use, too, only these steps are the set's.
    own = msgspec.structs.replace(run, steps=block) if isinstance(arm, LiveArm) else run
    return Seen(diagnosis=diagnose(own), facts=run.facts)


def try_on_top(bench: Bench, asked: Attempt) -> Trial | None:
    """Screen the changes, and end what the search will not need again; None where they did not come to speed in time.

    A change whose keys are known is made there; where the training does not heed them, it is made from outside.
    """
    began = time.monotonic()
    until, latest = began + asked.seconds, began + asked.longest
    try:
        changes = [heeded(bench, asked.best, change, latest) for change in asked.changes]
        trial = screen(bench, asked.best, changes, asked.wanted, lambda: until - time.monotonic(), latest)
    except ArmLate:
        trial = None
    bench.keep(on_top(asked.best, changes) if trial is not None and trial.kept else asked.best)
    return trial


def heeded(bench: Bench, best: list[Change], change: Change, latest: float) -> Change:
    """The change, without its keys where they do nothing and it can be made from outside.

    Raises:
        ArmLate: it did not come to speed by ``latest``, a moment of the monotonic clock.
    """
    if not (bench.target.has_keys(change) and change.inject) or bench.target.config is not None:
        return change
    arm = bench.arm(on_top(best, [change]))
    if isinstance(arm, LiveArm):
        return change  # made from outside while searching; see ``unheeded``
    try:
        warm_by(arm, latest)
    except ArmLate:
        raise
    except ArmFailed:
        return change  # the trial will say how it failed
    return change if unmet(change, arm.so_far().facts) is None else from_outside(change)


def unheeded(bench: Bench, changes: list[Change]) -> list[str]:
    """Of a set as it will be claimed: the changes whose keys do nothing, by their ids."""
    bench.keep()
    arm = bench.fresh(changes, "keys")
    try:
        arm.train_until(KEYS_STEPS)
        facts = arm.so_far().facts
    except ArmFailed:
        return []
    finally:
        arm.close()
    return [change.id for change in changes if bench.target.has_keys(change) and unmet(change, facts) is not None]


def from_outside(change: Change) -> Change:
    return msgspec.structs.replace(change, edits={})


def launch(bench: Bench, asked: Launching) -> Launch:
    bench.keep()
    a = bench.fresh([], f"proof-{asked.number}-baseline", seed=asked.number, steps=asked.steps)
    # At equal samples, where the configuration says how many steps there are.
    steps = math.ceil(asked.steps / bench.target.samples_ratio(asked.changes))
    b = bench.fresh(asked.changes, f"proof-{asked.number}-candidate", seed=asked.number, steps=steps)
    try:
        return launch_pair(a, b, asked.steps, to_the_end=asked.to_the_end)
    finally:
        a.close()
        b.close()


def patched(bench: Bench, asked: Patching) -> Patched:
    """Train what was edited over as many steps as losses are known, then against the baseline, in blocks."""
    began = time.monotonic()
    bench.keep()
    arm = bench.fresh(asked.changes, asked.name, copies=asked.copies)
    try:
        found = _compared(arm, asked)
        if found.same is False:
            return found
        if time.monotonic() - began + asked.timing > asked.seconds:
            return msgspec.structs.replace(found, why=f"{found.why}; no time was left to measure its speed")
        against = bench.fresh([], f"{asked.name}-baseline")
        try:
            return msgspec.structs.replace(found, effect=effect(measure_pairs(against, arm, NO_OP_PAIRS), 0.95))
        except ArmFailed as error:
            return msgspec.structs.replace(found, why=f"{found.why}; its speed could not be measured: {error}")
        finally:
            against.close()
    finally:
        arm.close()


def _compared(arm: Arm, asked: Patching) -> Patched:
    try:
        arm.train_until(len(asked.losses))
        after = arm.curve()
    except ArmFailed as error:
        return Patched(same=False, why=f"the patched script is left out of the patch, it could not be run: {error}")
    same, why = identical(asked.losses, after)
    if same:
        return Patched(same=True, why=f"the patched script was run: {why} with the proven run")
    if same is False and asked.deterministic:
        why = f"the patched script trains otherwise ({why}), so it is left out of the patch"
        return Patched(same=False, why=why)
    why = "the patched script was run; whether it trains the same cannot be told from its losses"
    return Patched(same=None, why=why)


def curve(bench: Bench, asked: Curving) -> list[float | None]:
    """The losses from the first step on; none where it cannot be trained so far."""
    bench.keep()
    arm = bench.fresh(asked.changes, asked.name, steps=asked.steps if asked.short else None)
    try:
        arm.train_until(asked.steps)
        return arm.curve()
    except ArmFailed:
        return []
    finally:
        arm.close()

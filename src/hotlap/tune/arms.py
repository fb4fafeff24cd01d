"""Arms: two sets of changes, of which one trains while the other is frozen, or is not there at all.

    A |=====|       |=====||=====|       |=====|
    B        |=====|              |=====|             a pair is one block of each, AB then BA

Where they differ in what only a start can change, each is a process (``Arm``). Every process of a frozen arm is
stopped, its loader's workers too, so that no arm works ahead of its block. Where they differ in what can be switched
while the training runs, they take turns in one process (``LiveArm``), which costs no start. A pair's ratio is the
throughput of B's block over that of A's. A training that comes to its end while it is still needed is started again.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any, NoReturn

from hotlap.errors import TrainingFailed
from hotlap.launch.load import Held, during
from hotlap.launch.process import Limits, Plan, Training
from hotlap.launch.rundir import steps_of
from hotlap.records import DID, UNCOUNTED, Change, Environment, Run, Step
from hotlap.tune.disturbances import BlockPair, block_of
from hotlap.tune.target import Target

BLOCK_SECONDS = 0.5
BLOCK_STEPS = 3
#: An arm is warm when two blocks in a row differ by less than this, or after so many blocks.
WARM = 0.05
WARM_BLOCKS = 6


#: A trial may take this share of the machine's memory before it is ended, so that nothing else is.
MEMORY_SHARE = 0.9


def bounded(limits: Limits, environment: Environment) -> Limits:
    if limits.memory is not None or environment.memory is None:
        return limits
    return replace(limits, memory=int(environment.memory * MEMORY_SHARE))


def unused(directory: Path) -> Path:
    """This directory, or a numbered one: what a tuning that was killed has left is of no use, its process is gone."""
    number = sum(1 for _ in directory.parent.glob(f"{glob.escape(directory.name)}*"))
    return directory.with_name(f"{directory.name}.{number}") if number else directory


class ArmFailed(TrainingFailed):
    """The training of an arm ended while it was measured; the message says how."""


class CandidateFailed(ArmFailed):
    """In a pair it was the candidate: the baseline is well."""


class ArmShort(ArmFailed):
    """The training was over before it was measured."""


class ArmLate(ArmFailed):
    """The arm was not where it was awaited within its time."""


class Arm:
    """One set of changes in one process. Started when it is first needed."""

    def __init__(
        self,
        target: Target,
        changes: Sequence[Change],
        directory: Path,
        environment: Environment,
        *,
        limits: Limits,
        seed_offset: int = 0,
        steps: int | None = None,
        without: str | None = None,
        variables: Mapping[str, str] | None = None,
        copies: Mapping[str, str] | None = None,
        called: str = "the training",
    ) -> None:
        """``called``: what it is in messages."""
        self.target = target
        self.called = called
        self.changes = list(changes)
        self.directory = directory
        self.environment = environment
        self.limits = limits
        self.seed_offset = seed_offset
        self.steps = steps
        #: What is taken away to see what it costs; see ``ablation``.
        self.without = without
        self.variables = dict(variables or {})
        #: Texts that run in the place of the script's files.
        self.copies = dict(copies or {})
        self.levers = target.levers(self.changes)
        #: Whether other settings take turns with ours in this process.
        self.shared = False
        self.training: Training | None = None
        self.warm_blocks = WARM_BLOCKS
        #: Seconds from the start of the command to the end of its first step.
        self.first_step: float | None = None
        #: Moment of the monotonic clock at which it is ended, while it is waited for.
        self.until: float | None = None
        #: Whether it was its training that failed.
        self.failed = False

    @property
    def ids(self) -> list[str]:
        return [change.id for change in self.changes]

    def start(self) -> Training:
        """Start the training, unless it runs, and hold it at the end of its first step."""
        if self.training is None:
            directory = unused(self.directory)
            directory.mkdir(parents=True)
            command = self.target.arrange(self.changes, directory, self.steps)
            plan = Plan(
                gated=True,
                contained=True,
                levers=self.levers,
                without=self.without,
                seed_offset=self.seed_offset,
                variables=self.variables,
                copies=self.copies,
                metric=self.target.metric,
            )
            self.training = Training(
                command,
                directory,
                plan,
                self.limits,
                changes={change.name: change.value for change in self.changes},
                known_environment=self.environment,
            )
            self.training.until = self.until
            if not self.training.wait_for_gate():
                self.fail()
            first = steps_of(self.training.lines)
            self.first_step = first[0].t + first[0].wall - self.training.started if first else None
            self.training.freeze()
        return self.training

    @property
    def host(self) -> Arm:
        """The arm whose process it runs in."""
        return self

    def warm(self) -> None:
        """Start, and run until the speed has settled; a training that is too short for that is warmed up less."""
        if self.training is not None:
            return None
        previous = None
        for done in range(self.warm_blocks):
            self.start()
            block = self._steps(BLOCK_SECONDS, BLOCK_STEPS)
            if not block:
                if done < 2:
                    self.fail()
                self.close()
                self.warm_blocks = done // 2
                return self.warm()
            speed = throughput(block)
            if previous is not None and abs(speed / previous - 1) < WARM:
                break
            previous = speed
        self.start().freeze()
        return None

    def block(self, seconds: float = BLOCK_SECONDS, steps: int = BLOCK_STEPS) -> list[Step]:
        """Run for a block and freeze again."""
        self.warm()
        block = self._steps(seconds, steps)
        if not block:
            self.close()
            self.warm()
            block = self._steps(seconds, steps) or self.fail()
        self.start().freeze()
        return block

    def train_until(self, step: int) -> list[Step]:
        """Let the training go on to this many steps in all; return the new ones, none where it has ended."""
        training = self.start()
        missing = step - len(steps_of(training.lines))
        if missing <= 0 or training.exit is not None:
            return []
        block = self._steps(0.0, missing - 1)
        training.freeze()
        return block

    def _steps(self, seconds: float, steps: int, settings: dict[str, Any] | None = None) -> list[Step]:
        """Steps of a block; none where the training came to its end instead."""
        assert self.training is not None
        self.training.until = self.until
        block = self.training.block(seconds, steps, settings or (self.levers if self.shared else None))
        if block is None:
            if self.training.exit is None or self.training.exit["exit"] != 0:
                self.fail()
            return []
        return block

    def run_to_end(self) -> None:
        training = self.start()
        if training.exit is None:
            training.release()
            training.wait()

    def lend(self, settings: dict[str, Any], seconds: float, steps: int) -> list[Step]:
        """Run for a block with other settings and freeze; no steps where the training came to its end instead."""
        self.warm()
        block = self._steps(seconds, steps, settings)
        if block:
            self.start().freeze()
        return block

    def recorded(self) -> Run:
        """End the training and return its record."""
        training = self.start()
        training.close()
        return training.run()

    def curve(self) -> list[float | None]:
        """The losses from its first step on."""
        return losses(self.so_far())

    def so_far(self) -> Run:
        """What has been recorded while the training lives."""
        training = self.start()
        training.poll()
        return training.snapshot()

    def close(self) -> None:
        if self.training is not None:
            self.training.close()
            self.training = None

    def fail(self, what: str | None = None) -> NoReturn:
        """Raise, with the reason that the training gave."""
        assert self.training is not None
        self.failed = True
        self.training.close()
        run = self.training.run()
        info, steps = run.info, len(run.steps)
        late = self.training.exit is not None and self.training.exit["reason"] == "late"
        log = self.training.directory / "output.log"
        self.training = None
        if late:
            raise ArmLate(f"{self.called} took longer than it was given")
        if info.outcome in ("finished", "stopped"):
            if what is None:
                what = (
                    "never called optimizer.step()" if not steps else f"ended after {steps} steps, too few to measure"
                )
            advice = (
                "give it more steps or epochs, enough for some seconds" if steps else "is this the command that trains?"
            )
            raise ArmShort(f"{self.called} {what}: {advice} (its output: {log})")
        outcome = DID.get(info.outcome, info.outcome)
        raise ArmFailed(f"{self.called} {outcome} after {steps} steps: {info.reason} (its output: {log})")


class LiveArm:
    """A set of changes in the process of another arm, which has none but the rest of them.

    It never saw the training's first steps, so its losses are comparable with nobody's.
    """

    def __init__(self, host: Arm, changes: Sequence[Change]) -> None:
        host.shared = True
        self.host = host
        self.live = list(changes)
        self.settings = host.levers | {name: value for change in changes for name, value in change.inject.items()}
        self.first_step: float | None = None
        self._losses: list[float | None] = []
        self._warm_in: Training | None = None

    @property
    def changes(self) -> list[Change]:
        return [*self.host.changes, *self.live]

    @property
    def ids(self) -> list[str]:
        return [change.id for change in self.changes]

    @property
    def training(self) -> Training | None:
        return self.host.training

    def warm(self) -> None:
        """Run until the speed has settled, once in each process."""
        self.host.warm()
        if self._warm_in is self.host.training:
            return
        spent: list[float] = []
        previous = None
        for _ in range(WARM_BLOCKS):
            block = self.host.lend(self.settings, BLOCK_SECONDS, BLOCK_STEPS)
            if not block:
                # The training is over. It may be too short to compile in it, and to be measured afterwards.
                self.host.close()
                self.host.warm()
                continue
            self._warm_in = self.host.training
            assert self.host.training is not None
            leading = self.host.training.leading
            spent += [step.wall for step in ([leading] if leading else []) + block]
            speed = throughput(block)
            if previous is not None and abs(speed / previous - 1) < WARM:
                break
            previous = speed
        if self._warm_in is None:
            self.host.fail("ended before it was warm with other settings")
        usual = median([step.wall for step in block] or spent)
        if self.host.first_step is not None:
            self.first_step = self.host.first_step + sum(max(0.0, wall - usual) for wall in spent)

    def block(self, seconds: float = BLOCK_SECONDS, steps: int = BLOCK_STEPS) -> list[Step]:
        self.warm()
        block = self.host.lend(self.settings, seconds, steps)
        if not block:
            self.host.close()
            self.warm()
            block = self.host.lend(self.settings, seconds, steps) or self.host.fail()
        self._losses += [step.loss for step in block]
        return block

    def so_far(self) -> Run:
        return self.host.so_far()

    def curve(self) -> list[float | None]:
        return self._losses

    def close(self) -> None:
        """The process is another's."""


AnyArm = Arm | LiveArm


def warm_by(arm: AnyArm, latest: float) -> None:
    """Run until the speed has settled; ended where that is not so by ``latest``, a moment of the monotonic clock.

    Raises:
        ArmLate: it was ended.
        ArmFailed: the training ended by itself.
    """
    arm.host.until = latest
    try:
        arm.warm()
    finally:
        arm.host.until = None


def throughput(block: Sequence[Step], uncounted: Sequence[str] = UNCOUNTED, *, in_steps: bool = False) -> float:
    """Samples (or steps, where samples are unknown) per second, without validation and checkpoint writing."""
    seconds = sum(step.wall - sum(step.phases.get(phase, 0.0) for phase in uncounted) for step in block)
    samples = [step.samples for step in block if step.samples is not None]
    work = sum(samples) if len(samples) == len(block) and not in_steps else len(block)
    return work / max(seconds, 1e-9)


def pair_of(number: int, a: tuple[Sequence[Step], Held], b: tuple[Sequence[Step], Held]) -> BlockPair:
    """Blocks of A and B in one unit: steps where the samples of any of them are unknown."""
    in_steps = any(step.samples is None for steps, _ in (a, b) for step in steps)
    first, second = (block_of(steps, throughput(steps, in_steps=in_steps), held) for steps, held in (a, b))
    return BlockPair(number=number, a=first, b=second)


def measure_blocks(a: AnyArm, b: AnyArm, count: int, begun: int = 0) -> list[BlockPair]:
    """Return ``count`` pairs of blocks, alternating which arm goes first; ``begun`` have been measured before."""
    a.warm()
    b.warm()
    pairs = []
    for number in range(begun, begun + count):
        found: dict[int, tuple[list[Step], Held]] = {}
        for arm in (a, b) if number % 2 == 0 else (b, a):
            host = arm.host
            found[id(arm)] = during(host.start().pid, host.environment.cores, arm.block)
        pairs.append(pair_of(number, found[id(a)], found[id(b)]))
    return pairs


def measure_pairs(a: AnyArm, b: AnyArm, count: int) -> list[float]:
    """Return ``count`` ratios of B's throughput to A's."""
    return [pair.ratio for pair in measure_blocks(a, b, count)]


def losses(run: Run) -> list[float | None]:
    return [step.loss for step in run.steps]

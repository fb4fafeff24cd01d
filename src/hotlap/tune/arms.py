"""Arms: two trainings that live side by side, of which one runs and the other is frozen.

    A |=====|       |=====||=====|       |=====|
    B        |=====|              |=====|             a pair is one block of each, AB then BA

Every process of a frozen arm is stopped, its loader's workers too, so that no arm works ahead of its block.
A pair's ratio is the throughput of B's block over that of A's. A training that comes to its end while it is
still needed is started again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from hotlap.errors import TrainingFailed
from hotlap.launch.process import Limits, Plan, Training
from hotlap.launch.rundir import steps_of
from hotlap.records import UNCOUNTED, Change, Environment, Run, Step
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


class ArmFailed(TrainingFailed):
    """The training of an arm ended while it was measured; the message says how."""


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
    ) -> None:
        self.target = target
        self.changes = list(changes)
        self.directory = directory
        self.environment = environment
        self.limits = limits
        self.seed_offset = seed_offset
        self.steps = steps
        #: What is taken away to see what it costs; see ``ablation``.
        self.without = without
        self.training: Training | None = None
        self.warm_blocks = WARM_BLOCKS
        #: Seconds from the start of the command to the end of its first step.
        self.first_step: float | None = None

    @property
    def ids(self) -> list[str]:
        return [change.id for change in self.changes]

    def start(self) -> Training:
        """Start the training, unless it runs, and hold it at the end of its first step."""
        if self.training is None:
            # A directory left by a tuning that was killed is of no use: the process that filled it is gone.
            number = sum(1 for _ in self.directory.parent.glob(f"{self.directory.name}*"))
            directory = self.directory.with_name(f"{self.directory.name}.{number}") if number else self.directory
            directory.mkdir(parents=True)
            command = self.target.arrange(self.changes, directory, self.steps)
            plan = Plan(
                gated=True,
                contained=True,
                levers=self.target.levers(self.changes),
                without=self.without,
                seed_offset=self.seed_offset,
            )
            self.training = Training(
                command,
                directory,
                plan,
                self.limits,
                changes={change.name: change.value for change in self.changes},
                known_environment=self.environment,
            )
            if not self.training.wait_for_gate():
                self.fail()
            first = steps_of(self.training.lines)
            self.first_step = first[0].t + first[0].wall - self.training.started if first else None
            self.training.freeze()
        return self.training

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

    def _steps(self, seconds: float, steps: int) -> list[Step]:
        """Steps of a block; none where the training came to its end instead."""
        assert self.training is not None
        block = self.training.block(seconds, steps)
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

    def recorded(self) -> Run:
        """End the training and return its record."""
        training = self.start()
        training.close()
        return training.run()

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
        self.training.close()
        run = self.training.run()
        info, steps = run.info, len(run.steps)
        log = self.training.directory / "output.log"
        self.training = None
        if info.outcome in ("finished", "stopped"):
            if what is None:
                what = (
                    "never called optimizer.step()" if not steps else f"ended after {steps} steps, too few to measure"
                )
            advice = (
                "give it more steps or epochs, enough for some seconds" if steps else "is this the command that trains?"
            )
            raise ArmFailed(f"the training {what}: {advice} (its output: {log})")
        outcome = info.outcome.replace("_", " ")
        raise ArmFailed(f"the training {outcome} after {steps} steps: {info.reason} (its output: {log})")


def throughput(block: Sequence[Step], uncounted: Sequence[str] = UNCOUNTED) -> float:
    """Samples (or steps, where samples are unknown) per second, without validation and checkpoint writing."""
    seconds = sum(step.wall - sum(step.phases.get(phase, 0.0) for phase in uncounted) for step in block)
    samples = [step.samples for step in block if step.samples is not None]
    work = sum(samples) if len(samples) == len(block) else len(block)
    return work / max(seconds, 1e-9)


def measure_pairs(a: Arm, b: Arm, count: int, begun: int = 0) -> list[float]:
    """Return ``count`` ratios of B's throughput to A's, alternating which arm goes first."""
    a.warm()
    b.warm()
    pairs = []
    for number in range(begun, begun + count):
        order = (a, b) if number % 2 == 0 else (b, a)
        speed = {id(arm): throughput(arm.block()) for arm in order}
        pairs.append(speed[id(b)] / speed[id(a)])
    return pairs


def losses(run: Run) -> list[float | None]:
    return [step.loss for step in run.steps]

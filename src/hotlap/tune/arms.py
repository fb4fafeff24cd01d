"""Arms: two trainings that live side by side, of which one runs and the other is frozen.

    A |=====|       |=====||=====|       |=====|
    B        |=====|              |=====|             a pair is one block of each, AB then BA

Every process of a frozen arm is stopped, its loader's workers too, so that no arm works ahead of its block.
A pair's ratio is the throughput of B's block over that of A's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hotlap.diagnose import steady
from hotlap.errors import TrainingFailed
from hotlap.launch.process import Limits, Plan, Training
from hotlap.launch.rundir import read_lines, steps_of
from hotlap.records import Change, Environment, Run, Step
from hotlap.tune.target import Target

BLOCK_SECONDS = 0.5
BLOCK_STEPS = 3
#: An arm is warm when two blocks in a row differ by less than this, or after so many blocks.
WARM = 0.05
WARM_BLOCKS = 6


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
    ) -> None:
        self.target = target
        self.changes = list(changes)
        self.directory = directory
        self.environment = environment
        self.limits = limits
        self.seed_offset = seed_offset
        self.steps = steps
        self.training: Training | None = None
        self.first_step: float | None = None

    @property
    def ids(self) -> list[str]:
        return [change.id for change in self.changes]

    def start(self) -> Training:
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
                self._fail()
            first = steps_of(self.training.lines)
            self.first_step = first[0].t + first[0].wall - self.training.started if first else None
            self._warm_up()
            self.training.freeze()
        return self.training

    def _warm_up(self) -> None:
        previous = None
        for _ in range(WARM_BLOCKS):
            speed = throughput(self._block(BLOCK_SECONDS, BLOCK_STEPS))
            if previous is not None and abs(speed / previous - 1) < WARM:
                return
            previous = speed

    def _block(self, seconds: float, steps: int) -> list[Step]:
        assert self.training is not None
        block = self.training.block(seconds, steps)
        if block is None:
            self._fail()
        assert block is not None
        return block

    def block(self) -> list[Step]:
        training = self.start()
        block = self._block(BLOCK_SECONDS, BLOCK_STEPS)
        training.freeze()
        return block

    def run_until(self, step: int) -> None:
        """Let the training go on to this many steps in all."""
        training = self.start()
        missing = step - len(steps_of(training.lines))
        if missing > 0:
            self._block(0.0, missing)
            training.freeze()

    def run_to_end(self) -> None:
        training = self.start()
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

    def _fail(self) -> None:
        assert self.training is not None
        self.training.close()
        info = self.training.run().info
        steps = len(steps_of(read_lines(self.training.directory / "steps.jsonl")))
        log = self.training.directory / "output.log"
        if info.outcome in ("finished", "stopped"):
            what = (
                "never called optimizer.step()" if not steps else f"ended after {steps} steps, too few to be measured"
            )
            raise ArmFailed(f"the training {what}: give it more steps or epochs (its output: {log})")
        raise ArmFailed(
            f"the training {info.outcome.replace('_', ' ')} after {steps} steps: {info.reason} (its output: {log})"
        )


def throughput(block: Sequence[Step]) -> float:
    """Samples (or steps, where samples are unknown) per second, without validation and checkpoint writing."""
    seconds = sum(step.wall - step.phases.get("validation", 0.0) - step.phases.get("checkpoint", 0.0) for step in block)
    samples = [step.samples for step in block if step.samples is not None]
    work = sum(samples) if len(samples) == len(block) else len(block)
    return work / max(seconds, 1e-9)


def measure_pairs(a: Arm, b: Arm, count: int, begun: int = 0, tick: Callable[[], None] = lambda: None) -> list[float]:
    """Return ``count`` ratios of B's throughput to A's, alternating which arm goes first."""
    a.start(), b.start()
    pairs = []
    for number in range(begun, begun + count):
        order = (a, b) if number % 2 == 0 else (b, a)
        speed = {id(arm): throughput(arm.block()) for arm in order}
        pairs.append(speed[id(b)] / speed[id(a)])
        tick()
    return pairs


def losses(run: Run) -> list[float | None]:
    return [step.loss for step in run.steps]


def steady_seconds(run: Run) -> float:
    """Mean seconds of a steady step."""
    walls = [step.wall for step in run.steps]
    first, outliers = steady(walls)
    kept = [wall for index, wall in enumerate(walls) if index >= first and index not in outliers] or walls
    return sum(kept) / len(kept)

"""Everything that is looked at, together: one ``Sample`` a look."""

from __future__ import annotations

import contextlib
import time

from hotlap.errors import RunError
from hotlap.watch.guess import Guess
from hotlap.watch.machine import MachineSensor
from hotlap.watch.nvml import Driver
from hotlap.watch.processes import Tree
from hotlap.watch.record import Record, Sums
from hotlap.watch.sample import Sample
from hotlap.watch.trainings import Training, outcome

#: Seconds for which hotlap may take to write down how a training has ended, and between two looks for that.
_LAST_WORDS, _AGAIN = 2.0, 0.1


class Sensors:
    """``planned``: steps of the whole training. The clock is that of the record: the machine's monotonic one."""

    def __init__(self, training: Training, planned: int | None = None) -> None:
        self._training = training
        self._began = time.perf_counter()
        self._driver = Driver()
        self._guess = Guess()
        self._machine = MachineSensor(self._began)
        self._tree = Tree(training.pid, self._began)
        self._tree.look(self._began)
        directory = training.directory
        self._record = None if directory is None else Record(directory, self._began, planned)

    def look(self) -> Sample | None:
        """None when the training is over.

        Raises:
            RunError: its record is written by a newer hotlap.
        """
        now = time.perf_counter()
        steps = None if self._record is None else self._record.look(now)
        processes = self._tree.look(now, self._record.trainers if self._record is not None else ())
        if processes is None:
            return None
        wall = time.time()
        gpus = self._driver.look(set(self._tree.pids), wall)
        guessed = self._guess.look(gpus, self._tree.visible)
        return Sample(
            time=wall,
            elapsed=now - self._began,
            machine=self._machine.look(now),
            gpus=gpus,
            guessed=guessed,
            processes=processes,
            steps=steps,
            missing=self._missing(processes.pss is not None, bool(guessed)),
        )

    def finish(self) -> Sums | None:
        """Close everything; return what the steps add up to, those to the last one."""
        self._driver.close()
        if self._record is None:
            return None
        with contextlib.suppress(RunError):
            self._record.look(time.perf_counter())
        self._record.close()
        return self._record.totals if self._record.trainers else None

    def outcome(self) -> tuple[str, str | None]:
        """How the training has ended, which hotlap writes down a moment later."""
        directory = self._training.directory
        if directory is None:
            return "ended", None
        until = time.perf_counter() + _LAST_WORDS
        while (found := outcome(directory))[0] == "ended" and time.perf_counter() < until:
            time.sleep(_AGAIN)
        return found

    def _missing(self, memory: bool, guessed: bool) -> list[str]:
        found = [self._driver.missing] if self._driver.missing is not None else []
        if guessed:
            found.append(
                "On which GPUs the training computes is a guess: the driver names no process by a number known here"
            )
        if self._record is None:
            found.append(
                "Steps and losses are not read: hotlap did not start this training (`hotlap profile -- COMMAND` does)"
            )
        elif not self._record.trainers:
            found.append("Steps and losses are not read yet: no step was recorded so far")
        if not memory:
            found.append("The memory of the training is not read: the system does not let this user look at it")
        return found

"""How the training goes on, from the record that its probe appends to: only what is new is read.

steps.jsonl   ──> the steps of the last seconds ──> means, throughput, what is left
output.log    ──> "step 950/8880", where it prints so
"""

from __future__ import annotations

import math
import re
from collections import deque
from itertools import pairwise
from pathlib import Path
from typing import Any

from hotlap.launch.following import Follower, Lines
from hotlap.watch.sample import Steps

#: Seconds of which the means are, and steps at the least, if there are so many.
_WINDOW, _FEWEST = 10.0, 5
_CHUNK = 1.0
_SECOND = 1e9
#: A pace is none any more when the last step is over for so long.
_STALE = 60.0
#: Of a record that is there already, the end that is read.
_LAST = 1 << 20
#: Of the output, likewise. A line holds the step.
_LAST_OUTPUT = 1 << 14
#: Looks over which the time that is left is extrapolated.
_MARKS = 600

_OF = re.compile(rb"\b(?:step|iter|iteration)s?\b[\s:=\[(#]*(\d[\d,]*)\s*(?:/|of)\s*(\d[\d,]*)", re.IGNORECASE)
_EPOCH = re.compile(rb"epoch", re.IGNORECASE)


class Sums:
    """Of some steps that followed one another."""

    def __init__(self) -> None:
        self.steps = 0
        self.not_finite = 0
        #: Whether one was a finite number, and after the last that was, the first step whose loss was none.
        self.finite = False
        self.not_finite_since: int | None = None
        self.loss: float | None = None
        #: Of those that the probe did not look at from close by.
        self.usual = 0
        self.wall = 0.0
        self.phases: dict[str, float] = {}
        #: None where one step does not say.
        self.samples: int | None = 0
        self.began: float | None = None
        self.ended = 0.0
        self.paused = 0.0

    def __iadd__(self, later: Sums) -> Sums:
        if not later.steps:
            return self
        self.steps += later.steps
        self.not_finite += later.not_finite
        if later.finite or self.not_finite_since is None:
            self.not_finite_since = later.not_finite_since
        self.finite = self.finite or later.finite
        self.loss = self.loss if later.loss is None else later.loss
        self.usual += later.usual
        self.wall += later.wall
        for name, seconds in later.phases.items():
            self.phases[name] = self.phases.get(name, 0.0) + seconds
        self.samples = None if self.samples is None or later.samples is None else self.samples + later.samples
        self.began = later.began if self.began is None else self.began
        self.ended = later.ended
        self.paused += later.paused
        return self

    @property
    def step_seconds(self) -> float | None:
        return self.wall / self.usual if self.usual else None

    @property
    def means(self) -> dict[str, float]:
        """Seconds of a step by phase."""
        return {name: seconds / self.usual for name, seconds in self.phases.items()}

    @property
    def samples_per_second(self) -> float | None:
        if not self.samples or self.began is None or self.ended - self.paused <= self.began:
            return None
        return self.samples / (self.ended - self.paused - self.began)


def sums_of(line: dict[str, Any], plan: dict[str, Any]) -> Sums:
    """Add up the steps of a line of the record. Not one by one: a training may make thousands a second.

    See ``launch.decoding`` for what the line and its plan hold.
    """
    count = len(line["losses"])
    if "looked" not in line:
        return _stretch(line, plan, 0, count, usual=True)
    found = Sums()
    looked = set(line["looked"])
    for i in range(count):
        found += _stretch(line, plan, i, i + 1, usual=line["i"] + i not in looked)
    return found


def _stretch(line: dict[str, Any], plan: dict[str, Any], begin: int, end: int, *, usual: bool) -> Sums:
    found = Sums()
    slots = plan["slots"]
    marks = len(slots)
    times = line["times"][begin * marks : end * marks + 1]
    moments = [sum(times[at:-1:marks]) for at in range(marks)]
    # The span after a mark, in all steps: the moments of the next mark less those of this one.
    moments.append(moments[0] + times[-1] - times[0])
    spent: dict[str, float] = {}
    for slot, (this, following) in zip(slots, pairwise(moments), strict=True):
        name = plan["phases"][slot]
        spent[name] = spent.get(name, 0.0) + (following - this) / _SECOND
    found.paused = spent.pop("paused", 0.0)
    found.steps = end - begin
    found.began, found.ended = times[0] / _SECOND, times[-1] / _SECOND
    if usual:
        found.usual, found.phases = found.steps, spent
        found.wall = found.ended - found.began - found.paused
    samples, losses = line["samples"][begin:end], line["losses"][begin:end]
    found.samples = None if None in samples else sum(samples)
    if all(type(loss) is float for loss in losses):  # what is no number is a word in JSON
        found.loss, found.finite = losses[-1], True
        return found
    for number, loss in enumerate(losses, line["i"] + begin):
        if loss is None:  # nothing is known: a training may have a loss now and then
            continue
        found.loss = float(loss)
        if math.isfinite(found.loss):
            found.finite, found.not_finite_since = True, None
            continue
        found.not_finite += 1
        if found.not_finite_since is None:
            found.not_finite_since = number
    return found


class Record:
    """The record in a run directory. ``planned``: steps of the whole training, where somebody knows them."""

    def __init__(self, directory: Path, began: float, planned: int | None = None) -> None:
        self._directory = directory
        self._began = began
        self._planned = planned
        self._lines = Lines(directory / "steps.jsonl", last=_LAST)
        self._output = _Output(directory / "output.log")
        #: Steps of a second each.
        self._window: deque[Sums] = deque()
        self._ranks: set[Path] = set()
        self._done = 0
        #: The first step that was read, and all of them: the window goes on, and what its losses were is lost.
        self._first: int | None = None
        self._all = Sums()
        self._plans: dict[int, dict[str, Any]] = {}
        self._marks: deque[tuple[int, float]] = deque(maxlen=_MARKS)
        #: Of the steps since the watch began.
        self.totals = Sums()
        #: The processes that train, rank 0 first.
        self.trainers: list[int] = []

    def look(self, now: float) -> Steps | None:
        """``now``: on the clock of the record. None while there is no step and nothing that trains."""
        for line in self._lines.read_raw():
            if line["k"] == "plan":
                self._plans[line["id"]] = line
            elif line["k"] == "steps" and line["plan"] in self._plans:
                self._add(line["i"], sums_of(line, self._plans[line["plan"]]))
            elif line["k"] == "start":
                self.trainers.append(line["pid"])
        self._other_ranks()
        return self._steps(now) if self.trainers else None

    def close(self) -> None:
        self._lines.close()
        self._output.close()

    def _add(self, first: int, steps: Sums) -> None:
        assert steps.began is not None
        self._done = first + steps.steps
        self._first = first if self._first is None else self._first
        self._all += steps
        latest = self._window[-1] if self._window else None
        if latest is None or latest.began is None or steps.began >= latest.began + _CHUNK:
            self._window.append(Sums())
        self._window[-1] += steps
        if steps.began >= self._began:
            self.totals += steps

    def _other_ranks(self) -> None:
        for path in set(self._directory.glob("steps.rank*.jsonl")) - self._ranks:
            lines = Lines(path, last=0)
            began = [line["pid"] for line in lines.read() if line["k"] == "start"]
            lines.close()
            if began:
                self._ranks.add(path)
                self.trainers += began

    def _steps(self, now: float) -> Steps:
        window = self._window
        steps = sum(sums.steps for sums in window)
        while window and window[0].ended < now - _WINDOW and steps - window[0].steps >= _FEWEST:
            steps -= window.popleft().steps
        seen = Sums()
        for sums in window:
            seen += sums
        printed, total, left = self._left(now, seen.ended)
        return Steps(
            done=self._done,
            steps=seen.steps,
            step_seconds=seen.step_seconds,
            phases=seen.means,
            samples_per_second=seen.samples_per_second,
            loss=seen.loss,
            printed=printed,
            total=total,
            seconds_left=left,
            silence=max(0.0, now - seen.ended) if seen.steps else None,
            not_finite_since=self._all.not_finite_since,
            not_finite_before=self._all.not_finite > 0 and not self._all.finite and bool(self._first),
            ranks=1 + len(self._ranks),
        )

    def _left(self, now: float, ended: float) -> tuple[int | None, int | None, float | None]:
        """The step that the training prints, how many there will be, and the seconds until then at the pace so far.

        What is printed may count micro-batches, so its pace is taken from what is printed.
        """
        if self._planned is not None:
            printed, at, total = None, (self._done, ended), self._planned
            if not self._done:
                return None, total, None
        else:
            found = self._output.step_of()
            if found is None:
                return None, None, None
            printed, total = found
            at = (printed, now)
        if not self._marks or at[0] > self._marks[-1][0]:
            self._marks.append(at)
        (first, begun), (last, since) = self._marks[0], self._marks[-1]
        if first == last or now - since > _STALE:
            return printed, total, None
        return printed, total, max(0.0, (total - last) * (since - begun) / (last - first) - (now - since))


class _Output:
    """Finds in what the training prints at which step of how many it is."""

    def __init__(self, path: Path) -> None:
        self._file = Follower(path)
        self._opened = False
        self._partial = b""
        self._found: tuple[int, int] | None = None
        self._repeats = False

    def step_of(self) -> tuple[int, int] | None:
        """The step that was printed last, and how many there will be; None where nothing says so for the whole."""
        self._opened = self._opened or self._file.open(_LAST_OUTPUT)
        if not self._opened:
            return None
        *whole, self._partial = re.split(rb"[\r\n]", (self._partial + self._file.read())[-_LAST_OUTPUT:])
        for line in whole:
            found = _OF.search(line)
            if found is None:
                continue
            step, total = (int(each.replace(b",", b"")) for each in found.groups())
            # Steps of an epoch begin again with the next one.
            back = self._found is not None and (step < self._found[0] or total != self._found[1])
            self._repeats = self._repeats or back or _EPOCH.search(line) is not None
            if 0 <= step <= total:
                self._found = step, total
        return None if self._repeats else self._found

    def close(self) -> None:
        self._file.close()

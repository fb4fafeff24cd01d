"""Finds the script's own lines that no span of the timeline explains: a look at some steps in a row.

    training   │ forward │ gap ........ │ backward │ gap ............................. │     what a gap is (``loss`` or
    samples    ·    ·    x    ·    x    ·    ·    x    x    x    x    x    x    x    x       ``other``) is known when
                         train.py:41 in train       train.py:48 in train: numpy.savez        the step is over

A second thread wakes up every few milliseconds. Where the training is in a gap then, it notes the innermost frame that
is the script's own and what is called there. It needs the interpreter's lock for that, so it comes late where the
training keeps the lock: 5 ms in Python code, which then gives it up (``sys.getswitchinterval``), and as long as a call
in C takes that never does. So a sample counts as much as the time since the one before it: otherwise code that keeps
the lock would be seen too seldom. It counts where the training is when it is taken. That is right after a call in C
that kept the lock, because the interpreter hands it over before it goes on to another line. It is wrong where a line of
Python takes less than 5 ms and the next one lets go of the lock by itself: that one gets the time of both.
"""

from __future__ import annotations

import _thread
import dis
import linecache
import os
import sys
from collections import deque
from contextlib import suppress
from types import CodeType, FrameType
from typing import Any

from hotlap.probe.attribution import Plan
from hotlap.probe.timeline import BATCH, FORWARD, GAP, SECOND
from hotlap.probe.whose import Whose

#: Seconds of training that the first look watches, and in how many steps at most. Later ones watch so many times that
#: as long as there are fewer samples than are enough, but one step where gaps were a small share of what was watched.
_WINDOW, _MOST_STEPS = 0.1, 32
_LONGER, _ENOUGH, _SMALL = 2, 40, 0.1
#: Steps that are watched tell nothing else, so a short training must keep others: no more of them than a third of those
#: that are over, and none where so few would not last so many seconds.
_PART, _LEAST = 3, 0.02
#: Seconds from one sample to the next.
_EVERY, _EVERY_AT_MOST = 0.001, 0.05
#: Samples that a step of average length should have, however long it is.
_OF_A_STEP = 200
#: Looks at most: what every step does is known by then.
_LOOKS = 12
#: Lines that are kept and that are written, and characters of what is called there.
_KEPT, _WRITTEN, _CALLED = 500, 12, 60
#: Seconds that the end of a look waits for its thread, which only has to wake up.
_END = 1.0
#: What is the training's own code: the phases that gaps of the timeline become.
_PHASES = ("other", "loss")

#: Code, instruction and line of a frame, and its module's names, to tell what is called there.
_Place = tuple[CodeType, int, int, dict[str, Any]]


class _Watch:
    """What the thread and the training share while some steps are watched."""

    def __init__(self, recorder: Any, every: float) -> None:
        self.timeline = recorder.timeline
        self.clock = recorder.clock
        self.thread: int = recorder.thread
        self.every = every
        #: Code and instruction of what encloses the whole step: a line that calls the loop explains nothing.
        self.enclosing: set[tuple[CodeType, int]] = set()
        #: When the gap began in which a sample was taken, how many nanoseconds it counts, and where it was.
        self.samples: deque[tuple[int, int, _Place | None]] = deque()
        #: Nanoseconds that were watched, whatever the training did.
        self.watched = 0
        self.over = _thread.allocate_lock()
        self.over.acquire()
        self.ended = _thread.allocate_lock()


class StackSamples:
    """Implements ``looking.Look``. Nothing of it exists outside of the steps that it watches."""

    def __init__(self, torch: Any, recorder: Any) -> None:
        self.recorder = recorder
        self.span = 1
        self.looks = 0
        self.watch: _Watch | None = None
        self.steps = 0
        self.watched = 0
        #: Samples and nanoseconds by phase, and by file, line, function, what is called there, and phase.
        self.seen: dict[str, list[int]] = {}
        self.found: dict[tuple[str, int, str, str | None, str], list[int]] = {}
        self.called: dict[tuple[CodeType, int], str | None] = {}
        self.whose = Whose(torch)
        # A child must not be forked while another thread holds locks.
        os.register_at_fork(before=self.undo)

    # some steps are watched

    def begin(self) -> None:
        self.span = 0
        if self.looks >= _LOOKS:
            return
        last = self._last_step()
        wanted = self._wanted(last)
        if wanted * last < _LEAST:
            return
        self.looks += 1
        self.span = wanted
        watch = _Watch(self.recorder, min(_EVERY_AT_MOST, max(_EVERY, last / _OF_A_STEP)))
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            watch.enclosing.add((frame.f_code, frame.f_lasti))
            frame = frame.f_back
        watch.ended.acquire()
        self.watch = watch
        _thread.start_new_thread(self._sample, (watch,))

    def _wanted(self, last: float) -> int:
        """How many steps are to be watched, if they take as long as the last one."""
        longer = 1
        if self.steps:
            samples, gaps = (sum(counted[i] for counted in self.seen.values()) for i in (0, 1))
            if gaps < _SMALL * self.watched:
                return 1
            longer = 1 if samples >= _ENOUGH else _LONGER
        over: int = self.recorder.steps
        most = min(_MOST_STEPS * longer, over // _PART)
        return max(1, min(most, round(_WINDOW * longer / max(last, 1e-6))))

    def _last_step(self) -> float:
        times, ends = self.recorder.timeline.times, [0, *(index for index, *_ in self.recorder.closed[-2:])]
        return (times[ends[-1]] - times[ends[-2]]) / SECOND if len(ends) > 1 else 0.0

    def step_over(self) -> None:
        """One of the steps that are watched is over and its marks are all there."""
        watch = self.watch
        if watch is not None:
            self.steps += 1
            ends = [0, *(index for index, *_ in self.recorder.closed[-2:])]
            self._count(watch, self._meaning(watch.timeline, ends[-2], ends[-1], ()))

    def end(self) -> None:
        watch = self.watch
        self._stop()
        if watch is None or self.recorder.ended:
            return
        self.watched += watch.watched
        self.watch = watch
        self.step_over()
        # The next step has begun already, up to its first training work; the first one was not seen up to there.
        kinds = watch.timeline.kinds
        start = self.recorder.closed[-1][0] if self.recorder.closed else 0
        self._count(watch, self._meaning(watch.timeline, start, len(kinds), (FORWARD,)))
        self.watch = None

    def undo(self) -> None:
        self._stop()

    def _stop(self) -> None:
        watch, self.watch = self.watch, None
        if watch is not None:
            watch.over.release()
            if watch.ended.acquire(timeout=_END):
                watch.ended.release()

    # in the other thread

    def _sample(self, watch: _Watch) -> None:
        try:
            clock, timeline = watch.clock, watch.timeline
            last = clock()
            while not watch.over.acquire(timeout=watch.every):
                now = clock()
                elapsed, last = now - last, now
                watch.watched += elapsed
                # A mark is several changes, so it may be under way: then the last kind is none of a gap's.
                if timeline.stack or timeline.kinds[-1] not in (GAP, BATCH) or not self.recorder.begun:
                    continue
                began = timeline.times[-1]
                counts, place = self._place(watch)
                if counts:
                    watch.samples.append((began, elapsed, place))
        except Exception:
            watch.samples.clear()
        finally:
            watch.ended.release()

    def _place(self, watch: _Watch) -> tuple[bool, _Place | None]:
        """Whether the training's own code runs, and the innermost of its frames, else that of a library's."""
        frame: FrameType | None = sys._current_frames().get(watch.thread)
        place: _Place | None = None
        try:
            while frame is not None:
                code = frame.f_code
                if (code, frame.f_lasti) in watch.enclosing:
                    break
                whose = self.whose(code.co_filename)
                if whose == "probe":
                    return False, None
                if whose == "script" or (whose == "library" and place is None):
                    place = (code, frame.f_lasti, frame.f_lineno or 0, frame.f_globals)
                if whose == "script":
                    break
                frame = frame.f_back
            return True, place
        finally:
            del frame  # it holds tensors

    # what the samples mean

    def _meaning(self, timeline: Any, start: int, end: int, more: tuple[str, ...]) -> dict[int, str]:
        """The phase of each gap of a stretch of the timeline, by the time at which it began."""
        kinds = timeline.kinds[start:end]
        plan = Plan((*kinds, *more), dict(self.recorder.record.roles))
        times = timeline.times[start:end]
        gaps = (index for index, kind in enumerate(kinds) if kind in (GAP, BATCH))
        return {times[index]: plan.phases[plan.slots[index]] for index in gaps}

    def _count(self, watch: _Watch, meaning: dict[int, str]) -> None:
        """Count the samples in these gaps; the others wait for the rest of their step."""
        for _ in range(len(watch.samples)):
            began, elapsed, place = watch.samples.popleft()
            phase = meaning.get(began)
            if phase is None:
                watch.samples.append((began, elapsed, place))
            elif phase in _PHASES:
                _add(self.seen, phase, elapsed)
                if place is not None and len(self.found) < _KEPT:
                    code, at, line, names = place
                    key = (code.co_filename, line, code.co_name, self._called(code, at, names), phase)
                    _add(self.found, key, elapsed)

    def _called(self, code: CodeType, at: int, names: dict[str, Any]) -> str | None:
        """What the instruction calls, or else computes, as the script writes it; a module by its own name."""
        key = (code, at)
        if key not in self.called:
            text = None
            with suppress(Exception):
                text = _written(code, at)
            if text:
                root, dot, rest = text.partition(".")
                module = names.get(root)
                if dot and isinstance(module, type(sys)):
                    text = f"{module.__name__}.{rest}"
            if len(self.called) >= _KEPT:
                self.called.clear()
            self.called[key] = text
        return self.called[key]

    def lines(self) -> list[tuple[str, dict[str, Any]]]:
        if not self.steps:
            return []
        ranked = sorted(self.found.items(), key=lambda item: -item[1][1])
        return [
            (
                "sampled",
                {
                    "steps": self.steps,
                    "phases": {phase: _told(counted, self.steps) for phase, counted in self.seen.items()},
                    "lines": [
                        {
                            "file": file,
                            "line": line,
                            "function": function,
                            "called": called,
                            "phase": phase,
                            **_told(counted, self.steps),
                        }
                        for (file, line, function, called, phase), counted in ranked[:_WRITTEN]
                    ],
                },
            )
        ]


def _add(counts: dict[Any, list[int]], key: Any, nanoseconds: int) -> None:
    entry = counts.setdefault(key, [0, 0])
    entry[0] += 1
    entry[1] += nanoseconds


def _told(counted: list[int], steps: int) -> dict[str, Any]:
    return {"samples": counted[0], "seconds": counted[1] / SECOND / steps}


def _written(code: CodeType, at: int) -> str | None:
    """The source of an instruction; of a call only what is called. From Python 3.11 on code knows its columns."""
    positions = getattr(code, "co_positions", None)
    if positions is None:
        return None
    first, last, start, end = list(positions())[at // 2]
    if None in (first, last, start, end):
        return None
    rows = [linecache.getline(code.co_filename, row).encode() for row in range(first, last + 1)]
    rows[-1] = rows[-1][:end]
    rows[0] = rows[0][start:]
    text = " ".join(b" ".join(rows).decode().split())
    instructions = code.co_code
    while at > 0 and dis.opname[instructions[at]] == "CACHE":
        at -= 2  # a call of a function in Python stands behind its instruction
    if dis.opname[instructions[at]].startswith(("CALL", "PRECALL")) and text.endswith(")"):
        text = text[: _arguments(text)]
    elif not text or text.isidentifier():
        return None  # a loop goes over it, say
    return text if len(text) <= _CALLED else text[: _CALLED - 3] + "..."


def _arguments(text: str) -> int:
    """Where the last parentheses of a call begin."""
    found = depth = 0
    quote = ""
    for index, each in enumerate(text):
        if quote:
            quote = "" if each == quote and text[index - 1] != "\\" else quote
        elif each in "'\"":
            quote = each
        elif each in "([{":
            if not depth:
                found = index
            depth += 1
        elif each in ")]}":
            depth -= 1
    return found

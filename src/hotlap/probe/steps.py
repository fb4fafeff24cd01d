"""The steps of a training: where one ends, and what is done then.

What ends a step, from the strongest sign to the weakest:

- the script says so with ``hotlap.step()``;
- after an optimizer step, training work begins (a forward with gradients, a backward, an optimizer step with a
  closure) on a batch that arrived since. The step ended where the wait for that batch began;
- an optimizer steps that has already stepped on this batch. The step ended where the work for it began.

So two optimizers that step on one batch make one step, and a batch that is replayed makes a step each time.
Only one process of a run writes a record for each rank: the first that begins to train.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from hotlap.probe import Settings, applying, facts, levers
from hotlap.probe.arrivals import Arrivals
from hotlap.probe.attribution import first_work
from hotlap.probe.fetching import Fetches
from hotlap.probe.gate import Gate
from hotlap.probe.inputs import bytes_of
from hotlap.probe.looking import Look, Looks
from hotlap.probe.now import Now
from hotlap.probe.record import Record
from hotlap.probe.resident import Resident
from hotlap.probe.sites import Sites
from hotlap.probe.timeline import OPTIMIZER, SECOND, TIDY, Timeline
from hotlap.probe.writer import Writer

#: Steps in which what can only be seen inside the model is looked at.
LOOKING = 6
#: Steps are written this many at a time at most.
_AT_A_TIME = 256
#: Nanoseconds between two writes to the file, and between two looks at what the process uses: each takes some tenths of
#: a millisecond of the kernel. Looks are nearer to each other at first, so that short trainings have some.
_FLUSH_EVERY = 250_000_000
_USE_LEAST, _USE_MOST, _USE_SHARE = 15_000_000, 250_000_000, 16
#: Events kept while it is not known whether this process trains at all.
_EVENTS_AHEAD = 1000

_ident = threading.get_ident


class Steps(Now):
    """The state of the recording; ``Recorder`` moves it on."""

    def __init__(
        self, torch: Any, settings: Settings, started: float, clock: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self.torch = torch
        self.tensor = torch.Tensor
        self.gradients: Callable[[], bool] = torch.is_grad_enabled
        self.settings = settings
        self.started = started
        self.clock = clock
        self.enabled = not settings.silent
        self.fetches = Fetches(settings.run_dir)
        self.arrivals = Arrivals()
        self.sites = Sites(torch)
        self.time_mark: Callable[[], float] = lambda: 0.0
        self.time_inner_call: Callable[[], float] = lambda: 0.0
        #: Makes what looks at single steps from close by.
        self.make_looks: Callable[[], list[Look]] = list
        #: torch has just been imported.
        self.imported = clock() / SECOND
        #: Called before the facts are written, for those who have something to add.
        self.before_facts: list[Callable[[], None]] = []
        self.reset()

    def reset(self) -> None:
        """Begin afresh, as a process that has seen nothing of a training yet."""
        self.timeline = Timeline(self.clock())
        #: One for each thread that was seen at work, until it is known which one trains.
        self.timelines: dict[int, Timeline] = {}
        self.gate: Gate | None = None
        self.looks = Looks([], self.clock)
        self.facts = facts.Facts(self.torch)
        self.record = Record(self.facts, self.fetches, self.arrivals)
        self.resident = Resident(self.torch, self.clock)
        self.loaders = 0
        self.thread: int | None = None
        #: How many calls of modules enclose what runs.
        self.depth = 0
        self.in_backward = False
        #: Whether what only the model shows is looked at, as in the first steps.
        self.looking = True
        #: Whether the step that runs is one like most: nothing is looked at from close by, and no lever is pulled. The
        #: hooks then write its marks themselves.
        self.plain = False
        #: By id: models that are called and not trained.
        self.frozen = self.facts.switches.frozen
        self.begun = False
        self.ended = False
        #: What happened before it was known which thread trains.
        self.events: list[tuple[str, int | None, dict[str, Any]]] = []
        self.steps = 0
        self.first_step_at = 0
        # The step that runs.
        self.optimizers: list[int] = []
        self.stepped: set[int] = set()
        self.after_optimizer = 0
        self.forward_since = False
        self.backward_since = False
        #: Losses and forward sizes since the last optimizer step, and those of the step so far.
        self.losses: list[Any] = []
        self.step_losses: Sequence[Any] = ()
        self.inner_losses: list[Any] = []
        self.scaled = False
        self.sizes: list[int] = []
        self.step_sizes: Sequence[int] = ()
        self.size: int | None = None
        #: Whether it is told what modules are called with in the step that runs, and how many bytes that were so far.
        self.sizing = False
        self.input_bytes = 0
        #: Whether a batch of known size arrived after the last optimizer step.
        self.fed = False
        #: Steps that are over: the mark where each ended, its losses, and what the model was called with.
        self.closed: list[tuple[int, Sequence[Any], Sequence[int]]] = []
        self.save_by = self.use_by = self.flush_by = 0
        #: Steps after which there is more to do than to close one.
        self.attend = 0
        #: Whether the step that runs is looked at from close by.
        self.watched = False
        #: Whether there is something to ask where a step ends.
        self.limited = False
        #: What the recording itself costs: seconds of a mark, of a call inside a model, and nanoseconds of writing.
        self.mark_seconds = 0.0
        self.inner_call_seconds = 0.0
        self.own = 0

    # a step ends

    def _claim(self) -> bool:
        """Become the process that writes this rank's record, unless another one is."""
        if not self.enabled:
            return False
        if self.record.writer is None:
            rank = self.facts.rank()
            name = "steps.jsonl" if rank == 0 else f"steps.rank{rank}.jsonl"
            try:
                writer = self.record.writer = Writer(os.path.join(self.settings.run_dir, name))
            except OSError:
                self.disable()
                return False
            if self.settings.gated and rank == 0:
                self.gate = Gate(self.settings.run_dir)
            version = str(self.torch.__version__)
            writer.line("start", t=self.started, imported=self.imported, pid=os.getpid(), torch=version, rank=rank)
            writer.flush()
        return True

    def _begin(self, timeline: Timeline, at: int | None = None) -> None:
        """The first training work: the first step began with its input, if it has one."""
        if not self._claim():
            return
        self.timeline, self.thread = timeline, _ident()
        self.begun = True
        self.timelines.clear()
        self.depth = 0
        self.facts.training_begins(_ident())
        events, self.events = self.events, []
        for kind, thread, fields in events:
            self.event(kind, thread, **fields)
        timeline.unwind(0, self.clock())
        if at is None:
            at = self.record.new_input(timeline.kinds[:])
        if at is None:
            at = first_work(timeline.kinds, 0)
        timeline.cut(at, self.clock())
        self.first_step_at = timeline.times[0]
        settings = self.settings
        self.limited = any(each is not None for each in (settings.stop_steps, settings.stop_seconds, self.gate))
        if settings.looks:
            self.looks = Looks(self.make_looks(), self.clock)
        self.mark_seconds = self.time_mark()
        self.inner_call_seconds = self.time_inner_call()

    def close_at_new_input(self) -> bool:
        """An optimizer has stepped and training work begins: close the step if that is for a new batch."""
        record, start = self.record, self.after_optimizer
        kinds = self.timeline.kinds
        # Mostly the marks since then are those of the step before.
        index = record.last_input if kinds[start:] == record.last_kinds else record.new_input(kinds[start:])
        if index is None:
            return False
        self._close(start + index)
        return True

    def _close(self, index: int) -> None:
        timeline = self.timeline
        if index == len(timeline.kinds):
            index = timeline.mark(self.clock())
        if self.sizing:
            self._sized()
        closed = self.closed
        closed.append((index, self.step_losses, self.step_sizes))
        self.step_losses = self.step_sizes = ()
        self.stepped.clear()
        self.steps += 1
        if self.steps >= self.attend:
            self._guarded(self._attend)
        if timeline.times[-1] > self.save_by or len(closed) >= _AT_A_TIME:
            now = self.clock()
            self._guarded(self._save)
            self.own += self.clock() - now
        if self.limited:
            self._limit(self.clock())

    def _guarded(self, action: Callable[[int], None]) -> None:
        """An error of the probe is no error of the training."""
        cuda = self.torch.cuda
        if cuda.is_initialized() and cuda.is_current_stream_capturing():
            return  # to ask the device anything would spoil the graph that is being captured
        try:
            action(self.clock())
        except Exception as error:
            self.give_up(error)

    def _attend(self, now: int) -> None:
        """Look at the step that is over, or at the one that begins, from close by."""
        if self.looking:
            if self.steps in (1, LOOKING):
                self.facts.step_done()
            self.facts.calls = 0
            self.looking = self.steps < LOOKING
            if not self.looking:
                self.facts.forget_modules()
        if self.watched:
            self.record.looked.add(self.steps - 1)
        looked = self.watched or self.steps == self.looks.next
        if looked:
            times, ends = self.timeline.times, [0, *(index for index, _, _ in self.closed[-2:])]
            self.looks.boundary = times[ends[-1]] / SECOND
            if not self.watched:
                self.facts.usage.look(self.steps)
            self.watched = self.looks.between(self.steps, now, times[ends[-1]] - times[ends[-2]])
            self.facts.usage.leave_out(self.steps)
        self.plain = self.begun and not self.looking and not self.watched and not levers.engaged
        self.attend = 0 if self.looking or self.watched else self.looks.next if self.looks.next > 0 else sys.maxsize
        if not looked:  # steps that are watched are set apart, so what watching costs is no part of the usual one
            self.own += self.clock() - now

    def _save(self, now: int) -> None:
        writer = self.record.writer
        assert writer is not None
        # What comes after the last step is none of the steps', and what a look does is none of the script's.
        if now > self.use_by and not self.ended and not self.watched:
            self.use_by = now + min(_USE_MOST, max(_USE_LEAST, (now - self.first_step_at) // _USE_SHARE))
            self.facts.use(self.steps, warm=not self.looking)
            began = self.clock()
            if self.settings.looks:
                self.sizing, self.input_bytes = self.steps >= self.resident.next, 0
                if self.resident.look(self.steps, writer):
                    self.record.looked.add(self.steps)
                    self.facts.usage.leave_out(self.steps)
                    self.own -= self.clock() - began
        self._write_closed()
        if now > self.flush_by:
            self.flush_by = now + _FLUSH_EVERY
            writer.flush()
        self.save_by = min(self.use_by, self.flush_by)

    def called_with(self, values: Any) -> None:
        """A module is called to train, in a step that is sized."""
        self.input_bytes += bytes_of(self.torch, values) or 0

    def _sized(self) -> None:
        """The step that was sized is over."""
        self.sizing = False
        if self.input_bytes and self.record.writer is not None:
            self.record.writer.line("inputs", i=self.steps, bytes=self.input_bytes)

    def _limit(self, now: int) -> None:
        """Where steps end, a training may be asked to wait or to leave."""
        settings = self.settings
        if settings.stop_steps is not None and self.steps >= settings.stop_steps:
            self.leave("stopped")
        if settings.stop_seconds is not None and now - self.first_step_at >= settings.stop_seconds * SECOND:
            self.leave("stopped")
        if self.gate is not None:
            self._pass(self.gate)

    def _write_closed(self, wait: bool = False) -> None:
        """Write the steps that are over, up to the first whose loss the device has not computed yet."""
        over = 0
        for _, losses, _ in self.closed:
            for loss in losses:
                if type(loss) is not float and not wait and not loss.ready():
                    break
            else:
                over += 1
                continue
            break
        if not over:
            return
        written, self.closed = self.closed[:over], self.closed[over:]
        end = self.record.steps_over(self.timeline, written)
        self.closed = [(index - end, losses, sizes) for index, losses, sizes in self.closed]
        self.after_optimizer = max(0, self.after_optimizer - end)

    def _pass(self, gate: Gate) -> None:
        if not gate.closed(self.clock() / SECOND):
            return
        self.timeline.pause(self.clock())
        if self.torch.cuda.is_initialized():
            self.torch.cuda.synchronize()
        self.facts.use(self.steps, warm=not self.looking and not self.watched)
        self._write_closed(wait=True)
        self._write_facts()
        assert self.record.writer is not None
        self.record.writer.line("gate", i=self.steps, t=self.clock() / SECOND)
        self.record.writer.flush()
        self.facts.host.pause()
        self.arrivals.stops += 1
        said = gate.wait()
        self.arrivals.stops += 1
        self.facts.host.resume()
        if said.settings is not None:
            levers.switch({**applying.applied, **said.settings})
        self.timeline.pop(self.clock())
        if said.word == "go":
            gate.go(self.clock() / SECOND, said.seconds, said.steps)
        elif said.word == "run":
            gate.free = True
        else:
            self.leave("stopped")

    def _cost(self) -> float:
        """Seconds that recording takes of a step, measured where it can be and counted where it cannot."""
        cost = (self.own / SECOND + self.record.marks * self.mark_seconds) / max(self.steps, 1)
        return cost + self.inner_call_seconds * float(self.facts.values.get("module_calls", 0))

    def _write_facts(self) -> None:
        for action in self.before_facts:
            with suppress(Exception):
                action()
        self.record.write_facts(self._cost(), [*self.looks.lines(), ("sites", self.sites.collect())])

    def event(self, kind: str, thread: int | None = None, **fields: Any) -> None:
        """A line about something that happened, left out where ``thread`` is another one than that which trains."""
        if not self.begun:
            if self.enabled and len(self.events) < _EVENTS_AHEAD:
                self.events.append((kind, thread, fields))
        elif (thread is None or thread == self.thread) and self.record.writer is not None:
            self.record.writer.line(kind, **fields)

    def metric(self, name: str, value: float) -> None:
        if self._claim() and self.record.writer is not None:
            # JSON has no NaN; the reader turns the word back.
            told = value if math.isfinite(value) else repr(value)
            self.record.writer.line("metric", name=name, value=told, step=self.steps + bool(self.stepped))

    def printed(self, name: str, value: float) -> None:
        """What the script prints while it trains, as far as it is this process that does."""
        if self.begun and not self.ended and _ident() == self.thread:
            self.metric(name, value)

    # the end

    def leave(self, outcome: str) -> None:
        """End the process here, without the script's own clean-up (which might write its files)."""
        self.finish(outcome)
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        _leave(0)

    def finish(self, outcome: str = "finished") -> None:
        if self.ended or self.record.writer is None:
            return
        self.ended = True
        self.looks.stop()
        self.watched = False
        now = self.clock()
        if outcome == "finished" and self.stepped:
            # The last step ends with its optimizer; what comes after belongs to the end of the process.
            self.limited = False
            self.timeline.unwind(0, now)
            kinds = self.timeline.kinds
            self._close(1 + max(i for i, kind in enumerate(kinds) if kind in (OPTIMIZER, TIDY)))
        try:
            self._write_closed(wait=True)
        except Exception as error:  # e.g. a device that has failed, which can no longer be waited for
            self.record.writer.line("note", text=f"the recording ended after {self.record.steps} steps: {error!r}")
        self._write_facts()
        self.record.write_end(now, outcome)
        self.facts.forget_modules()
        self.disable()

    def give_up(self, error: Exception) -> None:
        """Something went wrong here: the training goes on, unrecorded. One that was to be ended early ends here."""
        with suppress(Exception):
            if self.record.writer is not None:
                self.record.writer.line("note", text=f"the recording ended after {self.steps} steps: {error!r}")
                if self.limited:
                    self.record.write_end(self.clock(), "stopped")
                self.record.writer.flush()
        self.ended, limited = True, self.limited and self.begun
        self.disable()
        if limited:
            self.leave("stopped")

    def disable(self) -> None:
        self.enabled = self.begun = self.plain = self.looking = False
        self.looks.undo()
        self.facts.host.stop()
        self.thread = None

    def forked(self) -> None:
        """In a forked child: what the parent saw is the parent's."""
        self.fetches.forked()
        self.arrivals.loaders.clear()
        if self.begun or self.ended or self.record.writer is not None:
            self.record.writer = None
            self.disable()
        elif self.enabled:
            self.reset()


_leave = os._exit

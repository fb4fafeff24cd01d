"""Turns stretches of the timeline that are over into the lines of a run's record.

What a sequence of marks means is worked out once and written once, as a plan. A step is then its plan and the times of
its marks; whoever reads the record adds them up (``launch.decoding``), so that it is not done in the training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hotlap import probe
from hotlap.probe import harmless, levers
from hotlap.probe.arrivals import Arrivals
from hotlap.probe.attribution import Plan, new_input
from hotlap.probe.facts import Facts
from hotlap.probe.fetching import Fetches
from hotlap.probe.losses import total
from hotlap.probe.timeline import SECOND, Timeline
from hotlap.probe.writer import Writer

#: How many sequences are remembered. A training has a few; validations of changing length have one each.
_REMEMBERED = 64


class Record:
    def __init__(self, facts: Facts, fetches: Fetches, arrivals: Arrivals) -> None:
        self.facts = facts
        self.fetches = fetches
        self.arrivals = arrivals
        self.writer: Writer | None = None
        #: Which loaders feed training, and which validation.
        self.roles: dict[str, str] = {}
        self.plans: dict[tuple[str, ...], Plan] = {}
        self.inputs: dict[tuple[str, ...], int | None] = {}
        self.last_kinds: list[str] = []
        self.last_input: int | None = None
        self.steps = 0
        #: Samples of the batch that was fetched last: a loader that fetches one ahead gave it to the next step.
        self.last_batch = 0
        self.marks = 0
        #: How many plans the record has.
        self.written = 0
        #: Which steps were looked at from close by.
        self.looked: set[int] = set()
        self.noted: set[str] = set()
        self.lever_notes: list[str] = []
        #: Where things happen in the script, as it was written last.
        self.sites: dict[str, Any] = {}

    def new_input(self, kinds: list[str]) -> int | None:
        """See ``attribution.new_input``. ``kinds``: the marks since the last optimizer step ended."""
        key = tuple(kinds)
        if key in self.inputs:
            found = self.inputs[key]
        else:
            if len(self.inputs) >= _REMEMBERED:
                self.inputs.clear()
            found = self.inputs[key] = new_input(key, 0, self.roles)
        self.last_kinds, self.last_input = kinds, found
        return found

    def steps_over(self, timeline: Timeline, closed: list[tuple[int, Sequence[Any], Sequence[int]]]) -> int:
        """Write these steps and take their marks out of the timeline. Return how many marks that were.

        A step is the mark where it ended, its losses, and the sizes of what the model was called with, for one without
        batches whose size could be seen.
        """
        kinds, of_batches = timeline.kinds, timeline.samples
        pattern: list[str] = []
        plan: Plan | None = None
        first = start = batches = 0
        samples: list[int | None] = []
        losses: list[float | None] = []
        for end, step_losses, sizes in closed:
            own = kinds[start:end]
            if own != pattern or plan is None:
                if plan is not None:
                    self._write(plan, timeline.times[first : start + 1], samples, losses)
                key = tuple(own)
                plan = self.plans.get(key) or self._plan(key)
                pattern, first, samples, losses = own, start, [], []
            size = plan.samples(of_batches, batches, self.last_batch)
            if plan.batches:
                self.last_batch = of_batches[batches + plan.batches[-1]] or 0
            samples.append(sum(sizes) if size is None and sizes else size)
            losses.append(
                step_losses[0] if len(step_losses) == 1 and type(step_losses[0]) is float else total(step_losses)
            )
            start = end
            batches += plan.handed_over
        if plan is not None:
            self._write(plan, timeline.times[first : start + 1], samples, losses)
        self.marks += start
        del timeline.times[:start], kinds[:start], of_batches[:batches]
        return start

    def _write(self, plan: Plan, times: list[int], samples: list[int | None], losses: list[float | None]) -> None:
        """Consecutive steps of the same marks: their times follow one another."""
        assert self.writer is not None
        count = len(samples)
        looked = [i for i in range(self.steps, self.steps + count) if i in self.looked] if self.looked else None
        self.facts.micro_batches = max(self.facts.micro_batches, plan.micro_batches)
        if self.facts.batch_size is None and samples[0] is not None:
            self.facts.batch_size = samples[0] // plan.micro_batches
        if plan.number is None:
            plan.number, self.written = self.written, self.written + 1
            self.writer.line("plan", id=plan.number, **plan.fields())
        self.writer.steps(self.steps, plan.number, times, samples, losses, looked)
        self.steps += count

    def _plan(self, key: tuple[str, ...]) -> Plan:
        known = dict(self.roles)
        plan = Plan(key, self.roles)
        if self.roles != known:
            # What other sequences mean depends on the roles.
            self.inputs.clear()
            self.last_kinds = []
            self.plans.clear()
        if len(self.plans) >= _REMEMBERED:
            self.plans.clear()
        self.plans[key] = plan
        switches = self.facts.switches
        switches.clip_calls = max(switches.clip_calls, key.count("gradient_clip"))
        return plan

    def write_facts(self, probe_seconds: float, seen: list[tuple[str, dict[str, Any]]]) -> None:
        assert self.writer is not None
        of_loaders = {**self.fetches.collect(), **self.arrivals.collect(self.roles)}
        self.writer.line("facts", **self.facts.collect(probe_seconds, self.roles), **of_loaders)
        for kind, fields in seen:
            if kind != "sites" or fields != self.sites:
                self.writer.line(kind, **fields)
            self.sites = fields if kind == "sites" else self.sites
        if levers.notes != self.lever_notes:
            # They belong to the settings of the moment, so the latest take the place of those before.
            self.lever_notes = list(levers.notes)
            self.writer.line("levers", notes=self.lever_notes)
        for note in [*probe.notes, *harmless.notes]:
            if note not in self.noted:
                self.noted.add(note)
                self.writer.line("note", text=note)

    def write_end(self, now: int, outcome: str) -> None:
        assert self.writer is not None
        self.writer.line("end", t=now / SECOND, outcome=outcome, steps=self.steps)
        self.writer.flush()

"""Turns closed stretches of the timeline into the lines of a run's record.

What a sequence of marks means is worked out once, so that a step costs a look-up, a sum and a line of text.
"""

from __future__ import annotations

from typing import Any

from hotlap.probe import levers
from hotlap.probe.attribution import Plan, new_input
from hotlap.probe.facts import Facts
from hotlap.probe.fetching import Fetches
from hotlap.probe.losses import mean
from hotlap.probe.timeline import PAUSED, Stretch
from hotlap.probe.writer import Writer

#: How many sequences are remembered. A training has a few; validations of changing length have one each.
_REMEMBERED = 64


class Record:
    def __init__(self, facts: Facts, fetches: Fetches) -> None:
        self.facts = facts
        self.fetches = fetches
        self.writer: Writer | None = None
        #: Which loaders feed training, and which validation.
        self.roles: dict[str, str] = {}
        self.plans: dict[tuple[str, ...], Plan] = {}
        self.inputs: dict[tuple[str, ...], int | None] = {}
        self.steps = 0
        self.marks = 0
        self.noted: set[str] = set()

    def new_input(self, kinds: list[str], start: int) -> int | None:
        """See ``attribution.new_input``."""
        key = tuple(kinds[start:])
        if key in self.inputs:
            found = self.inputs[key]
        else:
            if len(self.inputs) >= _REMEMBERED:
                self.inputs.clear()
            found = self.inputs[key] = new_input(key, 0, self.roles)
        return None if found is None else found + start

    def step(self, stretch: Stretch, losses: list[Any], sizes: list[int], looked: bool = False) -> None:
        """``sizes``: of what the model was called with, for a step without batches whose size could be seen."""
        key = tuple(stretch.kinds)
        plan = self.plans.get(key) or self._plan(key)
        seconds = plan.seconds(stretch)
        paused = seconds[plan.phases.index(PAUSED)] if plan.paused else 0.0
        samples = plan.samples(stretch)
        if samples is not None:
            if self.facts.batch_size is None:
                self.facts.batch_size = samples // plan.micro_batches
        elif sizes:
            samples = sum(sizes)
        assert self.writer is not None
        self.writer.step(
            self.steps,
            stretch.times[0],
            sum(seconds) - paused,
            plan.text(seconds),
            plan.micro_batches,
            samples,
            mean(losses),
            paused,
            looked,
        )
        self.steps += 1
        self.marks += len(key)

    def _plan(self, key: tuple[str, ...]) -> Plan:
        known = dict(self.roles)
        plan = Plan(key, self.roles)
        if self.roles != known:
            # What other sequences mean depends on the roles.
            self.inputs.clear()
            self.plans.clear()
        if len(self.plans) >= _REMEMBERED:
            self.plans.clear()
        self.plans[key] = plan
        switches = self.facts.switches
        switches.clip_calls = max(switches.clip_calls, key.count("gradient_clip"))
        return plan

    def write_facts(self, probe_seconds: float, seen: list[tuple[str, dict[str, Any]]]) -> None:
        assert self.writer is not None
        self.writer.line("facts", **self.facts.collect(probe_seconds, self.roles), **self.fetches.collect())
        for kind, fields in seen:
            self.writer.line(kind, **fields)
        for note in levers.notes:
            if note not in self.noted:
                self.noted.add(note)
                self.writer.line("note", text=note)

    def write_end(self, now: float, outcome: str) -> None:
        assert self.writer is not None
        self.writer.line("end", t=now, outcome=outcome, steps=self.steps)
        self.writer.flush(now)

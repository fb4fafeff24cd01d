"""The timeline of the training thread, and how a stretch of it becomes one step.

Spans are pushed and popped as things happen; the timeline keeps only the moments at which the innermost
span changed, so that it has no holes and nothing is counted twice:

    time   ─┬──────────┬─────┬───────────┬──────┬──────────────┬────────┬─────────────┬───
    kind    │ data     │ gap │ forward   │ gap  │ backward     │ gap    │ optimizer   │ gap ...
    phase   │ data_wait│other│ forward   │ loss │ backward     │ other  │ optimizer   │ other

A step runs from the first input of its first micro-batch to the first input of the next step. What a gap
means is decided when the step is closed, from its neighbours. Everything here is plain arithmetic on
numbers that were handed in, so the tests need neither torch nor a clock.
"""

from __future__ import annotations

from collections.abc import Iterable

GAP = "gap"
DATA = "data"
PAUSED = "paused"

#: Kinds that say nothing about which part of the step they interrupt.
_INCIDENTAL = {GAP, "logging", "checkpoint", "host_to_device", PAUSED}
#: Spans inside which nothing else is told apart.
_OPAQUE = {DATA, "validation", "checkpoint", "logging", "gradient_clip", "recompute", "loss", "host_to_device", PAUSED}


class Mark:
    """The moment at which the innermost span became ``kind``. ``info``: the loader of a data span."""

    __slots__ = ("info", "kind", "t")

    def __init__(self, t: float, kind: str, info: int = 0) -> None:
        self.t = t
        self.kind = kind
        self.info = info


class Timeline:
    """Spans of one thread. ``push`` returns whether the span counts; only then ``pop`` it."""

    def __init__(self, now: float) -> None:
        self.marks: list[Mark] = [Mark(now, GAP)]
        self.stack: list[str] = []
        #: Loaders that feed training and loaders that feed validation, by id.
        self.roles: dict[int, str] = {}

    def push(self, now: float, kind: str, info: int = 0) -> bool:
        if self.stack and self.stack[-1] in _OPAQUE:
            return False
        self.stack.append(kind)
        self.marks.append(Mark(now, kind, info))
        return True

    def pop(self, now: float) -> None:
        self.stack.pop()
        self.marks.append(Mark(now, self.stack[-1] if self.stack else GAP))

    def inside(self, kind: str) -> bool:
        return kind in self.stack

    def last_loader(self) -> int | None:
        """The loader of the last data span, if no other work came after it."""
        for mark in reversed(self.marks):
            if mark.kind == DATA:
                return mark.info
            if mark.kind not in _INCIDENTAL:
                return None
        return None

    def first_input(self) -> int:
        """Index of the mark at which the input of the training work that starts now began.

        Walks back over the run of training data spans that ends here; without one, it is the end.
        """
        found = len(self.marks)
        for index in range(len(self.marks) - 1, -1, -1):
            mark = self.marks[index]
            if mark.kind == DATA and self.roles.get(mark.info) != "validation":
                found = index
            elif mark.kind not in (GAP, "host_to_device", PAUSED):
                break
        return found

    def cut(self, index: int, now: float) -> list[Mark]:
        """Take the marks before ``index`` out, closed by one at the cut's moment; the rest stays."""
        taken = self.marks[:index]
        rest = self.marks[index:]
        end = rest[0].t if rest else now
        taken.append(Mark(end, GAP))
        self.marks = rest or [Mark(now, self.stack[-1] if self.stack else GAP)]
        return taken


def attribute(marks: list[Mark], roles: dict[int, str]) -> dict[str, float]:
    """Return seconds by phase for a closed stretch (the last mark only says where it ends).

    Leaves add up to the stretch's length less ``paused``, which is returned beside them.
    """
    kinds = [mark.kind for mark in marks[:-1]]
    following: list[str] = [GAP] * len(kinds)
    upcoming = GAP
    for index in range(len(kinds) - 1, -1, -1):
        following[index] = upcoming
        if kinds[index] not in _INCIDENTAL:
            upcoming = kinds[index]
    phases: dict[str, float] = {}
    previous = GAP
    for index, kind in enumerate(kinds):
        phase = kind
        if kind == DATA:
            validating = following[index] == "validation" or (
                following[index] in (DATA, GAP) and roles.get(marks[index].info) == "validation"
            )
            phase = "validation" if validating else "data_wait"
            previous = phase
        elif kind == GAP:
            if previous in ("forward", "loss") and following[index] in ("backward", "loss"):
                phase = "loss"
            elif previous == "validation":
                phase = "validation"
            else:
                phase = "other"
        elif kind not in _INCIDENTAL:
            previous = kind
        phases[phase] = phases.get(phase, 0.0) + marks[index + 1].t - marks[index].t
    return phases


def total(phases: dict[str, float], leave_out: Iterable[str] = (PAUSED,)) -> float:
    skipped = set(leave_out)
    return sum(seconds for phase, seconds in phases.items() if phase not in skipped)

"""What a tuning would do, without doing it. Seconds and bytes."""

from __future__ import annotations

from typing import Literal

import msgspec

from hotlap.records.effect import SCHEMA
from hotlap.records.estimate import Verdict
from hotlap.records.results import Change, Goal
from hotlap.records.run import Environment

#: ``if``: where the training is seen to be what ``why`` says.
Prospect = Literal["tried", "if", "not tried"]


class Foreseen(msgspec.Struct, frozen=True, kw_only=True):
    """A change that exists, and what would become of it."""

    change: Change
    prospect: Prospect
    #: The condition, or the reason; "" where there is nothing to say.
    why: str = ""
    #: It would be made in the training's own configuration or flags, and not from outside.
    by_key: bool = False


class Excluded(msgspec.Struct, frozen=True, kw_only=True):
    """Two changes that are never tried together, by their names."""

    names: tuple[str, str]
    why: str


class SeenBefore(msgspec.Struct, frozen=True, kw_only=True):
    """A record of the same command, from which bounds are known."""

    directory: str
    date: str
    step_seconds: float
    #: Of what was found there: code and title.
    findings: dict[str, str]
    #: What is not as it was then.
    differences: list[str]


class Division(msgspec.Struct, frozen=True, kw_only=True):
    """How the seconds of a budget are divided: the proof gets the least share that its first look fits into."""

    budget: float
    proof: tuple[float, float]
    #: A single trial takes at most so many at the beginning, and fewer of what is left later.
    trial: float
    #: What the proof's first look takes, where that is known.
    first_look: float | None = None


class FitOfChange(msgspec.Struct, frozen=True, kw_only=True):
    """The memory of the training with a change, estimated."""

    #: "" for the training as it is.
    change: str
    allocated: int
    #: Reserved by the allocator, with what else the card holds: at least, likely, at most.
    total: tuple[int, int, int]
    verdict: Verdict


class Fits(msgspec.Struct, frozen=True, kw_only=True):
    card: str
    memory: int
    changes: list[FitOfChange]


class Output(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    what: str


class DryRun(msgspec.Struct, frozen=True, kw_only=True):
    """What ``hotlap tune --dry-run`` says."""

    schema: int = SCHEMA
    command: list[str]
    config: str | None
    environment: Environment
    goal: Goal
    #: Sentences on what was recognised in a command, and on what is left alone and why.
    recognised: list[str]
    before: SeenBefore | None
    #: A gain counts from this share on.
    least_gain: float
    division: Division
    #: The whole training has so many steps, where the user says so.
    planned_steps: int | None = None
    #: Bytes at which a trial is ended, where the user says so.
    memory_limit: int | None = None
    changes: list[Foreseen]
    excluded: list[Excluded]
    fits: Fits | None = None
    #: Why nothing is said of memory.
    no_fits: str | None = None
    #: An unfinished tuning of the same would go on.
    resumes: bool
    writes: list[Output]
    untouched: list[str]

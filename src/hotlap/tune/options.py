"""What a user may ask of a tuning and of a comparison."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

import msgspec

from hotlap.launch.process import Limits
from hotlap.records import Change, Environment, Goal
from hotlap.tune.statistics import MINIMUM_GAIN
from hotlap.tune.target import Target


class Options(msgspec.Struct, frozen=True, kw_only=True):
    #: Seconds for all of it. The proof is shortened to fit, but its first look (five pairs of launches) is made.
    budget: float = 600.0
    run_dir: Path | None = None
    #: Measure all anew instead of going on with what an unfinished one has measured.
    fresh: bool = False
    #: Gains below this share are not looked for.
    minimum: float = MINIMUM_GAIN
    #: Where it is measured: on this machine, or on those of a Ray cluster.
    engine: Literal["local", "ray"] = "local"
    #: What is to become better; see ``goals``.
    goal: Goal = "throughput"
    #: What other trainings (larger batches, lighter models) are judged by at equal samples: a metric that the training
    #: reports or prints, or "loss". None: they are listed and not tried.
    quality: str | None = None
    #: Steps of the whole training, against which a longer start is charged; None where they are not known.
    planned_steps: int | None = None
    #: When a training is ended from outside; without a memory limit, ``bounded`` gives it one.
    limits: Limits = Limits()
    #: What the user wants tried besides; see ``asked``.
    asked: list[Change] = []


def name_of(target: Target, options: Options, here: Environment) -> str:
    """By what is measured, and what it is judged by: with another goal it is another tuning."""
    judged_by = json.dumps([options.goal, options.quality, options.minimum, options.limits.memory])
    return f"tune-{hashlib.sha256(f'{target.fingerprint(here)} {judged_by}'.encode()).hexdigest()[:12]}"

"""What of a configuration was changed to suit a machine, and why."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from hotlap.records.effect import SCHEMA
from hotlap.records.lint import Surroundings
from hotlap.records.results import NumericsClass


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """A key with another value."""

    #: As the file spells it.
    key: str
    before: Any
    after: Any
    why: str
    #: Whether the training computes the same afterwards.
    numerics: NumericsClass


class Optimized(msgspec.Struct, frozen=True, kw_only=True):
    schema: int = SCHEMA
    config: str
    output: str
    surroundings: Surroundings
    #: Throughput of bfloat16 over float32 and of channels_last over contiguous, measured here on typical shapes; None
    #: where it could not be.
    measured: dict[str, float | None]
    choices: list[Choice]
    #: What is not decided without measuring this training, and what could not be found out.
    notes: list[str]


class Larger(msgspec.Struct, frozen=True, kw_only=True):
    key: Literal["base_channels", "num_blocks"]
    before: int
    #: The largest that stays within time and memory; as it is where none does.
    after: int
    parameters: int
    #: Seconds a sample over those of the configuration as it was: the median of the rounds, the lowest and highest.
    time: tuple[float, float, float]
    #: What stopped it.
    limit: str


class Filled(msgspec.Struct, frozen=True, kw_only=True):
    device: str
    rounds: int
    #: Of the configuration as it was, and of the better one with the same network; median of the rounds.
    seconds_per_sample: float
    better: float
    larger: list[Larger]
    #: Keys that one of the two sets to what is not measured here.
    not_counted: list[str] = []

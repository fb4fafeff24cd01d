"""What of a configuration was changed to suit a machine, and why."""

from __future__ import annotations

from typing import Any

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

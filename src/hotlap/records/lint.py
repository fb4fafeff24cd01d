"""What stands in a configuration that would harm its training, found before it runs."""

from __future__ import annotations

from typing import Any

import msgspec

from hotlap.records.effect import SCHEMA


class ConfigFinding(msgspec.Struct, frozen=True, kw_only=True):
    code: str
    title: str
    #: What the configuration says, and what follows from it by counting.
    evidence: list[str]
    #: What comes of it in the training.
    consequence: str
    #: Keys as the file spells them, with the values that mend it; none where there is a choice to make first.
    remedy: dict[str, Any]
    #: What else to know of the remedy, or which choice there is.
    advice: str = ""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a configuration was judged for. Bytes."""

    ranks: int
    cores: int
    memory: int
    #: "cpu", the name of a card, or None where it is not known what the training will run on.
    device: str | None


class Lint(msgspec.Struct, frozen=True, kw_only=True):
    schema: int = SCHEMA
    config: str
    #: None: it is no configuration of `hotlap train`, and only the keys that were recognised were judged.
    workload: str | None
    #: Paths of the keys that were recognised, where it is another's.
    recognised: list[str] = []
    surroundings: Surroundings
    against: str | None = None
    #: Codes of the rules that it was held against.
    checked: list[str]
    findings: list[ConfigFinding]

"""What a script said of its own training, and what the probe recorded of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hotlap.records import Run

SCRIPTS = Path(__file__).parent / "scripts"


class Told(NamedTuple):
    """What a script printed at its end, see ``scripts/told.py``."""

    steps: list[dict[str, Any]]
    began: float
    seconds: float
    more: dict[str, Any]


#: Runs a script with levers pulled; returns what it found out, and the record.
Pull = Callable[..., tuple[dict[str, Any], Run]]
#: Lets steps pass with these settings; returns what the script saw in each but the first, and the record so far.
Switch = Callable[[dict[str, Any] | None], tuple[list[dict[str, Any]], Run]]


class Recorded(NamedTuple):
    run: Run
    told: Told | None
    output: str
    directory: Path


def told(output: str) -> Told | None:
    for line in output.splitlines():
        if line.startswith("TOLD "):
            said = json.loads(line.removeprefix("TOLD "))
            return Told(said.pop("steps"), said.pop("began"), said.pop("seconds"), said)
    return None

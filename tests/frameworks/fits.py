"""What a framework said of its own training, and what the probe recorded of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from hotlap.records import Run


class Fitted(NamedTuple):
    run: Run
    told: dict[str, Any]
    output: str


def told(output: str) -> dict[str, Any]:
    said = [line.partition("TOLD ")[2] for line in output.splitlines() if "TOLD " in line]
    assert said, output
    found: dict[str, Any] = json.loads(said[-1])
    return found


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}

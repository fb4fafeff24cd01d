"""A training of any kind whose levers are switched between two steps."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from recordings import Switch

from hotlap.launch import Limits, Plan, Training
from hotlap.records import Environment, Run

_LOOP = """
out = open("seen.jsonl", "w")
for number in range(100000):
    print(json.dumps(step()), file=out, flush=True)
"""


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Switch]]:
    """Start a script that has a ``step()``, which trains one and returns what it saw."""
    monkeypatch.chdir(tmp_path)
    started = []

    def start(script: str) -> Switch:
        (tmp_path / "train.py").write_text(f"import json, gc, torch\nfrom torch import nn\n{script}{_LOOP}")
        known = Environment(hotlap="0", python="3")
        command, plan, limits = [sys.executable, "train.py"], Plan(gated=True), Limits(silence=120)
        training = Training(command, tmp_path / "run", plan, limits, known_environment=known)
        started.append(training)
        assert training.wait_for_gate(), training.tail()

        def settings(wanted: dict[str, Any] | None) -> tuple[list[dict[str, Any]], Run]:
            before = len((tmp_path / "seen.jsonl").read_text().splitlines())
            assert training.block(0.0, 3, wanted) is not None, training.tail()
            # Without a loader the end of a step is seen in the next one, after its forward.
            lines = (tmp_path / "seen.jsonl").read_text().splitlines()[before + 1 :]
            return [json.loads(line) for line in lines], training.snapshot()

        return settings

    yield start
    for training in started:
        training.close()

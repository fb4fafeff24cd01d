"""Nothing that a look stumbles over ends the training, or the recording."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from recordings import Recorded

from hotlap.launch import Plan


def test_odd_objects(record: Callable[..., Recorded]) -> None:
    found = record("odd_objects")
    assert "patched in a child: 0" in found.output, found.output
    assert len(found.run.steps) == 40
    assert not found.run.notes


@pytest.mark.parametrize(("plan", "outcome"), [(Plan(), "finished"), (Plan(stop_steps=60), "stopped")])
def test_a_probe_that_fails(record: Callable[..., Recorded], plan: Plan, outcome: str) -> None:
    """The training goes on to its end, or ends early where that was asked for, and the record says so."""
    found = record("broken_probe", plan=plan)
    assert found.run.info.outcome == outcome
    assert ("steps: 100" in found.output) == (outcome == "finished")
    [note] = [note for note in found.run.notes if "the recording ended" in note]
    assert "planted" in note

"""Nothing that a look stumbles over ends the training, or the recording."""

from __future__ import annotations

from collections.abc import Callable

from recordings import Recorded


def test_odd_objects(record: Callable[..., Recorded]) -> None:
    found = record("odd_objects")
    assert "patched in a child: 0" in found.output, found.output
    assert len(found.run.steps) == 40
    assert not found.run.notes

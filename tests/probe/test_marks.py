"""The marks without a probe in the process; with one, see ``scripts/by_hand.py``."""

from __future__ import annotations

import pytest

import hotlap
from hotlap.probe.marks import MARKABLE
from hotlap.records import PHASES


def test_nothing_happens_without_a_probe() -> None:
    """A script with marks runs as it would without them."""
    with hotlap.phase("loss"):
        hotlap.step()
    hotlap.metric("psnr", 30.0)


def test_errors_inside_a_phase_pass_through() -> None:
    """A mark hides nothing."""
    with pytest.raises(KeyError), hotlap.phase("loss"):
        raise KeyError


@pytest.mark.parametrize("name", ["recompute", "other", "Loss", ""])
def test_a_wrong_name(name: str) -> None:
    """The error says what the names are, without a probe too."""
    with pytest.raises(ValueError, match=r"is not a phase; use one of data_wait, .*logging"), hotlap.phase(name):
        pass


def test_every_mark_is_a_phase() -> None:
    """What can be marked can be recorded."""
    assert set(MARKABLE) <= set(PHASES)

"""Two environments side by side."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hotlap.launch import environment
from hotlap.records import Environment, differences

QUIET = Environment(
    hotlap="0.1",
    python="3.11",
    torch="2.13",
    cpu="EPYC",
    cores=2,
    memory=1 << 34,
    load=0.1,
    pressure=0.01,
    kernel="6.1",
    affinity=[0, 1],
    governor="performance",
    variables={"OMP_NUM_THREADS": "2"},
)


def test_this_machine_is_comparable_with_itself() -> None:
    """And its record comes back from its file as it was."""
    here = environment()
    assert differences(here, here) == []
    assert msgspec.json.decode(msgspec.json.encode(here), type=Environment) == here


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"cpu": "Xeon"}, "the processor was EPYC, and is Xeon"),
        ({"affinity": [0]}, "the set of cores was 0, 1, and is 0"),
        ({"governor": "powersave"}, "the governor of the cores' clocks was performance, and is powersave"),
        ({"torch": "2.14"}, "the version of torch was 2.13, and is 2.14"),
        ({"variables": {}}, "OMP_NUM_THREADS was '2', and is not set"),
        (
            {"pressure": 0.6, "load": 4.0},
            "the machine was busy with something else at the second, and not",
        ),
    ],
)
def test_what_differs_is_said_with_both_values(changed: dict[str, Any], sentence: str) -> None:
    """One sentence for one difference, and the other way round too."""
    other = msgspec.structs.replace(QUIET, **changed)
    (told,) = differences(QUIET, other)
    assert told.startswith(sentence)
    assert len(differences(other, QUIET)) == 1


def test_what_one_of_them_does_not_know_is_no_difference() -> None:
    """A record of an older version has fewer fields; no clock's governor can be read on many machines."""
    old = Environment(hotlap="0.1", python="3.11", torch="2.13", cpu="EPYC", cores=2)
    assert differences(old, QUIET) == []
    assert differences(QUIET, msgspec.structs.replace(QUIET, governor=None, boost=True)) == []


def test_how_busy_the_machine_was_differs_by_kind_and_not_by_figure() -> None:
    """A load of 0.1 and one of 0.2 are both quiet."""
    assert differences(QUIET, msgspec.structs.replace(QUIET, load=0.2, pressure=0.03)) == []

from __future__ import annotations

from hotlap.launch.happenings import compilations_of, loader_starts_of, startup_of
from hotlap.records import Startup, Step

STEPS = [Step(i=i, t=10.0 + i, wall=0.9, phases={}, paused=0.05) for i in range(3)]


def test_what_is_said_later_replaces_what_was_said_before() -> None:
    early = {"k": "compile", "n": 0, "t": 10.5, "seconds": 0.2}
    lines = [early, {"k": "step"}, {**early, "n": 1, "t": 11.2}, {**early, "what": "f (a.py:1)", "reason": "why"}]
    first, second = compilations_of(lines, STEPS)
    assert (first.what, first.reason, first.step) == ("f (a.py:1)", "why", 0)
    assert (second.what, second.step) == (None, 1)


def test_what_is_outside_of_the_steps_has_no_step() -> None:
    times = [9.0, 10.0 - 1e-7, 10.97, 11.0, 12.94, 12.96]
    lines = [{"k": "compile", "n": n, "t": t, "seconds": 0.1} for n, t in enumerate(times)]
    assert [each.step for each in compilations_of(lines, STEPS)] == [None, 0, None, 1, 2, None]


def test_the_loaders_of_validation_are_known_at_the_end() -> None:
    lines = [{"k": "loader_start", "n": n, "t": 10.1 + n, "seconds": 0.1, "loader": f"data {n}"} for n in range(3)]
    lines.append({"k": "validation_loaders", "names": ["data 1"]})
    starts = loader_starts_of(lines, STEPS)
    assert [(each.step, each.validation) for each in starts] == [(0, False), (1, True), (2, False)]


def test_a_record_without_the_moment_of_the_import() -> None:
    assert startup_of([{"k": "start", "t": 1.0}]) is None
    assert startup_of([{"k": "start", "t": 1.0, "imported": 2.0}]) == Startup(began=1.0, imported=2.0)

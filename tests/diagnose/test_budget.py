from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import HEALTHY, run, steps

from hotlap.diagnose import budget
from hotlap.records import Budget, Step

SECONDS = st.floats(0, 1e3)
PHASES = st.fixed_dictionaries({"forward": SECONDS}, optional={"validation": SECONDS, "checkpoint": SECONDS})


def parts(closed: Budget) -> dict[str, float]:
    return {name: seconds for name, seconds in msgspec.structs.asdict(closed).items() if name != "wall"}


@given(st.lists(st.tuples(PHASES, SECONDS, SECONDS), max_size=20), SECONDS, SECONDS)
def test_the_budget_closes(rows: list[tuple[dict[str, float], float, float]], startup: float, end: float) -> None:
    """Whatever the steps, pauses and unseen gaps: the parts are the wall clock less the pauses, none is negative."""
    recorded, t = [], 1.0 + startup
    for i, (phases, paused, gap) in enumerate(rows):
        recorded.append(Step(i=i, t=t, wall=sum(phases.values()), phases=phases, paused=paused))
        t += recorded[-1].wall + paused + gap
    planted = run(recorded)
    last = recorded[-1] if recorded else None
    ended = last.t + last.wall + last.paused + end if last else t + end
    planted = msgspec.structs.replace(planted, info=msgspec.structs.replace(planted.info, ended=ended))
    closed = budget(planted)
    assert closed.wall == pytest.approx(ended - 1.0 - sum(step.paused for step in recorded), rel=1e-9, abs=1e-6)
    assert sum(parts(closed).values()) == pytest.approx(closed.wall, rel=1e-9, abs=1e-6)
    assert min(parts(closed).values()) >= -1e-6


def test_each_part_gets_its_own_time() -> None:
    rows = [{"forward": 20.1}] + [{"forward": 0.1}] * 20
    rows[5] = {"forward": 0.1, "validation": 3.0}
    rows[9] = {"forward": 0.1, "checkpoint": 2.0, "logging": 1.0}
    closed = budget(run(steps(rows)))
    assert parts(closed) == pytest.approx(
        {"startup": 2.0, "warmup": 20.0, "steps": 2.1, "validation": 3.0, "checkpoint": 2.0, "logging": 1.0, "end": 0.5}
    )


def test_pauses_belong_to_nobody() -> None:
    closed = budget(run(steps([HEALTHY] * 10, paused=7.0)))
    assert closed.wall == pytest.approx(2.0 + 10 * 0.1 + 0.5)
    assert (closed.steps, closed.end) == (pytest.approx(1.0), pytest.approx(0.5))


def test_a_run_without_steps_never_left_the_startup() -> None:
    closed = budget(run([]))
    assert closed.wall == closed.startup == 3.0

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import HEALTHY, run, steps

from hotlap.diagnose import budget
from hotlap.records import Budget, Compilation, LoaderStart, Startup, Step

SECONDS = st.floats(0, 1e3)
PHASES = st.fixed_dictionaries({"forward": SECONDS}, optional={"validation": SECONDS, "checkpoint": SECONDS})


def parts(closed: Budget) -> dict[str, float]:
    return {name: seconds for name, seconds in msgspec.structs.asdict(closed).items() if name != "wall"}


def seen(closed: Budget) -> dict[str, float]:
    return {name: seconds for name, seconds in parts(closed).items() if abs(seconds) > 1e-9}


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
    assert seen(closed) == pytest.approx(
        {"startup": 2.0, "warmup": 20.0, "steps": 2.1, "validation": 3.0, "checkpoint": 2.0, "logging": 1.0, "end": 0.5}
    )


def test_the_start_is_told_apart_where_the_probe_saw_torch_come() -> None:
    happened = {
        "startup": Startup(began=1.1, imported=1.5),
        "compilations": [Compilation(t=2.0, seconds=0.3)],
        "loader_starts": [LoaderStart(t=2.5, seconds=0.1, first_batch=0.2)],
    }
    closed = budget(run(steps([{"forward": 0.1}] * 20), happened=happened))
    assert seen(closed) == pytest.approx(
        {"startup": 0.5, "building": 0.9, "compiling": 0.3, "loader_start": 0.3, "steps": 2.0, "end": 0.5}
    )


def test_nothing_is_counted_twice() -> None:
    """Compilation and loader starts are taken out of the warm-up, of validation and of the steps they lie in."""
    plain = {"data_wait": 0.01, "forward": 0.09}
    rows = [plain] * 21
    rows[0] = {"data_wait": 1.01, "forward": 20.09}
    rows[5] = {**plain, "validation": 3.0}
    rows[10] = {"data_wait": 0.51, "forward": 2.09}
    recorded = [msgspec.structs.replace(step, looked=step.i == 15) for step in steps(rows)]
    recorded[15] = msgspec.structs.replace(recorded[15], phases={**plain, "forward": 0.49}, wall=0.5)
    recorded[16:] = [msgspec.structs.replace(step, t=step.t + 0.4) for step in recorded[16:]]
    recorded[18:] = [msgspec.structs.replace(step, t=step.t + 0.25) for step in recorded[18:]]
    happened = {
        "compilations": [
            Compilation(t=4.1, seconds=19.0, step=0),
            Compilation(t=25.0, seconds=2.5, step=5, evaluating=True),
            Compilation(t=30.0, seconds=2.0, step=10, reason="another shape"),
        ],
        "loader_starts": [
            LoaderStart(t=3.0, seconds=0.9, first_batch=0.1, step=0),
            LoaderStart(t=24.0, seconds=0.9, first_batch=0.1, step=5, validation=True),
            LoaderStart(t=29.0, seconds=0.4, first_batch=0.11, step=10),
        ],
    }
    assert seen(budget(run(recorded, happened=happened))) == pytest.approx(
        {
            "startup": 2.0,
            "compiling": 23.5,
            "loader_start": 0.99 + 0.5,
            "warmup": 1.01,
            "steps": 2.1,
            "validation": 0.5,
            "measuring": 0.4,
            "unexplained": 0.25,
            "end": 0.5,
        }
    )


def test_pauses_belong_to_nobody() -> None:
    closed = budget(run(steps([HEALTHY] * 10, paused=7.0)))
    assert closed.wall == pytest.approx(2.0 + 10 * 0.1 + 0.5)
    assert (closed.steps, closed.end) == (pytest.approx(1.0), pytest.approx(0.5))


def test_a_run_without_steps_never_left_the_startup() -> None:
    closed = budget(run([]))
    assert closed.wall == closed.startup == 3.0

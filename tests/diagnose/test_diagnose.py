from __future__ import annotations

import subprocess
import sys
from statistics import fmean

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted import HEALTHY, run, steps

from hotlap.diagnose import Machine, core, diagnose
from hotlap.errors import TrainingFailed
from hotlap.records import BETWEEN, PHASES, Step

ROW = st.dictionaries(st.sampled_from(PHASES), st.floats(0, 10), min_size=1)


@given(st.lists(ROW, min_size=1, max_size=20))
def test_the_leaves_add_up_to_the_mean_step_with_the_time_between(rows: list[dict[str, float]]) -> None:
    made = steps(rows)
    result = diagnose(run(made))
    apart = set(result.outliers)
    inside = fmean(core(s) for s in made[result.steady_from :] if s.i not in apart)
    between = fmean(sum(s.phases.get(name, 0.0) for name in BETWEEN) for s in made[result.steady_from :])
    assert sum(result.phases.values()) == pytest.approx(inside + between, rel=1e-6, abs=1e-9)
    assert result.steady_steps == len(made) - result.steady_from - len(apart)


@given(st.lists(st.tuples(ROW, st.floats(0, 200)), min_size=1, max_size=10))
def test_leaves_that_do_not_fit_their_step_are_made_to(rows: list[tuple[dict[str, float], float]]) -> None:
    """What the leaves do not cover is ``other``; what they have too much is scaled away; nothing divides by zero."""
    made = [
        Step(i=i, t=300.0 * i + 2, wall=wall + sum(phases.get(name, 0.0) for name in BETWEEN), phases=phases)
        for i, (phases, wall) in enumerate(rows)
    ]
    result = diagnose(run(made))
    assert all(seconds >= 0 for seconds in result.phases.values())
    kept = [s for s in made[result.steady_from :] if s.i not in result.outliers]
    inside = sum(seconds for name, seconds in result.phases.items() if name not in BETWEEN)
    assert inside == pytest.approx(fmean(core(s) for s in kept), rel=1e-6, abs=1e-6)


def test_a_phase_that_was_never_seen_is_missing_and_not_zero() -> None:
    assert list(diagnose(run()).phases) == [name for name in PHASES if name in HEALTHY]


def test_compilation_and_stalls_are_shown_apart() -> None:
    rows = [HEALTHY] * 60
    rows[0] = {**HEALTHY, "forward": 20.0}
    rows[40] = {**HEALTHY, "other": 3.0}
    result = diagnose(run(steps(rows)))
    assert (result.steady_from, result.outliers, result.steady_steps) == (1, [40], 58)
    assert result.step_seconds == pytest.approx(0.1)
    assert result.phases == pytest.approx(HEALTHY)
    assert result.throughput == pytest.approx(80)
    assert result.budget.warmup == pytest.approx(19.96)


def test_throughput_is_unknown_when_samples_are() -> None:
    made = steps([HEALTHY] * 9) + steps([HEALTHY], t=3.9, samples=None)
    assert diagnose(run(made)).throughput is None


def test_throughput_is_not_lowered_by_validation() -> None:
    assert diagnose(run(phases={"validation": 1.0})).throughput == pytest.approx(80)


def test_what_will_not_help_has_its_bound() -> None:
    items = {item.remedy: item for item in diagnose(run()).will_not_help}
    workers = items["more workers, faster storage or a bigger cache"]
    assert workers.bound == pytest.approx(1 / 0.99)
    assert workers.reason == "Waiting for data takes 1 ms of 100 ms (1.0 %)."
    assert "a faster optimizer" in items
    assert "a cheaper loss" not in items
    assert "logging less" not in items, "nobody saw any logging"


def test_what_is_a_finding_is_not_also_said_not_to_help() -> None:
    planted = run(phases={"data_wait": 0.004}, facts={"workers": 0})
    result = diagnose(planted)
    assert [finding.code for finding in result.findings] == ["DATA01"]
    assert not any("workers" in item.remedy for item in result.will_not_help)


def test_calibration_can_say_what_will_not_help() -> None:
    machine = Machine(bf16_matmul_speedup=0.7, channels_last_conv_speedup=1.01)
    items = {item.remedy: item for item in diagnose(run(facts={"convolutions": 3}), machine).will_not_help}
    assert items["bfloat16"].bound == 1.0
    assert 1.0 < items["channels_last"].bound < 1.01


def test_one_step_rules_out_only_what_is_far_from_mattering() -> None:
    remedies = [item.remedy for item in diagnose(run(n=1)).will_not_help]
    assert remedies == ["more workers, faster storage or a bigger cache"]


def test_a_run_without_a_step_says_what_was_seen_and_what_a_step_is() -> None:
    with pytest.raises(TrainingFailed, match=r"'python train.py' ran for 3\.0 s \(finished\).*optimizer\.step\(\)"):
        diagnose(run([]))


def test_a_run_that_crashed_before_its_first_step_says_why_and_nothing_else() -> None:
    """What a step is does not matter to somebody whose script was not found."""
    crashed = run([])
    info = msgspec.structs.replace(crashed.info, outcome="crashed", reason="exit code 2: No such file")
    with pytest.raises(TrainingFailed, match=r"\(crashed\) before its first training step: exit code 2: No such file$"):
        diagnose(msgspec.structs.replace(crashed, info=info))


def test_a_step_of_no_time_at_all_is_survived() -> None:
    assert diagnose(run(steps([{"forward": 0.0}] * 8))).step_seconds == 0.0


def test_the_diagnosis_needs_no_torch() -> None:
    code = "import sys, hotlap.diagnose; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Two stored runs side by side, on figures that are made up."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from hotlap.errors import TrainingFailed
from hotlap.records import Environment, Facts, MemorySample, ProcessMemory, Run, RunInfo, Step, StoredComparison
from hotlap.tune.statistics import MINIMUM_GAIN
from hotlap.tune.stored import compare_stored, regression

HERE = Environment(hotlap="0.1.0", python="3.12.3", torch="2.9.0", cpu="A processor", cores=8, kernel="6.8")


def replace(record: Any, **fields: Any) -> Any:
    return msgspec.structs.replace(record, **fields)


def run(
    wall: float = 0.02,
    count: int = 600,
    *,
    wait: float = 0.1,
    noise: float = 0.05,
    samples: int | None = 8,
    seed: int = 0,
    drift: float = 0.0,
    date: str = "2026-11-21T09:30:00+00:00",
    **facts: Any,
) -> Run:
    """Steps of ``wall`` seconds, of which a share of ``wait`` is spent in waiting for data."""
    chance = random.Random(f"{seed} {wall}")
    steps, t = [], 105.0
    for i in range(count):
        took = wall * chance.lognormvariate(0, noise) * (1 + drift * i / count)
        phases = {"data_wait": wait * took, "forward": (0.7 - wait) * took, "optimizer": 0.3 * took}
        steps.append(Step(i=i, t=t, wall=sum(phases.values()), phases=phases, samples=samples, loss=1 / (i + 1)))
        t += steps[-1].wall
    info = RunInfo(
        name=f"profile-{seed}",
        command=["python", "train.py"],
        cwd="/home/me",
        environment=HERE,
        started=100.0,
        ended=t + 1,
        date=date,
        outcome="finished",
    )
    known = {"device": "cpu", "batch_size": samples, "workers": 0, "peak_memory": 10**9, "fetch_seconds": wait * wall}
    return Run(info=info, facts=Facts(**{**known, **facts}), steps=steps)


def shift(comparison: StoredComparison, code: str) -> str:
    (found,) = [each for each in comparison.findings if each.code == code]
    return found.state


def test_a_run_beside_one_of_the_same_speed() -> None:
    """Not faster, with an interval around 1; nothing differs, and the losses are the same."""
    found = compare_stored(run(seed=1), run(seed=2))
    assert found.judgement == "not faster"
    assert found.effect.n == 20
    assert found.effect.low <= 1 <= found.effect.high
    assert found.comparable
    assert found.configuration == found.environment == found.warnings == []
    assert found.same_losses is True
    assert regression(found, MINIMUM_GAIN) is None


def test_a_faster_and_a_slower_one() -> None:
    """What the figures say, and that two recordings are no proof."""
    slow, quick = run(0.03), run(0.02, date="2026-11-24T09:30:00+00:00")
    faster, slower = compare_stored(slow, quick), compare_stored(quick, slow)
    assert faster.judgement == "faster"
    assert faster.effect.ratio == pytest.approx(1.5, rel=0.03)
    assert slower.judgement == "slower"
    assert "not measured in turns: B began 3 days after A" in faster.limits[0]
    assert "3 days before A" in slower.limits[0]
    assert regression(faster, MINIMUM_GAIN) is None
    assert "slower: 0.6" in (regression(slower, MINIMUM_GAIN) or "")


def test_what_makes_them_no_measure_of_each_other_comes_first() -> None:
    """Machine, versions, batch, ranks; workers and precision are named, too, and decide nothing."""
    other = replace(HERE, cpu="Another one", torch="2.10.0")
    a, b = run(), run(samples=16, workers=4, autocast="bfloat16")
    b = replace(b, info=replace(b.info, environment=other, command=["python", "train.py", "--amp"]))
    found = compare_stored(a, b)
    assert not found.comparable
    assert [each for each in found.environment if "processor" in each or "torch" in each] == found.environment
    rows = [(each.name, each.a, each.b, each.decides) for each in found.configuration]
    assert rows == [
        ("batch size", "8", "16", True),
        ("autocast", "off", "bfloat16", False),
        ("loader workers", "0", "4", False),
        ("command", "python train.py", "python train.py --amp", False),
    ]
    assert found.effect.ratio == pytest.approx(2.0, rel=0.05)
    assert found.unit == "samples"
    assert found.same_losses is None
    assert "different numbers of samples" in found.losses


def test_samples_that_nobody_counted() -> None:
    """Then steps are compared; the same where the batch differs and the configuration does not say it."""
    assert compare_stored(run(samples=None), run()).unit == "steps"
    found = compare_stored(run(batch_size=None), run(samples=16, batch_size=None))
    assert [(each.name, each.decides) for each in found.configuration] == [("samples of a step", True)]


def test_batches_without_samples() -> None:
    """A ratio of nothing is none, so steps are compared."""
    found = compare_stored(run(samples=0), run(seed=1))
    assert found.unit == "steps"
    assert found.judgement == "not faster"


@pytest.mark.parametrize(
    ("date", "said"),
    [("2026-11-23T09:30:00", "2 days after"), ("0001-01-01T00:00:00+05:00", "not known"), ("soon", "not known")],
)
def test_dates_as_people_write_them(date: str, said: str) -> None:
    """Without a zone it is UTC; what is no moment is not known."""
    assert said in compare_stored(run(), run(date=date)).limits[0]


def test_what_a_record_does_not_know_is_no_difference() -> None:
    """It is said that the settings are not known."""
    b = replace(run(), facts=Facts())
    found = compare_stored(run(autocast="bfloat16"), b)
    assert found.configuration == []
    assert found.comparable
    assert "the record of B does not know the settings" in found.warnings[0]


def test_findings_that_came_and_went() -> None:
    """A finding of waiting for data is there, is larger, or is gone."""
    little, much, most = run(wait=0.01), run(wait=0.4), run(wait=0.6)
    assert shift(compare_stored(little, much), "DATA01") == "came"
    assert shift(compare_stored(much, little), "DATA01") == "went"
    assert shift(compare_stored(much, most), "DATA01") == "changed"
    assert shift(compare_stored(much, run(wait=0.4, seed=3)), "DATA01") == "stayed"
    found = compare_stored(much, little).findings[0]
    assert found.code == "DATA01"
    assert found.a == pytest.approx(0.008, rel=0.1)
    assert found.b is None


def test_few_steps_say_little() -> None:
    """Fewer blocks, and with hardly any an interval that is not known."""
    assert compare_stored(run(count=40), run(0.01, count=40)).effect.n in (6, 7, 8, 9, 10)
    found = compare_stored(run(count=4), run(0.01, count=4))
    assert found.judgement == "unclear"
    assert "too few" in found.warnings[-1]
    with pytest.raises(TrainingFailed, match="without a training step"):
        compare_stored(run(), run(count=0))


def test_other_losses_are_not_judged() -> None:
    """Another seed or another training: two recordings cannot tell."""
    a, b = run(), run()
    b = replace(b, steps=[replace(step, loss=step.loss + 1) for step in b.steps])
    found = compare_stored(a, b)
    assert found.same_losses is None
    assert "differ from step 0 on" in found.losses
    few = [replace(a, steps=[replace(step, loss=step.loss if step.i < 3 else None) for step in a.steps]) for _ in "ab"]
    assert compare_stored(*few).same_losses is None
    assert "only 3 of their losses" in compare_stored(*few).losses
    assert "Whether B is the same training" in found.limits[-1]


def test_what_stands_against_the_figures() -> None:
    """A run that crashed, slowed down, was held by a tuning, or began on a busy machine."""
    bad = run(drift=0.8)
    steps = [replace(step, paused=0.5) if step.i == 300 else step for step in bad.steps]
    info = replace(bad.info, outcome="crashed", reason="no memory.", environment=replace(HERE, pressure=0.4, load=9.0))
    found = " | ".join(compare_stored(run(), replace(bad, steps=steps, info=info)).warnings)
    assert "B did not end as it should (crashed): no memory |" in found
    assert "busy with something else when B began: load 9.0" in found
    assert "B was held and let go" in found
    assert "B slowed down by" in found
    assert "A " not in found


def test_changes_that_were_applied() -> None:
    """Arms of a tuning are runs: what was switched on in one of them is a difference."""
    a, b = run(), run()
    b = replace(b, info=replace(b.info, changes={"workers": "2"}))
    assert [(each.name, each.a, each.b) for each in compare_stored(a, b).configuration] == [
        ("change workers", "none", "2")
    ]


def test_one_that_leans_to_the_slow_side_is_a_regression_if_asked() -> None:
    """As with commands: unclear, and the median slower by more than counts."""
    found = compare_stored(run(noise=0.6, count=60), run(0.03, noise=0.6, count=60, seed=5))
    assert found.judgement == "unclear"
    assert "look slower" in (regression(found, MINIMUM_GAIN) or "")


def test_memory_seen_from_outside_changes_nothing() -> None:
    """Records may hold more than is compared."""
    sample = MemorySample(t=110.0, processes=[ProcessMemory(pid=1, parent=0, rss=1, pss=1, uss=1)])
    more = run()
    more = replace(more, memory=replace(more.memory, samples=[sample]))
    assert compare_stored(run(), more).configuration == []

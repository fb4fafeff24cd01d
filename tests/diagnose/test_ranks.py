"""Ranks side by side: who waits for whom, and why."""

from __future__ import annotations

import math
import random

import pytest
from distributed_cases import Extra, in_turn, now_and_then, slow, together
from planted import SHORT, run

from hotlap.diagnose import diagnose
from hotlap.records import Diagnosis, Finding


def codes(diagnosis: Diagnosis) -> set[str]:
    return {finding.code for finding in diagnosis.findings if finding.code.startswith("DISTRIBUTED")}


def finding(diagnosis: Diagnosis, code: str) -> Finding:
    return next(each for each in diagnosis.findings if each.code == code)


@pytest.mark.parametrize(
    ("phase", "remedy"),
    [("data_wait", "input"), ("forward", "differs"), ("validation", "validation"), ("other", "that rank")],
)
@pytest.mark.parametrize("rank", [0, 1])
def test_a_slow_rank_is_named_with_its_phase(phase: str, remedy: str, rank: int) -> None:
    """The wait of the others is at stake, whichever rank the rest of the report is about."""
    diagnosis = diagnose(run(**together(slow(rank, **{phase: 0.05}))))
    assert codes(diagnosis) == {"DISTRIBUTED02"}
    found = finding(diagnosis, "DISTRIBUTED02")
    assert found.seconds == pytest.approx(0.05, rel=0.05)
    assert f"rank {rank}" in found.evidence[0]
    assert f"`{phase}`" in found.evidence[2]
    assert remedy in found.remedy


def test_a_slow_rank_among_many() -> None:
    diagnosis = diagnose(run(**together(slow(5, forward=0.02, backward=0.02), world=8)))
    assert codes(diagnosis) == {"DISTRIBUTED02"}
    found = finding(diagnosis, "DISTRIBUTED02")
    assert "computing" in found.evidence[2]
    assert found.seconds == pytest.approx(0.04, rel=0.1)


@pytest.mark.parametrize(
    "extra", [in_turn(forward=0.04, backward=0.03), now_and_then(0, 4, data_wait=0.3), in_turn(data_wait=0.04)]
)
def test_ranks_that_are_slow_in_some_steps(extra: Extra) -> None:
    diagnosis = diagnose(run(**together(extra, n=80)))
    assert codes(diagnosis) == {"DISTRIBUTED06"}


def test_who_evaluates_alone_is_waited_for_in_the_next_step() -> None:
    """After its synchronisation a rank works on, and the others wait for it in the one that follows."""
    planted = together(n=80)
    first, second = planted["ranks"]
    for step in range(3, 79, 4):
        first.phases.setdefault("validation", [0.0] * 80)[step] = 0.3
        second.phases["gradient_sync"][step + 1] += 0.3
    found = finding(diagnose(run(**planted)), "DISTRIBUTED06")
    assert "`validation`" in found.evidence[2]
    assert "rank 0 9" in found.evidence[1]


def test_a_wait_that_nothing_explains_is_not_blamed_on_anybody() -> None:
    """What a rank does outside of what was recorded leaves the others waiting, but there is no evidence."""
    planted = together()
    planted["ranks"][0].phases["gradient_sync"][:] = [0.05] * 40
    assert codes(diagnose(run(**planted))) == set()


def test_records_of_unlike_length_are_joined_where_they_overlap() -> None:
    """A rank that was cut off, or whose steps were looked at, takes part with the steps that it has."""
    planted = together(slow(1, forward=0.05))
    short = planted["ranks"][1]
    for column in (short.steps, short.walls, short.samples, short.micro_batches, *short.phases.values()):
        del column[25:]
        del column[3::7]
    diagnosis = diagnose(run(**planted))
    assert codes(diagnosis) == {"DISTRIBUTED02"}
    assert [row.rank for row in diagnosis.ranks] == [0, 1]
    assert diagnosis.ranks[1].phases["forward"] == pytest.approx(0.09, rel=0.05)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("world", [2, 4])
def test_jitter_of_a_busy_machine_is_not_complained_about(seed: int, world: int) -> None:
    """Ranks of a 1 ms step whose processors are taken away now and then."""
    chance = random.Random(seed)
    noise = [
        [chance.expovariate(1 / 2e-3) if chance.random() < 0.02 else 0.0 for _ in range(300)] for _ in range(world)
    ]

    def extra(rank: int, step: int) -> dict[str, float]:
        return {chance.choice(list(SHORT)): noise[rank][step]}

    planted = together(extra, world=world, n=300, sync=50e-6, base=SHORT, jitter=0.1)
    assert codes(diagnose(run(**planted))) == set()


def test_the_exposed_part_of_a_gpu_is_that_of_its_own_timers() -> None:
    """The host does not wait there, so its time says nothing."""
    planted = together(sync=0.0, parallel={"exposed": 0.03}, facts={"device": "cuda:0"})
    found = finding(diagnose(run(**planted)), "DISTRIBUTED01")
    assert found.seconds == pytest.approx(0.03)


def test_one_bucket_cannot_overlap() -> None:
    single = together(sync=0.04, parallel={"buckets": [40_000_000], "comm_hook": "bf16_compress_hook"})
    found = finding(diagnose(run(**single)), "DISTRIBUTED01")
    assert "bucket_cap_mb" in found.remedy
    assert "bf16_compress_hook" not in found.remedy


def test_means_of_the_ranks_are_those_of_the_steps_that_they_share() -> None:
    diagnosis = diagnose(run(**together(slow(1, forward=0.05))))
    for row in diagnosis.ranks:
        assert math.fsum(row.phases.values()) == pytest.approx(row.step)
        assert row.samples == 8
    assert diagnosis.ranks[0].sync_exposed == pytest.approx(0.052, rel=0.05)
    assert diagnosis.ranks[1].sync_exposed == pytest.approx(0.002, rel=0.5)
    assert diagnose(run()).ranks == []

"""Means, peaks and verdicts of what was seen."""

from __future__ import annotations

import math

import msgspec
import pytest
from made_up_looks import GIB, gpu, machine, sample, watched

from hotlap.watch.record import Sums, sums_of
from hotlap.watch.sample import GpuProcess, Sample
from hotlap.watch.summary import Summary, Tally, Verdict


def summary(tally: Tally, steps: Sums | None = None) -> Summary:
    return tally.summary(name="run", pid=1, command=["python"], ended="time", outcome=None, steps=steps)


def verdicts(found: Summary) -> dict[str, Verdict]:
    return {each.name: each for each in found.verdicts}


def summed(wait: float, wall: float, loss: float = 0.5, count: int = 10) -> Sums:
    moments = [(wall * i, wall * i + wait) for i in range(count)]
    line = {
        "i": 0,
        "times": [round(1e9 * at) for pair in moments for at in pair] + [round(1e9 * wall * count)],
        "samples": [8] * count,
        "losses": [loss if math.isfinite(loss) else repr(loss)] * count,
    }
    return sums_of(line, {"phases": ["data_wait", "forward"], "slots": [0, 1]})


def test_means_and_peaks() -> None:
    """C3: mean utilization, mean and peak memory."""
    _, tally = watched(11, lambda i: sample(float(i), gpus=[gpu(utilization=90.0 + i, memory_used=(50 + i) * GIB)]))
    (card,) = summary(tally).gpus
    assert card.utilization is not None
    assert (card.utilization.mean, card.utilization.peak, card.utilization.n) == (95.0, 100.0, 11)
    assert card.memory_used is not None
    assert (card.memory_used.mean, card.memory_used.peak) == (55.0 * GIB, 60.0 * GIB)
    assert verdicts(summary(tally))["GPU utilization"].verdict == "ok"


@pytest.mark.parametrize(
    ("wait", "wall", "verdict"), [(0.009, 0.1, "ok"), (0.02, 0.1, "failed"), (0.02, 1.0, "ok"), (0.1, 1.0, "failed")]
)
def test_data_time_as_in_verify(wait: float, wall: float, verdict: str) -> None:
    """Ten milliseconds, or a small share of a long step."""
    _, tally = watched(5)
    assert verdicts(summary(tally, summed(wait, wall)))["data time"].verdict == verdict


def test_what_was_not_seen_has_no_verdict() -> None:
    """n/a with its reason, never ok."""
    _, tally = watched(5, lambda i: sample(float(i), gpus=[], processes=None, steps=None))
    found = verdicts(summary(tally))
    assert {name: each.verdict for name, each in found.items()} == {
        "data time": "n/a",
        "GPU utilization": "n/a",
        "memory of the machine": "ok",
        "loss": "n/a",
    }
    assert "`hotlap profile` records a training" in found["data time"].evidence
    _, tally = watched(5, lambda i: sample(float(i), gpus=[gpu(utilization=None)]))
    assert verdicts(summary(tally))["GPU utilization"].evidence == "the driver does not tell it"
    _, tally = watched(2)
    assert verdicts(summary(tally))["GPU utilization"].evidence == "too few looks for a mean"


def test_each_card_must_reach_the_goal() -> None:
    """One that idles is not made up for by another."""
    _, tally = watched(5, lambda i: sample(float(i), gpus=[gpu(0, utilization=100.0), gpu(1, utilization=84.0)]))
    found = verdicts(summary(tally))["GPU utilization"]
    assert (found.verdict, found.evidence) == ("failed", "100 % and 84 % (mean); the goal is more than 90 %")


def test_a_card_counts_from_when_the_training_comes_to_it() -> None:
    """What others did on it before is not the training's; cards of others are listed and not judged."""
    stranger = [GpuProcess(pid=9)]

    def look(i: int) -> object:
        before = i < 10
        ours = gpu(0, utilization=0.0 if before else 99.0, processes=stranger if before else gpu().processes)
        return sample(float(i), gpus=[ours, gpu(1, utilization=3.0, processes=stranger)])

    _, tally = watched(20, look)  # type: ignore[arg-type]
    ours, theirs = summary(tally).gpus
    assert ours.utilization is not None
    assert (ours.watched, ours.utilization.mean, ours.utilization.n) == (True, 99.0, 10)
    assert theirs.watched is False
    assert verdicts(summary(tally))["GPU utilization"].verdict == "ok"


def test_guessed_cards_are_dropped_when_the_driver_names_the_training() -> None:
    """With their figures and what was said of them."""

    def look(i: int) -> Sample:
        theirs = gpu(1, utilization=12.0, throttled=["power limit"], processes=[GpuProcess(pid=9)])
        return (
            sample(float(i), gpus=[gpu(0, processes=[], utilization=0.0), theirs], guessed=[0, 1])
            if i < 15
            else sample(float(i), gpus=[gpu(0), theirs])
        )

    _, tally = watched(15, look)
    found = summary(tally)
    assert verdicts(found)["GPU utilization"].evidence.startswith("0 % and 12 %")
    assert [each.text[:10] for each in found.warnings] == ["the clocks", "GPUs 0 to "]
    _, tally = watched(20, look)
    found = summary(tally)
    assert [card.watched for card in found.gpus] == [True, False]
    assert verdicts(found)["GPU utilization"].evidence.startswith("95 % (mean)")
    assert found.warnings == []


def test_a_card_that_was_lost_is_a_failure() -> None:
    """Its figures are those from before."""
    lost = gpu(
        utilization=None, memory_used=None, memory_total=None, processes=None, throttled=None, power=None, lost=True
    )
    _, tally = watched(10, lambda i: sample(float(i), gpus=[gpu() if i < 5 else lost]))
    found = summary(tally)
    assert found.gpus[0].lost
    assert found.gpus[0].memory_total == 80 * GIB
    assert verdicts(found)["GPU 0"].verdict == "failed"


def test_throttling_is_a_share_of_the_looks() -> None:
    """By reason."""
    _, tally = watched(10, lambda i: sample(float(i), gpus=[gpu(throttled=["power limit"] if i < 3 else [])]))
    assert summary(tally).gpus[0].throttled == {"power limit": pytest.approx(0.3)}


def test_warnings_are_kept_with_their_time() -> None:
    """Once each, with the first and the last moment."""
    full = machine(memory_used=60 * GIB)
    _, tally = watched(10, lambda i: sample(float(i), machine=full if 3 <= i < 6 else machine()))
    (found,) = summary(tally).warnings
    assert (found.first, found.last) == (3.0, 5.0)
    assert verdicts(summary(tally))["memory of the machine"].verdict == "failed"


def test_a_loss_that_was_no_number_is_a_failure() -> None:
    """Even if it recovered."""
    _, tally = watched(5)
    found = verdicts(summary(tally, summed(0.0, 0.1, float("nan"))))["loss"]
    assert (found.verdict, found.evidence) == ("failed", "of 10 steps, 10 NaN or infinite")


def test_it_is_json() -> None:
    """With its kind and schema, and no figure where there is none."""
    _, tally = watched(3)
    written = msgspec.json.decode(msgspec.json.encode(summary(tally)))
    assert (written["k"], written["schema"], written["steps"]) == ("summary", 1, None)

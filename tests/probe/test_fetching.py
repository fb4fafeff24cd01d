"""What a worker does while it fetches: it computes, it wants a core, or it waits for something else."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from recordings import Recorded

from hotlap.diagnose import diagnose
from hotlap.diagnose.fetching import busy_share, most_workers, mostly_waits, slow_part
from hotlap.probe import fetching
from hotlap.probe.arrivals import Arrivals, _Seen
from hotlap.probe.fetching import Fetches
from hotlap.probe.timeline import VALIDATION
from hotlap.records import Facts

pytestmark = pytest.mark.skipif(fetching.queued_seconds() is None, reason="this kernel does not count for threads")


@pytest.mark.parametrize("kind", ["asleep", "at_work"])
def test_workers_that_sleep_are_told_from_workers_that_compute(record: Callable[..., Recorded], kind: str) -> None:
    run = record("slow_samples", kind).run
    busy = busy_share(run.facts)
    assert busy is not None
    assert mostly_waits(run.facts) == (kind == "asleep"), busy
    finding = next(each for each in diagnose(run).findings if each.code == "DATA02")
    said = " ".join([*finding.evidence, finding.remedy])
    cores = run.info.environment.cores
    assert ("they mostly wait" in said) == (kind == "asleep" and most_workers(run.facts, cores) > cores), said


def test_what_a_batch_of_workers_takes_is_known_by_its_parts(record: Callable[..., Recorded]) -> None:
    """Every third one is collated slowly, and those after it wait for their turn."""
    facts = record("slow_batches", "3").run.facts
    samples, collate, fetch = facts.fetch_samples_seconds, facts.fetch_collate_seconds, facts.fetch_seconds
    assert None not in (samples, collate, fetch)
    assert collate > samples > 0
    assert samples + collate == pytest.approx(fetch)
    assert slow_part(facts) == "collate"
    assert (facts.fetch_uses_rng, facts.samples_use_rng) == (True, False)
    assert 3.99e6 <= facts.sent_bytes < 4.01e6
    assert facts.send_seconds > 0
    assert facts.receive_seconds > 0
    assert facts.head_of_line_share > 0.5
    assert 1 <= facts.batches_behind <= 2


def test_where_the_training_fetches_itself_it_is_known_too_whether_that_waits(record: Callable[..., Recorded]) -> None:
    facts = record("slow_batches", "0").run.facts
    assert slow_part(facts) == "collate"
    assert (facts.fetch_uses_rng, facts.samples_use_rng) == (True, False)
    # It may wait for a core besides.
    assert facts.fetch_cpu_seconds < facts.fetch_seconds / 2
    assert facts.fetch_queue_seconds is not None
    assert facts.sent_bytes is facts.head_of_line_share is facts.receive_seconds is None


def test_batches_of_a_validation_are_not_waited_for_by_the_training() -> None:
    arrivals = Arrivals()
    for name, waited, behind in (("data 1", 1.0, 0.25), ("data 2", 9.0, 9.0)):
        seen = arrivals.loaders[name] = _Seen()
        seen.waited, seen.behind, seen.kept = waited, behind, 2 * behind
    assert arrivals.collect({"data 2": VALIDATION}) == {"head_of_line_share": 0.25, "batches_behind": 2.0}
    assert Arrivals().collect({}) == {}


def test_where_the_kernel_does_not_say_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "queued_seconds", lambda: None)
    fetches = Fetches(str(tmp_path))
    fetches.count, fetches.seconds, fetches.computed, fetches.collating = 2, 1.0, 0.2, math.nan
    fetches._save(1.0)
    assert fetches.collect() == {"fetch_seconds": 0.5, "fetch_uses_rng": False, "samples_use_rng": False}


def test_the_wait_for_a_core_is_no_longer_than_the_fetches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queued = iter((1.0, 9.0))
    monkeypatch.setattr(fetching, "queued_seconds", lambda: next(queued))
    fetches = Fetches(str(tmp_path))
    fetches.queued_before = 0.5
    for number in (1.0, 2.0):
        fetches.count, fetches.seconds, fetches.computed = 2, 1.0, 0.2
        fetches._save(number)
    found = fetches.collect()
    assert found["fetch_cpu_seconds"] == pytest.approx(0.1)
    assert found["fetch_queue_seconds"] == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("cpu", "queue", "most"),
    [(None, None, 4), (0.09, 0.0, 4), (0.02, 0.05, 4), (0.04, 0.0, 10), (0.02, 0.0, 16), (0.0, 0.0, 16)],
)
def test_as_many_workers_can_pay_as_the_cores_can_serve(cpu: float | None, queue: float | None, most: int) -> None:
    """Of a fetch of 0.1 s on 4 cores."""
    facts = Facts(fetch_seconds=0.1, fetch_cpu_seconds=cpu, fetch_queue_seconds=queue)
    assert most_workers(facts, 4) == most

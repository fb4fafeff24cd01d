"""What a worker does while it fetches: it computes, it wants a core, or it waits for something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from recordings import Recorded

from hotlap.diagnose import diagnose
from hotlap.diagnose.fetching import busy_share, most_workers, mostly_waits
from hotlap.probe import fetching
from hotlap.probe.fetching import Fetches
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


def test_where_the_kernel_does_not_say_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "queued_seconds", lambda: None)
    fetches = Fetches(str(tmp_path))
    fetches.count, fetches.seconds, fetches.computed = 2, 1.0, 0.2
    fetches._save(1.0)
    assert fetches.collect() == {"fetch_seconds": 0.5, "fetch_uses_rng": False}


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

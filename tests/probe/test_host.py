"""What the host does besides: collections are counted in the thread that trains, and belong to the script."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator

import pytest
from recordings import Recorded, Told

from hotlap.diagnose import diagnose
from hotlap.probe import host
from hotlap.probe.host import Host


@pytest.fixture
def watching() -> Iterator[Host]:
    callbacks = list(gc.callbacks)
    watching = Host()
    watching.begin()
    yield watching
    watching.stop()
    assert gc.callbacks == callbacks


def test_garbage_is_found(record: Callable[..., Recorded], without_probe: Callable[..., Told]) -> None:
    found = record("garbage", "6000")
    facts = found.run.facts
    assert facts.gc_seconds is not None
    assert facts.gc_seconds > 0
    assert facts.gc_collections is not None
    # A collection for every 700 objects; some of them run in the probe's own code.
    assert 5 < facts.gc_collections < 12
    assert "HOST02" in {finding.code for finding in diagnose(found.run).findings}
    assert found.told is not None
    assert found.told.steps == without_probe("garbage 6000").steps


def test_a_clean_loop_has_no_garbage_to_speak_of(record: Callable[..., Recorded]) -> None:
    found = record("garbage", "0")
    codes = {finding.code for finding in diagnose(found.run).findings}
    assert not codes & {"HOST01", "HOST02", "HOST03", "HOST04", "HOST05"}


def test_collections_count_in_the_training_thread(watching: Host) -> None:
    gc.collect()
    assert (watching.gc_collections, watching.gc_full) == (1, 1)
    other = threading.Thread(target=gc.collect)
    other.start()
    other.join()
    assert watching.gc_collections == 1
    gc.collect(0)
    assert (watching.gc_collections, watching.gc_full) == (2, 1)
    assert watching.gc_seconds > 0


def test_collections_in_the_probes_own_code_do_not_count(watching: Host) -> None:
    exec(compile("import gc; gc.collect()", host.__file__, "exec"))
    assert watching.gc_collections == 0


def test_what_the_kernel_counts_is_a_mean_over_the_steps(watching: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter((1.0, 1.1, 1.5, 2.0))
    monkeypatch.setattr(host, "_clock", lambda: next(times))
    monkeypatch.setattr(host, "queued_seconds", lambda file: queued)
    queued = 1.0
    watching.use(10)
    queued = 1.4
    watching.use(12)  # too soon
    watching.use(14)
    assert watching.collect() == {}, "four steps are too few"
    watching.use(20)
    found = watching.collect()
    assert found["queue_seconds"] == pytest.approx(0.04)
    assert found["cpu_seconds"] is not None
    assert found["cpu_seconds"] >= 0


def test_what_happens_while_the_training_is_held_is_none_of_its_steps(
    watching: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second at the gate, with idle cores and a collection, between two steps of a tenth of a second."""
    clock = [0.0]
    monkeypatch.setattr(host, "_clock", lambda: clock[0])
    monkeypatch.setattr(host.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(host, "_idle_seconds", lambda: clock[0])
    watching.looked = -1.0
    watching.use(0)
    clock[0] = 1.0
    watching.pause()
    clock[0] = 2.0
    gc.collect()
    watching.resume()
    clock[0] = 3.0
    watching.use(20)
    found = watching.collect()
    assert found["counted_seconds"] == pytest.approx(2.0 / 20)
    assert found["idle_cores"] == pytest.approx(1.0)
    assert found["gc_collections"] == 0


def test_where_the_kernel_does_not_say_it_is_not_known(watching: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    watching.file = "/proc/self/task/0/schedstat"
    times = iter((1.0, 2.0))
    monkeypatch.setattr(host, "_clock", lambda: next(times))
    watching.use(10)
    watching.use(20)
    assert watching.collect()["queue_seconds"] is None

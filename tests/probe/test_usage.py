"""Page faults: those of usual steps, and what one of them takes."""

from __future__ import annotations

import mmap
import sys

import pytest

from hotlap.probe import usage as module
from hotlap.probe.usage import Usage, fault_seconds

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts the page faults of a thread")
PAGES = 200


def touch(pages: int) -> None:
    """Fetch so many new pages from the kernel, and hand them back."""
    with mmap.mmap(-1, 4096 * pages, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        for offset in range(0, 4096 * pages, 4096):
            block[offset] = 1


def steady(usage: Usage) -> float:
    found = usage.collect()["steady_faults"]
    assert found is not None
    return found


@linux
def test_faults_that_come_at_every_step_are_steady() -> None:
    usage = Usage()
    usage.look(6)
    for step in range(7, 27):
        touch(PAGES)
        usage.look(step)
    assert PAGES <= steady(usage) < PAGES + 20


@linux
def test_faults_that_come_at_few_steps_are_not() -> None:
    """New memory is touched once; a cache that grows now and then is no hand-out at every step."""
    usage = Usage()
    usage.look(6)
    for step in range(7, 27):
        if step % 2 == 0:
            touch(PAGES)
        usage.look(step)
    assert steady(usage) < 20
    mean = usage.collect()["page_faults"]
    assert mean is not None
    assert mean >= PAGES / 2


@linux
def test_what_a_look_touches_is_left_out() -> None:
    usage = Usage()
    usage.look(6)
    for step in range(7, 27):
        usage.look(step)
        touch(PAGES)
        usage.leave_out(step)
    assert steady(usage) < 20
    mean = usage.collect()["page_faults"]
    assert mean is not None
    assert mean < 20


def test_a_page_fault_takes_a_moment() -> None:
    """Between a tenth of a microsecond and that of a huge page on a slow machine."""
    seconds = fault_seconds()
    assert seconds is None or 1e-7 < seconds < 1e-2


def test_nothing_is_said_where_new_memory_makes_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    class Never:
        ru_minflt = 7

    monkeypatch.setattr(module.resource, "getrusage", lambda who: Never())
    assert fault_seconds() is None

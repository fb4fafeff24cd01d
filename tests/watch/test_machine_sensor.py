"""Rates of the whole machine between two looks."""

from __future__ import annotations

from collections import namedtuple
from types import SimpleNamespace

import psutil
import pytest

from hotlap.watch.machine import MachineSensor

Times = namedtuple("Times", "user nice system idle iowait irq softirq steal guest")


def test_shares_and_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Per cent of the cores' time, without a guest's, which is in the user's; bytes a second; memory that cannot be
    had again."""
    times = iter([Times(10, 0, 0, 10, 0, 0, 0, 0, 5), Times(13, 0, 1, 15, 1, 0, 0, 0, 8)])
    disks = iter([SimpleNamespace(read_bytes=0, write_bytes=100), SimpleNamespace(read_bytes=500, write_bytes=100)])
    network = iter([SimpleNamespace(bytes_recv=0, bytes_sent=0), SimpleNamespace(bytes_recv=10, bytes_sent=20)])
    monkeypatch.setattr(psutil, "cpu_times", lambda: next(times))
    monkeypatch.setattr(psutil, "disk_io_counters", lambda: next(disks))
    monkeypatch.setattr(psutil, "net_io_counters", lambda: next(network))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=100, available=30))
    found = MachineSensor(0.0).look(5.0)
    assert (found.cpu, found.disk_wait) == (pytest.approx(40.0), pytest.approx(10.0))
    assert (found.disk_read, found.disk_write, found.net_received, found.net_sent) == (100.0, 0.0, 2.0, 4.0)
    assert (found.memory_used, found.memory_total) == (70, 100)


def test_what_a_container_hides_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """No counters, or no time between the looks."""

    def hidden() -> None:
        raise PermissionError("/proc/diskstats")

    monkeypatch.setattr(psutil, "disk_io_counters", hidden)
    monkeypatch.setattr(psutil, "net_io_counters", lambda: None)
    found = MachineSensor(0.0).look(0.0)
    assert (found.disk_read, found.net_received) == (None, None)

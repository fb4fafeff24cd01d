"""What holds for all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Tests run side by side and start processes of their own, which would take the cores from each other: threads of torch
# that wait spin. What is about threads sets their number itself.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a real GPU are skipped where there is none, before anything imports torch."""
    for item in items:
        if item.get_closest_marker("quiet") or item.get_closest_marker("noisy"):
            item.add_marker(pytest.mark.flaky(reruns=1))
    if Path("/dev/nvidiactl").exists():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))

"""A training may be long: what the probe holds in memory does not grow with it."""

from __future__ import annotations

import runpy
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "million_steps.py"


def test_memory_is_bounded(tmp_path: Path) -> None:
    """From the middle to the last step the process grows by less than a hundred bytes a step."""
    steps = 40000
    measured = runpy.run_path(str(BENCHMARK))["measure"](steps, tmp_path)
    first, last = measured["with"][3][1], measured["with"][-1][1]
    # It comes in pages and arenas of half a megabyte. Were the steps kept, it would be many times as much: the marks of
    # one have five hundred bytes.
    assert last - first < 100 * steps / 2, measured

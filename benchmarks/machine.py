"""On what a benchmark ran, for the files that keep its results."""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import datetime, timezone
from math import comb
from pathlib import Path
from statistics import median
from typing import Any

from hotlap.launch import environment

RESULTS = Path(__file__).parent / "results"


def circumstances() -> dict[str, Any]:
    known = environment()
    return {
        "command": " ".join(["python", *sys.argv]),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": {"cpu": known.cpu, "cores": known.cores, "load": os.getloadavg()[0], "platform": known.platform},
        "versions": {"hotlap": known.hotlap, "python": platform.python_version(), "torch": known.torch},
    }


def keep(name: str, figures: dict[str, Any]) -> None:
    """Write ``results/NAME.json``, and show it on stderr."""
    text = json.dumps(circumstances() | figures, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n")
    print(text, file=sys.stderr)


def sentence(about: dict[str, Any]) -> str:
    machine, versions = about["machine"], about["versions"]
    return (
        f"{about['date']}, {machine['cpu']}, {machine['cores']} cores, load {machine['load']:.1f} before, "
        f"Python {versions['python']}, torch {versions['torch']}. Command: `{about['command']}`."
    )


def median_interval(values: list[float], confidence: float = 0.95) -> tuple[float, float, float, float]:
    """Median, and the narrowest pair of order statistics that covers it with at least ``confidence``.

    Returns (median, low, high, coverage reached). No shape of the distribution is assumed. With too few values the
    interval is their whole range, and the coverage says so.
    """
    ordered, n = sorted(values), len(values)
    cut, coverage = 0, 1 - 2 * 0.5**n
    while True:
        wider = 1 - 2 * sum(comb(n, k) for k in range(cut + 2)) * 0.5**n
        if wider < confidence or cut + 1 >= n - 1 - (cut + 1):
            return median(values), ordered[cut], ordered[n - 1 - cut], coverage
        cut, coverage = cut + 1, wider

"""A training for which nothing helps: does `hotlap tune` say so, within its budget, and how far it is from the limit?

    python benchmarks/nothing_to_gain.py [--budget 5m]

``scripts/nothing_helps.py`` multiplies large matrices in bfloat16 and does little else. Beside what hotlap says stands
what this benchmark counts by itself: the operations of a step, from the widths of the layers, over its time, as a share
of what the machine reaches in one large matrix product. Writes ``results/nothing_to_gain.json``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import keep

from hotlap.estimate.peak import measured_peak
from hotlap.terminal import as_seconds

SCRIPT = Path(__file__).resolve().parent / "scripts" / "nothing_helps.py"
#: What the script trains: samples of a step, and the widths of its layers.
BATCH, WIDTHS = 512, [1024, 1024, 1024, 1024, 1024, 16]


def operations() -> int:
    """Of one step: two for each weight and sample forward, four backward; the first layer's input needs no gradient."""
    products = [a * b for a, b in itertools.pairwise(WIDTHS)]
    return 2 * BATCH * (3 * sum(products) - products[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="5m")
    budget = parser.parse_args().budget
    with tempfile.TemporaryDirectory() as folder:
        hotlap = [sys.executable, "-m", "hotlap", "tune", "--budget", budget, "--run-dir", folder]
        began = time.monotonic()
        done = subprocess.run([*hotlap, "--", sys.executable, str(SCRIPT)], capture_output=True, text=True, check=True)
        seconds = time.monotonic() - began
        result = json.loads(next(Path(folder).glob("tune-*/result.json")).read_text())
    threads = int(os.environ.get("OMP_NUM_THREADS", result["facts"]["threads"] or 1))
    peak = measured_peak(sys.executable, "cpu", "bfloat16", threads)
    reached = operations() / result["diagnosis"]["step_seconds"]
    headline, *rest = done.stdout.splitlines()
    keep(
        "nothing_to_gain",
        {
            "headline": headline,
            "says_nothing_to_gain": headline.startswith("Nothing to gain"),
            "says_how_far_from_the_limit": [line.strip() for line in rest if re.search("limit|peak(?! memory)", line)],
            "adopted": [change["name"] for change in result["adopted"]],
            "not_tried": [each["why"] for each in result["trials"] + result["skipped"] if each["effect"] is None],
            "seconds": round(seconds, 1),
            "within_budget": seconds <= as_seconds("--budget", budget),
            "share_of_the_machines_peak": None if peak is None else reached / peak,
            "output": done.stdout.replace(sys.executable, "python").splitlines(),
        },
    )


if __name__ == "__main__":
    main()

"""Stands for a training with the probe inside: writes its record, for so many seconds, a step each hundredth."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

directory = Path(os.environ["HOTLAP_PROBE"]).parent
until = time.perf_counter() + float(sys.argv[1])
plan = {"k": "plan", "id": 0, "phases": ["data_wait", "forward"], "slots": [0, 1], "micro_batches": 1}
with (directory / "steps.jsonl").open("w", buffering=1) as file:
    print(json.dumps({"k": "start", "t": 0.0, "imported": 0.0, "pid": os.getpid(), "rank": 0}), file=file)
    print(json.dumps(plan), file=file)
    print("up", flush=True)
    step = 0
    while time.perf_counter() < until:
        begun = time.perf_counter_ns()
        time.sleep(0.01)
        times = [begun, begun + 1_000_000, time.perf_counter_ns()]
        print(
            json.dumps({"k": "steps", "i": step, "plan": 0, "times": times, "samples": [8], "losses": [0.5]}), file=file
        )
        step += 1

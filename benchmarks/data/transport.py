"""The way of a batch from its worker to the training: torch's own loader beside SharedBatches.

    python benchmarks/data/transport.py [--rounds 15] [--small]

Batches of 4 samples of 5 MB through 2 workers that stay. Samples lie in memory, so that little but the way of a batch
is measured: both loaders stack 20 MB a batch. Seconds a batch as the loop sees them, without its own:

    untouched       batches come one after another and are let go
    read            of each, one byte of every page is read, as a training would do at the latest
    20 ms a step    read, and then 20 ms of computing a step, meanwhile workers can get ahead

The floor is one stacking into a buffer that is used again, without workers. Loaders take turns, an epoch each. Asked: a
tenth of the time of torch's own. Writes ``results/data/transport.json`` and ``.md``. About 2 minutes on 2 cores.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from turns import arguments, brief, circumstances, in_turns, keep, median_interval, times

from hotlap.data import SharedBatches

BYTES, BATCH, WORKERS = 5_000_000, 4, 2
#: Batches before the clock runs: workers are ahead of the loop then.
WARM = 8
#: A step that computes, in seconds.
STEP = 0.02
#: By setting: whether batches are read, and the seconds of a step.
SETTINGS = {"untouched": (False, 0.0), "read": (True, 0.0), "20 ms a step": (True, STEP)}
PLAIN, OURS, FLOOR = "DataLoader", "SharedBatches", "one stacking, no workers"


class Samples(Dataset[Tensor]):
    def __init__(self, length: int) -> None:
        self.length = length
        # Few, so that they lie in the processor's cache, as one that was decoded just now.
        self.samples = [torch.randint(0, 256, (BYTES,), dtype=torch.uint8) for _ in range(2)]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Tensor:
        return self.samples[index % len(self.samples)]


def use(batch: Tensor, read: bool, step: float) -> None:
    until = time.perf_counter() + step
    if read:
        batch.view(-1)[::4096].sum()
    while time.perf_counter() < until:
        pass


def epoch(loader: DataLoader[Tensor], read: bool, step: float) -> float:
    """Seconds a batch."""
    seen, began = 0, 0.0
    for batch in loader:
        assert batch.shape == (BATCH, BYTES)
        if seen == WARM:
            began = time.perf_counter()
        use(batch, read, step)
        seen += 1
    steps = seen - WARM
    return (time.perf_counter() - began - steps * step) / steps


def stacking(samples: Samples, read: bool, step: float) -> float:
    buffer = torch.empty(BATCH, BYTES, dtype=torch.uint8)
    began = 0.0
    for number in range(WARM + WARM):
        if number == WARM:
            began = time.perf_counter()
        torch.stack([samples[BATCH * number + place] for place in range(BATCH)], out=buffer)
        use(buffer, read, step)
    return (time.perf_counter() - began) / WARM - step


def main() -> None:
    parser = arguments(__doc__, rounds=15)
    given = parser.parse_args()
    rounds, batches = (2, 2 * WARM) if given.small else (given.rounds, 48)
    about = circumstances()
    torch.set_num_threads(1)
    samples = Samples(BATCH * batches)
    options: dict[str, Any] = {"batch_size": BATCH, "num_workers": WORKERS, "persistent_workers": True}
    loaders = {PLAIN: DataLoader(samples, **options), OURS: SharedBatches(samples, **options)}
    for loader in loaders.values():
        epoch(loader, False, 0.0)
    rows = []
    for setting, (read, step) in SETTINGS.items():
        ways: dict[str, Callable[[], float]] = {
            name: partial(epoch, loader, read, step) for name, loader in loaders.items()
        }
        found = in_turns(ways | {FLOOR: partial(stacking, samples, read, step)}, rounds)
        rows += [
            {
                "setting": setting,
                "way": name,
                "seconds": seconds,
                "interval": median_interval(seconds),
                "times_as_fast": times(found[PLAIN], seconds),
            }
            for name, seconds in found.items()
        ]
    lines = [
        "# The way of a batch to the training",
        "",
        f"{BATCH} samples of {BYTES / 1e6:.0f} MB a batch, {WORKERS} workers, {batches} batches an epoch. {rounds}",
        "epochs each, in turns. Milliseconds a batch as the loop sees them, without its own: median and interval.",
        "",
        "| | way | ms a batch | times as fast as DataLoader |",
        "|---|---|---|---|",
    ]
    for row in rows:
        milliseconds = [1e3 * value for value in row["interval"]]
        lines.append(f"| {row['setting']} | {row['way']} | {brief(milliseconds)} | {brief(row['times_as_fast'], 1)} |")
    keep("transport", about, {"rounds": rounds, "batches": batches, "rows": rows}, lines, small=given.small)


if __name__ == "__main__":
    main()

"""Looks that nobody took."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from hotlap.watch.history import History
from hotlap.watch.live import add
from hotlap.watch.sample import Gpu, GpuProcess, Machine, Processes, Sample, Steps, Worker
from hotlap.watch.summary import Tally

GIB = 1 << 30


def gpu(index: int = 0, **fields: Any) -> Gpu:
    """One on which the training computes."""
    usual = Gpu(
        index=index,
        name="NVIDIA Fake 80GB",
        utilization=95.0,
        memory_used=60 * GIB,
        memory_total=80 * GIB,
        power=650.0,
        power_limit=700.0,
        clock=1755,
        clock_max=1980,
        temperature=64,
        throttled=[],
        processes=[GpuProcess(pid=7, memory=59 * GIB, watched=True)],
    )
    return msgspec.structs.replace(usual, **fields)


def machine(**fields: Any) -> Machine:
    usual = Machine(cpu=50.0, disk_wait=0.0, cores=16, memory_used=16 * GIB, memory_total=64 * GIB)
    return msgspec.structs.replace(usual, **fields)


def processes(**fields: Any) -> Processes:
    usual = Processes(count=3, cpu=4.0, main_thread=0.5, pss=8 * GIB, held=8 * GIB, uss=7 * GIB, swap=0)
    return msgspec.structs.replace(usual, workers=[Worker(pid=8, cpu=0.5), Worker(pid=9)], **fields)


def steps(**fields: Any) -> Steps:
    usual = Steps(
        done=1000,
        steps=100,
        step_seconds=0.1,
        phases={"data_wait": 0.001, "forward": 0.05, "backward": 0.049},
        samples_per_second=80.0,
        loss=0.5,
        silence=0.05,
    )
    return msgspec.structs.replace(usual, **fields)


def sample(at: float = 0.0, **fields: Any) -> Sample:
    usual = Sample(time=1.8e9 + at, elapsed=at, machine=machine(), gpus=[gpu()], processes=processes(), steps=steps())
    return msgspec.structs.replace(usual, **fields)


def watched(count: int, make: Callable[[int], Sample] | None = None) -> tuple[History, Tally]:
    """So many looks, a second apart."""
    history, tally = History(), Tally()
    for i in range(count):
        add(make(i) if make else sample(float(i)), history, tally)
    return history, tally

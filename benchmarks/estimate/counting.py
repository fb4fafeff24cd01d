"""What a step of a training computes and moves, counted with tensors that have no memory."""

from __future__ import annotations

from collections.abc import Callable

import torch

from hotlap.estimate.imitation import imitation
from hotlap.estimate.memory import Step, as_on, track_one
from hotlap.estimate.rates import counted
from hotlap.probe.counting import Count
from hotlap.records import Work


def work_of(build: Callable[[], Step], device: str) -> Work:
    """Of the second step, on such a device."""
    count = Count(torch)

    def twice() -> tuple[Step, Step]:
        step = build()
        return step, step

    with imitation():
        track_one(twice, **as_on(device), count=count)
    return counted(count)

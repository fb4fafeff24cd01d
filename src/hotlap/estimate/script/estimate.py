"""``hotlap estimate -- python train.py``: does somebody's own script fit, and how fast would it be."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from hotlap.errors import UsageError
from hotlap.estimate.device import Device
from hotlap.estimate.memory import summed
from hotlap.estimate.on_cards import MicroBatches, placed
from hotlap.estimate.script.followed import FollowedScript, Launch
from hotlap.estimate.times import here as here_timer
from hotlap.estimate.trained import Followed
from hotlap.records import Calibration, Horizon, MemoryEstimate, TrainingEstimate

_MOST_SAMPLES = 2**16


class _Seen(NamedTuple):
    """In what the script computes; implements ``at_peak.Numerics``."""

    use_mixed_precision: bool
    fp16: bool
    matmul_precision: str


def estimate_script(
    command: Sequence[str],
    launch: Launch,
    device: Device | None,
    *,
    batch_size: int | None = None,
    ranks: int = 1,
    samples: int | None = None,
    price: float | None = None,
) -> TrainingEstimate:
    """Estimate a script on a card, or on every card of the catalogue (None).

    Raises:
        CannotBeTraced: what the training does depends on values.
        TrainingFailed: it ends before it trains.
        UsageError: its micro-batch cannot be changed.
    """
    began = time.monotonic()
    first = _first(launch, batch_size)
    limit = _limit(first, ranks)
    known: dict[int, Followed] = {first.batch_size: first.followed}
    micro = MicroBatches(first.batch_size, limit, lambda batch: known.get(batch) or launch(batch).followed)
    capability = None if device is None else device.capability
    memory = summed(first.followed.timeline, device="cuda", capability=capability, seconds=first.followed.seconds)
    found = placed(_found(command, first, memory, ranks, samples, price), micro, device, _numerics(first))
    return msgspec.structs.replace(found, seconds=time.monotonic() - began)


def estimate_script_here(
    command: Sequence[str],
    launch: Launch,
    calibration: Calibration,
    *,
    memory: int,
    batch_size: int | None = None,
    samples: int | None = None,
    price: float | None = None,
) -> TrainingEstimate:
    """Estimate a script on this machine's processor, which may hold so many bytes. Raises as ``estimate_script``."""
    began = time.monotonic()
    first = _first(launch, batch_size)
    known = summed(first.followed.timeline, device="cpu", capability=None, seconds=first.followed.seconds)
    return msgspec.structs.replace(
        _found(command, first, known, 1, samples, price),
        card=f"this machine's processor ({calibration.cpu}, threads: {calibration.threads})",
        capacity=memory,
        verdict="fits" if known.allocated <= memory else "does not fit",
        time=here_timer(calibration)(first.followed.work),
        seconds=time.monotonic() - began,
    )


def _first(launch: Launch, batch_size: int | None) -> FollowedScript:
    found = launch()
    if batch_size is None or batch_size == found.batch_size:
        return found
    if found.loader is None:
        raise UsageError(
            f"--batch-size {batch_size}: the batches of this training are not those of one DataLoader with a batch "
            f"size, so theirs is the script's own ({found.batch_size})"
        )
    return launch(batch_size)


def _limit(first: FollowedScript, ranks: int) -> int:
    """Samples that a micro-batch can have: a data set fills at least one; 0 where nobody can say but the script."""
    if first.loader is None:
        return 0
    return max(first.batch_size, (first.samples or _MOST_SAMPLES) // ranks)


def _found(
    command: Sequence[str],
    first: FollowedScript,
    memory: MemoryEstimate,
    ranks: int,
    samples: int | None,
    price: float | None,
) -> TrainingEstimate:
    """On no card yet."""
    together = first.batch_size * first.micro_batches * ranks
    once = ["the training has a single step, which was gone through: a second may need more"] * (first.steps == 1)
    return TrainingEstimate(
        workload=shlex.join([os.path.basename(command[0]), *command[1:]]),
        batch_size=first.batch_size,
        accumulation_steps=first.micro_batches,
        sample=first.followed.sample,
        ranks=ranks,
        parameters=sum(first.followed.parameters),
        setting=first.setting,
        memory=memory,
        flops=sum(first.followed.flops.values()),
        horizon=Horizon(
            samples=together,
            epoch_samples=samples or first.samples,
            epoch_from="give --samples" if (samples or first.samples) is None else "the data set's length",
            steps_from="a script does not say how long it trains",
            price=price,
            ranks=ranks,
        ),
        compiled=first.compiled,
        notes=[*first.notes, *once],
        seconds=0.0,
    )


def _numerics(first: FollowedScript) -> _Seen:
    precision = first.setting.precision
    return _Seen(precision != "float32", precision == "float16", "high" if first.tf32 else "highest")

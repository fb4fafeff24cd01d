"""The memory of a configuration of ``hotlap train``: its own step is gone through, with a batch that holds nothing.

    config ──> task     network, loss, teacher, a blank batch             ┐
           ──> Trained  optimizer, autocast, clipping, mean of the weights ┴──> one step ──> Timeline

Not in it: ``compile_model`` (compiled code keeps about as much or less), the buckets of several ranks (counted in
``fits``), validation, and of ``whole_set`` the set.
"""

from __future__ import annotations

import itertools
import time
from typing import Any, NamedTuple

import msgspec
import torch

from hotlap.estimate.eight_bit import imitated_optimizer
from hotlap.estimate.imitation import imitation
from hotlap.estimate.memory import Step, as_on, track_one
from hotlap.estimate.rates import counted
from hotlap.estimate.summing import Device
from hotlap.estimate.timeline import Kind, Timeline
from hotlap.probe.counting import Count
from hotlap.records import Work
from hotlap.train.config import TrainConfig
from hotlap.train.ranks import Ranks
from hotlap.train.step import Trained
from hotlap.workloads import Task, task

_CPU = torch.device("cpu")
#: What micro-batches after the second need, the second needed too.
_MICRO_BATCHES = 2


class Followed(NamedTuple):
    timeline: Timeline
    #: Numbers in each parameter that is trained.
    parameters: list[int]
    #: Shapes of a sample's tensors.
    sample: list[list[int]]
    #: Floating-point operations of a step with all its micro-batches.
    flops: dict[Kind, float]
    #: What else it computes and moves.
    work: Work
    seconds: float


def follow(config: TrainConfig, *, device: Device = "cuda") -> Followed:
    """Raises ``CannotBeTraced``, and ``ConfigError`` for what the training would refuse, too."""
    began = time.monotonic()
    known: dict[str, Any] = {}

    def build() -> tuple[Step, Step]:
        trains, trained, steps = _made(config)
        known["parameters"] = [each.numel() for each in trained.model.parameters() if each.requires_grad]
        known["sample"] = [list(part.shape[1:]) for part in trains.blank(1)]
        return steps

    with imitation():
        count = Count(torch)
        timeline, flops = track_one(build, **as_on(device), count=count)
    micro_batches = config.accumulation_steps / min(config.accumulation_steps, _MICRO_BATCHES)
    whole = {kind: number * micro_batches for kind, number in flops.items()}
    work = counted(count).times(micro_batches)
    return Followed(timeline, **known, flops=whole, work=work, seconds=time.monotonic() - began)


def _made(config: TrainConfig) -> tuple[Task, Trained, tuple[Step, Step]]:
    config = msgspec.structs.replace(
        config, compile_model=False, accumulation_steps=min(config.accumulation_steps, _MICRO_BATCHES)
    )
    trains = task(config, _CPU)
    trained = Trained(trains, config, Ranks(_CPU), imitated_optimizer)
    trained.model.train()
    return trains, trained, (lambda: _make_state(trained), lambda: _step(trained, trains, config))


def _make_state(trained: Trained) -> None:
    for parameter in trained.model.parameters():
        parameter.grad = torch.empty_like(parameter) if parameter.requires_grad else None
    trained.optimizer.step()
    trained.optimizer.zero_grad()
    if trained.average is not None:
        trained.average.update_parameters(trained.model)


def _step(trained: Trained, trains: Task, config: TrainConfig) -> None:
    """Number 0: a loss that is there in one step of several is there."""
    trained.step((trains.blank(config.batch_size) for _ in itertools.count()), 0)

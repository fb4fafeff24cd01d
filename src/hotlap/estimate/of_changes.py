"""The memory of a configuration with each of some changes, on one card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

from hotlap.estimate.allocator import replay
from hotlap.estimate.device import Device
from hotlap.estimate.fitting import verdict
from hotlap.estimate.summing import on_card, summed
from hotlap.estimate.trained import Followed, follow
from hotlap.records import FitOfChange, Fits
from hotlap.train.config import TrainConfig

_FLOAT_BYTES = 4
T = TypeVar("T", bound=TrainConfig)


def fits_of(
    config: TrainConfig,
    edits: Mapping[str, Mapping[str, Any]],
    device: Device,
    say: Callable[[str], None] = lambda _: None,
) -> Fits:
    """``edits``: values of keys, by the id of the change, "" for the training as it is.

    Raises:
        CannotBeTraced: what the training does depends on values.
        ConfigError: the training would refuse the configuration, too.
    """
    found = []
    for change, values in edits.items():
        say(f"estimating the memory of {change or 'the training as it is'}")
        found.append(_fit(change, follow(changed(config, values)), device))
    return Fits(card=device.name, memory=device.memory, changes=found)


def changed(config: T, values: Mapping[str, Any]) -> T:
    """With values of keys as a tuning knows them: one may stand for several of this configuration."""
    fields = {field: value for key, value in values.items() for field in config.together.get(key, (key,))}
    return msgspec.structs.replace(config, **fields)


def _fit(change: str, followed: Followed, device: Device) -> FitOfChange:
    room = device.room(_FLOAT_BYTES * sum(followed.parameters), 1)
    timeline = on_card(followed.timeline)
    held = summed(followed.timeline, device="cuda", capability=device.capability, seconds=followed.seconds)
    held = msgspec.structs.replace(held, allowances=room.allowances)
    return FitOfChange(
        change=change,
        allocated=held.allocated,
        total=held.total,
        verdict=verdict(timeline, replay(timeline), room),
    )

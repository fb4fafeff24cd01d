"""``hotlap estimate CONFIG``: the training on one card, in other settings, or on all cards of the catalogue.

config ──> follow ──> summed, verdict        the training as it is
       ──> follow, with other micro-batches  the largest that fits
       ──> follow, in other settings         checkpointing x precision, each at two micro-batches; 8 bits derived
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from hotlap.errors import UsageError
from hotlap.estimate.allocator import replay
from hotlap.estimate.at_peak import seconds_at_peak
from hotlap.estimate.device import Device
from hotlap.estimate.eight_bit import in_eight_bits
from hotlap.estimate.every_card import every_card, line_through
from hotlap.estimate.fitting import Need, Room, largest_batch, needs, reserved_within, verdict
from hotlap.estimate.summing import on_card, summed
from hotlap.estimate.timeline import Timeline
from hotlap.estimate.times import step_time
from hotlap.estimate.trained import Followed, follow
from hotlap.estimate.workspace import of_ranks
from hotlap.records import Horizon, Setting, StepTime, TrainingEstimate, Variant
from hotlap.train.config import RestorationConfig, TrainConfig, VrtSpikeConfig
from hotlap.train.config.restoration import EPOCH_SAMPLES

#: No search goes beyond: a training that fits with so many samples at once is not short of memory.
_MOST_SAMPLES = 2**16
_FLOAT_BYTES = 4

Say = Callable[[str], None]


def estimate_training(
    config: TrainConfig,
    device: Device | None,
    *,
    ranks: int = 1,
    variants: bool = False,
    ahead: Horizon | None = None,
    say: Say = lambda _: None,
) -> TrainingEstimate:
    """Estimate a configuration on a card, or on every card of the catalogue (None); ``ahead``: what there is to train.

    Raises:
        CannotBeTraced: what the training does depends on values.
        ConfigError: the training would refuse the configuration, too.
        UsageError: its micro-batch is larger than its epochs.
    """
    began = time.monotonic()
    epoch, limit = _limit(config, 1), _limit(config, ranks)
    if config.batch_size > limit:
        on_ranks = f" on {ranks} ranks, which leaves {limit} for each" if limit < epoch else ""
        raise UsageError(
            f"a micro-batch of {config.batch_size}: an epoch of {config.workload} has {epoch} samples{on_ranks}"
        )
    followed = _Followed(config, say, limit)
    here = followed(config.batch_size)
    capability = None if device is None else device.capability
    gradients = _FLOAT_BYTES * sum(here.parameters)
    known = summed(here.timeline, device="cuda", capability=capability, seconds=here.seconds)
    found = TrainingEstimate(
        workload=config.workload,
        batch_size=config.batch_size,
        accumulation_steps=config.accumulation_steps,
        sample=here.sample,
        ranks=ranks,
        parameters=sum(here.parameters),
        setting=setting_of(config),
        memory=known,
        flops=sum(here.flops.values()),
        steps=config.steps,
        compiled=config.compile_model,
        perceptual_every=perceptual_every(config),
        horizon=ahead,
        seconds=0.0,
    )
    changed: dict[str, Any]
    if device is None:
        shared = of_ranks(gradients) if ranks > 1 else []
        changed = {
            "cards": every_card(
                {batch: on_card(followed(batch).timeline) for batch in followed.two()},
                followed.limit,
                gradients,
                ranks,
                lambda card: step_time(here.work, card, config),
            ),
            "memory": msgspec.structs.replace(known, allowances=[*known.allowances, *shared]),
        }
    else:
        room, timeline = device.room(gradients, ranks), on_card(here.timeline)
        replayed = replay(timeline)
        found_verdict = verdict(timeline, replayed, room)
        changed = {
            "card": device.name,
            "capacity": device.memory,
            "verdict": found_verdict,
            "reserved": reserved_within(timeline, replayed, room, found_verdict),
            "seconds_at_peak": seconds_at_peak(here.flops, device.card, config),
            "time": step_time(here.work, device.card, config),
            "memory": msgspec.structs.replace(known, allowances=room.allowances),
            "largest": largest_batch(
                config.batch_size, followed.need(room.left("most")), room.left("most"), followed.limit
            ),
        }
        if variants:
            changed["variants"] = _variants(config, device, room, followed.limit, say)
    return msgspec.structs.replace(found, **changed, seconds=time.monotonic() - began)


class _Followed:
    """A configuration with other micro-batches, each gone through once."""

    def __init__(self, config: TrainConfig, say: Say, limit: int, *, in_words: str = "") -> None:
        self._config, self._say, self._in_words = config, say, in_words
        self._known: dict[int, Followed] = {}
        #: The largest micro-batch that the training takes.
        self.limit = limit

    def __call__(self, batch: int) -> Followed:
        if batch not in self._known:
            self._say(f"going through a step with a micro-batch of {batch}{self._in_words}")
            self._known[batch] = follow(msgspec.structs.replace(self._config, batch_size=batch))
        return self._known[batch]

    def need(self, capacity: int) -> Callable[[int], Need]:
        return needs(lambda batch: on_card(self(batch).timeline), capacity)

    def two(self) -> tuple[int, int]:
        """Micro-batches to draw a line through: the configuration's and another."""
        first = self._config.batch_size
        return first, 2 * first if 2 * first <= self.limit else max(first // 2, 1)


def _variants(config: TrainConfig, device: Device, room: Room, limit: int, say: Say) -> list[Variant]:
    found = []
    in_full = msgspec.structs.replace(config, optimizer=config.optimizer.removesuffix("8bit"))
    for changed in settings(in_full):
        setting = setting_of(changed)
        in_words = f", checkpointing {setting.checkpointing}, {setting.precision}"
        followed = _Followed(changed, say, limit, in_words=in_words)
        traced = {batch: followed(batch) for batch in followed.two()}
        least = seconds_at_peak(traced[config.batch_size].flops, device.card, changed)
        took = step_time(traced[config.batch_size].work, device.card, changed)
        timelines = {batch: each.timeline for batch, each in traced.items()}
        found.append(_variant(setting, timelines, room, limit, least, took))
        if changed.optimizer != "sgd":
            small = msgspec.structs.replace(setting, optimizer=f"{setting.optimizer}8bit")
            timelines = {batch: in_eight_bits(each.timeline, each.parameters) for batch, each in traced.items()}
            found.append(_variant(small, timelines, room, limit, least, took))
    return found


def _variant(
    setting: Setting,
    timelines: dict[int, Timeline],
    room: Room,
    limit: int,
    least: float | None,
    took: StepTime | None,
) -> Variant:
    """Of two micro-batches, the configuration's first."""
    timelines = {batch: on_card(timeline) for batch, timeline in timelines.items()}
    now = next(iter(timelines.values()))
    replayed = replay(now)
    return Variant(
        setting=setting,
        allocated=replayed.allocated,
        reserved=replayed.reserved,
        verdict=verdict(now, replayed, room),
        seconds_at_peak=least,
        time=took,
        largest=line_through(timelines).largest(room.left("most"), limit),
    )


def _checkpointing(config: TrainConfig) -> dict[str, dict[str, bool]]:
    """By its name, the keys that choose it."""
    if isinstance(config, VrtSpikeConfig):
        attn, ffn = "use_checkpoint_attn", "use_checkpoint_ffn"
        return {
            "off": {attn: False, ffn: False},
            "attention": {attn: True, ffn: False},
            "FFN": {attn: False, ffn: True},
            "both": {attn: True, ffn: True},
        }
    return {"off": {"use_checkpoint": False}, "on": {"use_checkpoint": True}}


def setting_of(config: TrainConfig) -> Setting:
    chosen = next(
        name
        for name, keys in _checkpointing(config).items()
        if all(getattr(config, key) == value for key, value in keys.items())
    )
    precision = config.mixed_precision_dtype if config.use_mixed_precision else "float32"
    return Setting(checkpointing=chosen, precision=precision, optimizer=config.optimizer)


def settings(config: TrainConfig) -> Iterator[TrainConfig]:
    for keys in _checkpointing(config).values():
        for mixed in (False, True):
            yield msgspec.structs.replace(config, use_mixed_precision=mixed, **keys)


def perceptual_every(config: TrainConfig) -> int:
    if isinstance(config, (RestorationConfig, VrtSpikeConfig)) and config.use_perceptual:
        return config.perceptual_every
    return 1


def _limit(config: TrainConfig, ranks: int) -> int:
    """Samples of a micro-batch of each rank, which an epoch has to fill at least once where the rest is dropped."""
    if not isinstance(config, RestorationConfig):
        return _MOST_SAMPLES
    return EPOCH_SAMPLES // ranks if config.drop_last else EPOCH_SAMPLES

"""``hotlap estimate CONFIG --gpu cpu``: this machine's processor, whose rates were measured, as if it were a card.

So an estimate can be compared with a step that anybody can measure. Memory is that of tensors alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from hotlap.estimate.on_cards import Say, perceptual_every, setting_of, settings
from hotlap.estimate.summing import summed
from hotlap.estimate.times import here
from hotlap.estimate.trained import Followed, follow
from hotlap.records import Calibration, Horizon, Setting, TrainingEstimate, Variant, Verdict
from hotlap.train.config import TrainConfig


def estimate_here(
    config: TrainConfig,
    calibration: Calibration,
    *,
    memory: int,
    variants: bool = False,
    ahead: Horizon | None = None,
    say: Say = lambda _: None,
) -> TrainingEstimate:
    """Estimate a configuration on this machine's processor, which may hold so many bytes. Raises as ``follow``."""
    began, timer = time.monotonic(), here(calibration)
    say(f"going through a step with a micro-batch of {config.batch_size}")
    found = follow(config, device="cpu")
    known = summed(found.timeline, device="cpu", capability=None, seconds=found.seconds)
    others = list(_variants(config, calibration, memory, say)) if variants else []
    return TrainingEstimate(
        workload=config.workload,
        batch_size=config.batch_size,
        accumulation_steps=config.accumulation_steps,
        sample=found.sample,
        ranks=1,
        parameters=sum(found.parameters),
        setting=setting_of(config),
        memory=known,
        flops=found.work.flops,
        steps=config.steps,
        card=f"this machine's processor ({calibration.cpu}, threads: {calibration.threads})",
        capacity=memory,
        verdict=_verdict(known.allocated, memory),
        compiled=config.compile_model,
        perceptual_every=perceptual_every(config),
        time=timer(found.work),
        horizon=ahead,
        variants=others,
        seconds=time.monotonic() - began,
    )


def _variants(config: TrainConfig, calibration: Calibration, memory: int, say: Say) -> Iterator[Variant]:
    timer = here(calibration)
    for changed in settings(config):
        setting: Setting = setting_of(changed)
        say(f"going through a step, checkpointing {setting.checkpointing}, {setting.precision}")
        found: Followed = follow(changed, device="cpu")
        allocated = summed(found.timeline, device="cpu", capability=None, seconds=found.seconds).allocated
        yield Variant(
            setting=setting,
            allocated=allocated,
            reserved=allocated,
            verdict=_verdict(allocated, memory),
            time=timer(found.work),
            largest=None,
        )


def _verdict(allocated: int, memory: int) -> Verdict:
    return "fits" if allocated <= memory else "does not fit"

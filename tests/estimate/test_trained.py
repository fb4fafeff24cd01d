"""The memory of a configuration of ``hotlap train``: it is that of the training's own step."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
import torch

from hotlap.estimate.eight_bit import imitated_optimizer, in_eight_bits
from hotlap.estimate.imitation import imitation
from hotlap.estimate.memory import Step, as_on, track
from hotlap.estimate.summing import on_card, summed
from hotlap.estimate.timeline import peak
from hotlap.estimate.trained import follow
from hotlap.train.config import AptConfig, RestorationConfig, TrainConfig, VrtSpikeConfig
from hotlap.train.ranks import Ranks
from hotlap.train.step import Trained
from hotlap.workloads import Batch, task

CPU = torch.device("cpu")
RESTORATION = RestorationConfig(patch_size=16, batch_size=2, base_channels=8, num_blocks=1)
APT = AptConfig(d_model=32, heads=2, num_layers=1, feed_forward=64, max_length=24, vocabulary_size=500, batch_size=3)
VRT = VrtSpikeConfig(
    depths=[1] * 8, embed_dims=[12, 12], vrt_heads=2, clip_length=2, voxel_bins=4, patch_size=16, fuse_heads=2
)


def whole_steps(config: TrainConfig) -> Step:
    """Of the training itself, as the trainer makes them."""
    trains = task(config, CPU)
    trained = Trained(trains, config, Ranks(CPU), imitated_optimizer)
    trained.model.train()

    def blank() -> Iterator[Batch]:
        while True:
            yield tuple(part.zero_() for part in trains.blank(config.batch_size))

    batches = blank()
    return lambda: trained.step(batches, 0)


@pytest.mark.parametrize(
    "config",
    [
        msgspec.structs.replace(RESTORATION, use_perceptual=True, perceptual_backbone="random", perceptual_every=3),
        msgspec.structs.replace(APT, accumulation_steps=2, use_checkpoint=True),
    ],
    ids=lambda config: config.workload,
)
def test_as_much_as_the_training_with_its_own_tensors(config: TrainConfig) -> None:
    """Imitated and gone through once, it has the peak of two steps that were really made."""
    followed = peak(follow(config, device="cpu").timeline).size
    real = peak(track(lambda: whole_steps(config), **as_on("cpu"))).size
    assert followed == pytest.approx(real, rel=0.01)


@pytest.mark.parametrize(
    "config",
    [
        msgspec.structs.replace(RESTORATION, ema_decay=0.9, optimizer="adam8bit", channels_last=True),
        msgspec.structs.replace(APT, accumulation_steps=2, use_mixed_precision=True, mixed_precision_dtype="float16"),
    ],
    ids=lambda config: config.workload,
)
def test_one_step_stands_for_two(config: TrainConfig) -> None:
    """On a card, too: what is allocated is the same, and what is reserved nearly."""
    once = summed(follow(config).timeline, device="cuda", capability=None, seconds=0.0)
    with imitation():
        timeline = track(lambda: whole_steps(config), **as_on("cuda"))
    twice = summed(timeline, device="cuda", capability=None, seconds=0.0)
    assert once.allocated == pytest.approx(twice.allocated, rel=0.01)
    assert once.reserved == pytest.approx(twice.reserved, abs=4 * 2**20)


def test_operations_of_a_whole_step() -> None:
    """All micro-batches count: each has as many."""
    once = follow(msgspec.structs.replace(APT, accumulation_steps=1)).flops
    assert once["convolution"] == 0
    assert once["product"] > 0
    assert follow(msgspec.structs.replace(APT, accumulation_steps=5)).flops["product"] == 5 * once["product"]


def test_eight_bits_are_derived_as_they_are_followed() -> None:
    """Putting the small state in the place of Adam's has the peak of a training with the small state."""
    followed = follow(APT)
    derived = peak(on_card(in_eight_bits(followed.timeline, followed.parameters))).size
    small = msgspec.structs.replace(APT, optimizer="adam8bit")
    assert derived == pytest.approx(peak(on_card(follow(small).timeline)).size, rel=0.002)
    assert derived < peak(on_card(followed.timeline)).size


def test_vrt_spike_needs_no_data_set() -> None:
    """The shapes are those of the configuration, and what is checkpointed is computed again."""
    followed = follow(msgspec.structs.replace(VRT, use_checkpoint_attn=True))
    assert followed.sample == [[2, 3, 16, 16], [2, 4, 16, 16], [2, 3, 16, 16]]
    assert any(block.phase == "recompute" for block in followed.timeline.blocks)

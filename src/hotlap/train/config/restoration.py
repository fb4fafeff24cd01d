"""The keys of the restoration training."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from hotlap.errors import ConfigError
from hotlap.train.config.base import (
    Count,
    Patch,
    PatchByEpoch,
    PositiveOrZero,
    Text,
    TrainConfig,
    check_sizes,
)

#: Samples in an epoch: patches are drawn at random, so that an epoch is a unit of shuffling, not of seeing everything.
EPOCH_SAMPLES = 1024
Batch = Annotated[int, Meta(ge=1, le=EPOCH_SAMPLES, description=f"a whole number from 1 to {EPOCH_SAMPLES}")]


class RestorationConfig(TrainConfig, frozen=True, kw_only=True):
    metrics: ClassVar[tuple[str, ...]] = ("psnr", "ssim")

    workload: Literal["restoration"] = "restoration"
    task: Literal["denoise", "super_resolution"] = "denoise"
    #: Of super-resolution.
    scale: Literal[2, 4] = 2
    #: A folder of pictures; None takes the photographs in the scikit-image and scikit-learn packages.
    data_dir: Text | None = None
    output_dir: Text = "runs/restoration"
    batch_size: Batch = 16
    #: Pixels of the square target patch, or the pixels from each epoch on.
    patch_size: Patch | PatchByEpoch = 64
    base_channels: Count = 32
    num_blocks: Count = 4
    #: Activation checkpointing of every block.
    use_checkpoint: bool = False
    #: Standard deviation of the noise, on the scale of 0 to 255.
    noise_sigma: PositiveOrZero = 25.0
    use_perceptual: bool = False
    #: Where the features come from (see ``workloads.perceptual``).
    perceptual_backbone: Literal["random", "efficientnet_lite0", "vgg16", "vgg19"] = "random"
    perceptual_weight: PositiveOrZero = 0.1
    #: Use the perceptual term in one step of so many.
    perceptual_every: Count = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes("patch_size", self.patch_size)
        sizes = [self.patch_size] if isinstance(self.patch_size, int) else self.patch_size.values()
        for size in sizes:
            if self.task == "super_resolution" and size % self.scale:
                multiple = size + self.scale - size % self.scale
                raise ConfigError(
                    f"patch_size is {size}: super_resolution divides the patch by {self.scale}, so choose a multiple, "
                    f"for example {multiple}"
                )

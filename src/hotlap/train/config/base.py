"""What every reference training can be told: a frozen, validated set of keys, and how the file spells them.

A key has one name here (``batch_size``), by which the trainer and ``hotlap tune`` speak of it, and one path in the
file, which is the name itself unless the training's own documents spell it otherwise (``TRAIN.BATCH_SIZE``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from hotlap.errors import ConfigError, did_you_mean
from hotlap.train.config.goals import GOALS, HIT_RATE, THROUGHPUT
from hotlap.workers import usable_cores

Count = Annotated[int, Meta(ge=1, description="a whole number of at least 1")]
CountOrZero = Annotated[int, Meta(ge=0, description="a whole number of at least 0 (0 = never or none)")]
Seed = Annotated[int, Meta(ge=0, lt=2**32, description="a whole number from 0 to 4294967295")]
Positive = Annotated[float, Meta(gt=0, description="a number above 0")]
PositiveOrZero = Annotated[float, Meta(ge=0, description="a number of at least 0")]
BelowOne = Annotated[float, Meta(ge=0, lt=1, description="a number from 0 up to, but not including, 1")]
Patch = Annotated[int, Meta(ge=8, le=1024, description="a whole number of pixels from 8 to 1024")]
#: The rule of "auto" for workers where nothing is measured: a share of the cores, and the least for each rank.
AUTO_SHARE, AUTO_LEAST = 0.8, 4
#: One size, or the size from each epoch on: {0: 64, 10: 128}.
PatchByEpoch = dict[Annotated[int, Meta(ge=0)], Patch]
Text = Annotated[str, Meta(min_length=1, description="a text")]


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys that all trainings share, with what they are when the file does not say."""

    #: Paths in the file of the keys that it spells otherwise.
    paths: ClassVar[Mapping[str, str]] = {}
    #: Keys that stand for several others, which have one value: a change of the first sets all of them.
    together: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    #: What its validation tells.
    metrics: ClassVar[tuple[str, ...]] = ()

    workload: str
    output_dir: Text = "runs/training"
    seed: Seed = 0
    #: Optimizer steps; the training ends with them or with ``epochs``, whichever comes first.
    steps: CountOrZero = 1000
    epochs: CountOrZero = 0
    #: Samples in a micro-batch of one rank; the effective batch is batch_size * accumulation_steps * ranks.
    batch_size: Count = 8
    accumulation_steps: Count = 1
    lr: Positive = 1e-3
    weight_decay: PositiveOrZero = 0.0
    #: Of SGD; the Adam family ignores it.
    momentum: BelowOne = 0.9
    #: Those in 8 bits keep their state so, and need bitsandbytes or torchao.
    optimizer: Literal["sgd", "adam", "adamw", "adam8bit", "adamw8bit"] = "adam"
    optimizer_implementation: Literal["auto", "for-loop", "foreach", "fused"] = "auto"
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup_steps: CountOrZero = 0
    #: Largest norm of the gradient; 0 does not clip.
    grad_clip: PositiveOrZero = 1.0
    #: Share of the old weights in their running mean, which is validated and kept; 0: none is kept.
    ema_decay: BelowOne = 0.0
    #: Validations in a row without a better one after which the training ends; 0: it goes on.
    patience: CountOrZero = 0
    use_mixed_precision: bool = False
    mixed_precision_dtype: Literal["bfloat16", "float16"] = "bfloat16"
    #: Of the gradients of float16, at first: 65536 is PyTorch's, 1024 a careful one.
    grad_scale: Positive = 65536.0
    #: Of float32 products: "high" is TF32 on a GPU, "medium" bfloat16 inside on a CPU.
    matmul_precision: Literal["highest", "high", "medium"] = "highest"
    channels_last: bool = False
    compile_model: bool = False
    compile_mode: Literal["default", "reduce-overhead", "max-autotune"] = "default"
    #: Choose each convolution on a GPU by trying.
    cudnn_benchmark: bool = False
    #: Of an operator's work on a CPU; 0 leaves it to torch.
    threads: CountOrZero = 0
    #: Collect garbage once in so many steps; 0 leaves it to Python.
    collect_every: CountOrZero = 0
    #: Freed memory stays with the process instead of going back to the kernel (glibc; for a CPU).
    keep_freed_memory: bool = False
    #: Processes that prepare batches for each rank; "auto": as many as keep up, by what the first batches take.
    num_workers: CountOrZero | Literal["auto"] = 0
    #: Batches that each worker keeps ready; ignored without workers.
    prefetch_factor: Count = 2
    #: Ignored without workers.
    persistent_workers: bool = False
    #: Ignored without a GPU.
    pin_memory: bool = False
    #: The rest of an epoch that fills no step is left out; else it makes smaller micro-batches.
    drop_last: bool = True
    #: Steps between validations; 0 validates at the end only.
    validate_every: CountOrZero = 200
    #: Steps between checkpoints; 0 saves at the end only.
    save_every: CountOrZero = 500
    log_every: Count = 20
    #: Steps between looks at memory, processor and GPU, which go into the log; 0: never.
    health_every: CountOrZero = 100
    device: Literal["auto", "cpu", "cuda"] = "auto"
    #: A checkpoint to go on from.
    resume: Text | None = None
    #: What `hotlap verify` asks of the training, by the name of a line of its list.
    goals: dict[str, float] = {}

    def __post_init__(self) -> None:
        if not self.steps and not self.epochs:
            raise ConfigError(f"{self.path('steps')} and {self.path('epochs')} are both 0: say how long to train")
        if self.steps and self.warmup_steps >= self.steps:
            raise ConfigError(
                f"{self.path('warmup_steps')} is {self.warmup_steps} and {self.path('steps')} is {self.steps}: the "
                "warm-up must end before the training does, so lower the one or raise the other"
            )
        known = [*GOALS, THROUGHPUT, HIT_RATE, *self.metrics]
        for name in self.goals:
            if name not in known:
                raise ConfigError(
                    f"{self.path('goals')}: there is no {name!r} to check{did_you_mean(name, known)}: take it out, or "
                    f"name one of {', '.join(sorted(known))}"
                )
        if self.patience and not self.validate_every:
            raise ConfigError(
                f"{self.path('patience')} is {self.patience}, and {self.path('validate_every')} 0 validates at the end "
                "only: set how often, or patience to 0"
            )
        if self.optimizer.endswith("8bit") and self.optimizer_implementation != "auto":
            raise ConfigError(
                f"{self.path('optimizer_implementation')} is {self.optimizer_implementation}, and {self.optimizer} has "
                "only its own: set it to auto"
            )

    @classmethod
    def path(cls, key: str) -> str:
        """Where the file has a key, as in "TRAIN.BATCH_SIZE"."""
        return cls.paths.get(key, key)

    @property
    def fp16(self) -> bool:
        return self.use_mixed_precision and self.mixed_precision_dtype == "float16"

    def workers(self, ranks: int, cores: int | None = None) -> int:
        """Return the processes that prepare batches for each of so many ranks, on this machine or one of ``cores``.

        "auto", before anything is measured, is 80 % of the cores, divided among the ranks, at least 4 for each; but
        never more in all than there are cores. In the training it is measured (``train.data``).
        """
        if self.num_workers != "auto":
            return self.num_workers
        cores = cores or usable_cores()
        return min(max(int(AUTO_SHARE * cores) // ranks, AUTO_LEAST), cores // ranks)

    def known(self) -> dict[str, Any]:
        """Keys and values as `hotlap tune` knows them."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        for name, parts in self.together.items():
            first, *others = (values[part] for part in parts)
            if all(other == first for other in others):
                values[name] = first
        return values | {"steps": self.steps or None, "num_workers": self.workers(1)}


def size_at(size: int | PatchByEpoch, epoch: int) -> int:
    """The patch size in an epoch, of one size or of sizes by epoch, the first of which is for epoch 0."""
    if isinstance(size, int):
        return size
    return size[max(first for first in size if first <= epoch)]


def check_sizes(path: str, size: int | PatchByEpoch) -> None:
    """Raises ConfigError where sizes by epoch do not begin with the first one."""
    if not isinstance(size, int) and 0 not in size:
        raise ConfigError(f"{path} is {size}, which says nothing of epoch 0: begin with it, as in {{0: 64, 10: 128}}")

"""The keys of the APT training on HLBD."""

from __future__ import annotations

from typing import ClassVar, Literal

from hotlap.errors import ConfigError
from hotlap.train.config.base import BelowOne, Count, CountOrZero, Positive, Text, TrainConfig


class AptConfig(TrainConfig, frozen=True, kw_only=True):
    metrics: ClassVar[tuple[str, ...]] = ("exact_match", "character_error_rate", "training_exact_match")

    workload: Literal["apt"] = "apt"
    #: A file in one of HLBD's formats; None makes pairs of the names in the emoji package.
    data_file: Text | None = None
    output_dir: Text = "runs/apt"
    #: Of the emoji package's; six pairs each.
    concepts: Count = 110
    #: Pairs that are held out.
    held_out: Count = 60
    steps: CountOrZero = 0
    epochs: CountOrZero = 50
    batch_size: Count = 4
    accumulation_steps: Count = 8
    lr: Positive = 5e-5
    schedule: Literal["constant", "cosine"] = "constant"
    d_model: Count = 256
    #: Of the encoder, and again of the decoder.
    num_layers: Count = 3
    heads: Count = 8
    feed_forward: Count = 1024
    dropout: BelowOne = 0.1
    #: Rows of the embedding, at least: those beyond the characters that there are cost time and are never right.
    vocabulary_size: CountOrZero = 0
    #: Most tokens of a sequence.
    max_length: Count = 64
    #: Else to the longest of the batch.
    pad_to_max_length: bool = True
    #: Sequences of like length in a batch.
    group_by_length: bool = False
    #: The whole set is one tensor on the device; no workers then.
    whole_set: bool = False
    #: Activation checkpointing of every layer.
    use_checkpoint: bool = False
    #: Rank of DBC-DAC's approximation of each gradient; 0: off.
    dac_rank: CountOrZero = 0
    #: Beams of decoding when validating; 1: greedy.
    beams: Count = 1
    validate_every: CountOrZero = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_model % self.heads:
            raise ConfigError(f"d_model is {self.d_model}, which heads ({self.heads}) does not divide: choose another")
        if self.channels_last:
            raise ConfigError("channels_last is true, which is for pictures: set it to false")
        if self.whole_set and self.workers(1):
            raise ConfigError(
                f"whole_set is true and num_workers is {self.num_workers}: nothing is left for workers to fetch, so "
                "set num_workers to 0"
            )
        if self.whole_set and self.group_by_length:
            raise ConfigError("whole_set and group_by_length are both true: one of them makes the batches, choose it")

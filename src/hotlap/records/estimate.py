"""What the data side of a training takes of a node's memory, counted before it runs. Sizes are bytes."""

from __future__ import annotations

from typing import Literal

import msgspec

from hotlap.records.effect import SCHEMA


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor or array in a sample."""

    shape: list[int]
    dtype: str = "float32"


class DataPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked about: a set, what fetches it, and what keeps it."""

    samples: int
    #: A sample as it is kept in memory, and as it comes to a batch, where that is another thing (a crop).
    sample: list[Part]
    in_batch: list[Part] | None = None
    batch_size: int = 1
    #: Of each rank.
    workers: int = 0
    #: Batches that each worker keeps ready.
    prefetch: int = 2
    ranks: int = 1
    #: Of the node, or of each process that fetches samples; 0: none.
    cache: int = 0
    cache_each: bool = False
    #: Of the node.
    memory: int
    #: Whether it is what a configuration of ``hotlap train`` says, whose keys then name what to change.
    configured: bool = False


Verdict = Literal["fits", "tight", "does not fit"]
RemedyKind = Literal["one cache", "a cache", "smaller cache", "compact", "fewer batches"]


class Remedy(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the plan together with those before it, and what the data side then comes to."""

    kind: RemedyKind
    plan: DataPlan
    worst: int
    #: Of the samples, that a cache holds.
    cached_share: float


class DataEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """What follows from a plan."""

    schema: int = SCHEMA
    plan: DataPlan
    sample_bytes: int
    set_bytes: int
    #: Processes that fetch samples: all workers, or the ranks where there are none.
    processes: int
    #: How many caches there are, and the most that one and all of them come to hold.
    caches: int
    cache_bytes: int
    caches_bytes: int
    cached_share: float
    #: Epochs after which each of several caches is full, where each epoch deals the samples anew; None: one is enough.
    full_after: float | None
    #: Batches that are ready, those whose samples are put together, one that each rank trains on; and their bytes.
    batches: int
    batches_bytes: int
    #: The most that a process that fetches comes to hold: its cache and its batches.
    process_bytes: int
    worst: int
    verdict: Verdict
    remedies: list[Remedy] = []

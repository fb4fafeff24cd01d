"""What is known about each rank of a distributed training."""

from __future__ import annotations

import msgspec


class DataParallel(msgspec.Struct, frozen=True, kw_only=True):
    """What a rank's ``DistributedDataParallel`` says of itself. Figures of several modules are added up."""

    #: How many such modules there are.
    models: int = 1
    #: "gloo", "nccl", ...
    backend: str | None = None
    #: Bytes of all gradients of the first module, and of its buckets in the order in which they are reduced.
    parameter_bytes: int | None = None
    buckets: list[int] = []
    find_unused_parameters: bool = False
    static_graph: bool = False
    gradient_as_bucket_view: bool = False
    comm_hook: str | None = None
    #: How often backward ran, and how often it synchronised gradients.
    backwards: int = 0
    syncs: int = 0
    #: Steps in which DDP's own timers were read, and the medians of what they said: seconds of reducing that backward
    #: waited for, and seconds that ran beside its computing. On a GPU these are the device's.
    looks: int = 0
    exposed: float | None = None
    overlapped: float | None = None
    #: Bytes of parameters that a forward did not use, the most of any look; None when nobody looked.
    unused: int | None = None
    #: Seconds after a forward to look for such parameters (median).
    search_seconds: float | None = None


class Rank(msgspec.Struct, frozen=True, kw_only=True):
    """One rank: its last steps, column by column. A step that was looked at from close by is left out."""

    rank: int
    data_parallel: DataParallel | None = None
    #: Indexes of the steps; the columns below have an entry for each.
    steps: list[int] = []
    walls: list[float] = []
    #: Seconds by leaf phase; a phase that a step has not is 0.
    phases: dict[str, list[float]] = {}
    micro_batches: list[int] = []
    #: None where they could not be seen.
    samples: list[int | None] = []


class RankMeans(msgspec.Struct, frozen=True, kw_only=True):
    """A rank's mean step over the steady steps that all ranks have a record of, in seconds."""

    rank: int
    step: float
    phases: dict[str, float]
    #: Waiting for the other ranks, and reducing beside the computing of a backward; None where nobody measured it.
    sync_exposed: float | None = None
    sync_overlapped: float | None = None
    samples: float | None = None

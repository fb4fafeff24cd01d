"""What is known about the memory of a run. Sizes are bytes; missing is ``None``."""

from __future__ import annotations

from typing import Literal

import msgspec


class MemoryAccount(msgspec.Struct, frozen=True, kw_only=True):
    """What the memory of one step is made of, on the device of the model. A storage counts once."""

    step: int
    device: str
    parameters: int
    buffers: int
    #: At their largest: after a backward.
    gradients: int
    optimizer: int
    #: What modules were called with from outside; None where no call could be seen.
    inputs: int | None = None
    #: What autograd kept for a backward, without the above; None where this torch does not show it.
    activations: int | None = None
    #: Bytes in use ``before`` the step and when ``forward``, ``backward`` and ``optimizer`` were over: allocated on a
    #: GPU, resident in the process on the CPU.
    moments: dict[str, int] = {}
    #: Of torch's allocator on a GPU, since the process began.
    reserved: int | None = None
    inactive_split: int | None = None
    retries: int | None = None
    #: ``retries`` as they were at the first step that was looked at.
    first_step: int | None = None
    first_retries: int | None = None
    #: What the GPU has.
    total: int | None = None


class ResidentPoint(msgspec.Struct, frozen=True, kw_only=True):
    """The memory of the training process after ``i`` steps."""

    i: int
    bytes: int
    #: Of these, shared with files and other processes.
    shared: int
    #: Allocated on the GPU.
    device: int | None = None
    #: Of the tensors that modules were called with from outside in the step that followed; None where none was seen.
    inputs: int | None = None


class GraphCount(msgspec.Struct, frozen=True, kw_only=True):
    """Autograd graphs that the script held after ``i`` steps, between two steps."""

    i: int
    tensors: int
    nodes: int


Role = Literal["trainer", "worker", "other"]


class ProcessMemory(msgspec.Struct, frozen=True, kw_only=True):
    pid: int
    parent: int
    rss: int
    #: Shared pages are divided among those who share them.
    pss: int
    #: Private pages alone.
    uss: int
    #: Of ``pss``, what no file backs: it can only be swapped out.
    held: int | None = None
    swap: int = 0
    role: Role = "other"


class MemorySample(msgspec.Struct, frozen=True, kw_only=True):
    """Every process of the training, seen from outside at ``t`` (monotonic seconds)."""

    t: float
    processes: list[ProcessMemory]


class HeldType(msgspec.Struct, frozen=True, kw_only=True):
    """Python objects of one class."""

    type: str
    count: int
    bytes: int


class OwnCache(msgspec.Struct, frozen=True, kw_only=True):
    """A cache that a dataset keeps for itself, in every process that fetches."""

    #: Class and attribute or method.
    name: str
    kind: Literal["dict", "list", "lru_cache"]
    #: In it when the loader started, and their bytes; None where they were not counted.
    items: int
    bytes: int | None = None
    #: Items that it may hold; None where nothing limits it.
    most: int | None = None


class HeldByDataset(msgspec.Struct, frozen=True, kw_only=True):
    """What can be reached from a dataset when its loader starts, before there are workers."""

    workers: int
    #: "fork", "spawn" or "forkserver"; None without workers.
    start_method: str | None = None
    #: Python objects, their own bytes, and the classes with the most of them.
    objects: int
    bytes: int
    types: list[HeldType] = []
    #: Memory of tensors and arrays, and what of it processes share anyway.
    arrays: int
    array_bytes: int
    shared_bytes: int = 0
    #: Whether all was reached.
    complete: bool = True
    #: Bytes that a worker is sent which is not forked, without tensors; None where that is not known. Whether that is
    #: all, or there was no time for the rest.
    pickled: int | None = None
    pickled_whole: bool = True
    caches: list[OwnCache] = []
    #: What the count took.
    seconds: float


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """The memory of a run: of one step, over the steps, and of all processes over time."""

    account: MemoryAccount | None = None
    points: list[ResidentPoint] = []
    graphs: list[GraphCount] = []
    samples: list[MemorySample] = []
    #: Of the dataset that trains, where that was asked for.
    dataset: HeldByDataset | None = None


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """Memory that grows steadily with the steps."""

    #: Bytes a step: Theil-Sen over the points after warm-up, and the least and most of four parts of them.
    slope: float
    low: float
    high: float
    #: Between which steps, and by how much.
    start: int
    end: int
    bytes: int
    #: Until the limit is reached at this pace; None where the limit is not known.
    steps_left: int | None = None
    #: Whether it goes with inputs that grow over these steps: then it ends where they stop to.
    with_inputs: bool = False


class MemoryPart(msgspec.Struct, frozen=True, kw_only=True):
    """A category of the account, ``other`` last."""

    name: str
    bytes: int
    #: Of the peak, 0 to 1.
    share: float


class MemoryReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is concluded about memory."""

    device: str | None = None
    parts: list[MemoryPart] = []
    #: The largest of the moments of the step that was looked at, and the phase at whose end it was.
    peak: int | None = None
    peak_phase: str | None = None
    #: The last sample in which the training was seen, by role: how many processes, and their bytes.
    trainer: ProcessMemory | None = None
    workers: int = 0
    workers_rss: int = 0
    workers_pss: int = 0
    workers_uss: int = 0
    swap: int = 0
    growth: Growth | None = None
    device_growth: Growth | None = None
    #: How the private memory of the workers grows, a sentence; None where it does not.
    workers_growth: str | None = None
    #: What the dataset holds, and what its workers come to have of that, a sentence each; empty where nobody asked.
    dataset: HeldByDataset | None = None
    dataset_said: list[str] = []

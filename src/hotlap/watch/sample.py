"""What one look at a training and its machine saw. Times are seconds, sizes bytes; what cannot be read is ``None``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from hotlap.records import SCHEMA


class GpuProcess(msgspec.Struct, frozen=True, kw_only=True):
    pid: int
    memory: int | None = None
    #: Per cent of the time in which a kernel of this process ran.
    utilization: float | None = None
    #: Whether it belongs to the training that is watched.
    watched: bool = False


class MigInstance(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a card with memory of its own."""

    index: int
    memory_used: int | None = None
    memory_total: int | None = None
    processes: list[GpuProcess] | None = None


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """As the driver says. A utilization is the share of the time in which any kernel ran: no measure of speed."""

    index: int
    name: str | None = None
    uuid: str | None = None
    #: Per cent.
    utilization: float | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    #: Watts.
    power: float | None = None
    power_limit: float | None = None
    #: MHz, of the multiprocessors.
    clock: int | None = None
    clock_max: int | None = None
    #: Degrees Celsius.
    temperature: int | None = None
    #: Why the clocks are held back; empty where they are not.
    throttled: list[str] | None = None
    processes: list[GpuProcess] | None = None
    mig: list[MigInstance] = []
    #: The driver has lost it: it fell off the bus, or must be reset.
    lost: bool = False
    #: Why a figure is not there, by its name.
    missing: dict[str, str] = {}

    @property
    def all_processes(self) -> list[GpuProcess]:
        """Those of its parts, where they tell: the divided card may name the same ones."""
        parts = [instance.processes for instance in self.mig if instance.processes is not None]
        return [process for part in parts for process in part] if parts else list(self.processes or [])


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    #: Per cent of the time of all cores, since the last look.
    cpu: float | None = None
    #: Per cent of it in which a core had nothing to do but wait for a disk.
    disk_wait: float | None = None
    cores: int
    memory_used: int
    memory_total: int
    #: Bytes a second.
    disk_read: float | None = None
    disk_write: float | None = None
    net_received: float | None = None
    net_sent: float | None = None


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """A process that prepares batches."""

    pid: int
    #: Cores that it kept busy.
    cpu: float | None = None


class Processes(msgspec.Struct, frozen=True, kw_only=True):
    """The processes of the training: the one that was found, and all that came from it."""

    count: int
    #: Cores that they kept busy, and that the main thread of the (first) training process did.
    cpu: float | None = None
    main_thread: float | None = None
    #: Shared pages are divided among those who share them; of that, what no file backs; what one process alone has;
    #: what is swapped out.
    pss: int | None = None
    held: int | None = None
    uss: int | None = None
    swap: int | None = None
    #: Of the control group with the least left: what it uses, without files that it could give back, and its limit.
    group_used: int | None = None
    group_limit: int | None = None
    #: Bytes a second that reached a disk, or came from one.
    disk_read: float | None = None
    disk_write: float | None = None
    workers: list[Worker] = []
    #: Whether the driver for CUDA is loaded in one of them.
    cuda: bool = False


class Steps(msgspec.Struct, frozen=True, kw_only=True):
    """Of the last steps, as the probe recorded them (of rank 0)."""

    #: Steps that are over.
    done: int
    #: Of these many are the means below.
    steps: int
    #: Without those that the probe looked at from close by.
    step_seconds: float | None = None
    phases: dict[str, float] = {}
    samples_per_second: float | None = None
    loss: float | None = None
    #: The step that the training's own output was at last, where it says of how many.
    printed: int | None = None
    #: Steps of the whole training, and seconds until they are over.
    total: int | None = None
    seconds_left: float | None = None
    #: Since the last step was over.
    silence: float | None = None
    #: The step since which no loss was a finite number; None where the last one was. The record may have been read from
    #: there on only: then it may have begun before.
    not_finite_since: int | None = None
    not_finite_before: bool = False
    ranks: int = 1

    @property
    def data_wait(self) -> float | None:
        return self.phases.get("data_wait", 0.0) if self.phases else None


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    #: The same as long as it is the same trouble: ``gpu 0``.
    about: str
    text: str
    #: It is about cards of which it is a guess that the training computes on them.
    guess: bool = False


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    k: Literal["sample"] = "sample"
    schema: int = SCHEMA
    #: UNIX time, and since the watch began.
    time: float
    elapsed: float
    machine: Machine
    gpus: list[Gpu] = []
    #: The cards of the training where the driver does not tell which they are, by number (see ``watch.guess``).
    guessed: list[int] = []
    processes: Processes | None = None
    steps: Steps | None = None
    warnings: list[Trouble] = []
    #: What cannot be seen here, and why.
    missing: list[str] = []


def computing(gpus: Sequence[Gpu]) -> list[Gpu]:
    """The cards on which the driver names a process of the training."""
    return [gpu for gpu in gpus if any(process.watched for process in gpu.all_processes)]


def in_use(sample: Sample) -> list[Gpu]:
    """The cards on which the training computes, by the driver's word or by a guess."""
    return computing(sample.gpus) or [gpu for gpu in sample.gpus if gpu.index in sample.guessed]

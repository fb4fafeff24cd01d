"""What a watch has seen, when it is over: means, peaks, and a verdict against each goal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from hotlap.records import SCHEMA
from hotlap.report import text
from hotlap.train.config.goals import CRITICAL_MEMORY, DATA_SHARE, GOALS
from hotlap.watch.record import Sums
from hotlap.watch.sample import Gpu, Sample, computing, in_use

#: Looks from which on a mean is a verdict.
_LOOKS = 3


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    mean: float
    peak: float
    #: Looks that had it.
    n: int


class GpuSummary(msgspec.Struct, frozen=True, kw_only=True):
    index: int
    name: str | None = None
    #: Whether the training computed on it, in any look.
    watched: bool
    #: Per cent, bytes, watts.
    utilization: Figure | None = None
    memory_used: Figure | None = None
    memory_total: int | None = None
    power: Figure | None = None
    #: Share of the looks in which its clocks were held back, by reason.
    throttled: dict[str, float] = {}
    lost: bool = False


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    verdict: Literal["ok", "failed", "n/a"]
    evidence: str


class Warned(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    #: Seconds into the watch at which it was said first, and last.
    first: float
    last: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    k: Literal["summary"] = "summary"
    schema: int = SCHEMA
    name: str
    pid: int
    command: list[str]
    seconds: float
    looks: int
    #: Why the watch is over, and what became of the training if that is known.
    ended: Literal["training", "time", "stopped"]
    outcome: str | None = None
    reason: str | None = None
    cores: int
    #: Per cent, cores, bytes.
    cpu: Figure | None = None
    processes_cpu: Figure | None = None
    memory_used: Figure | None = None
    memory_total: int
    pss: Figure | None = None
    gpus: list[GpuSummary] = []
    #: Of the steps that began since the watch did; None where the training is not recorded.
    steps: int | None = None
    step_seconds: float | None = None
    phases: dict[str, float] = {}
    samples_per_second: float | None = None
    loss: float | None = None
    verdicts: list[Verdict] = []
    warnings: list[Warned] = []
    missing: list[str] = []


class _Mean:
    def __init__(self) -> None:
        self._sum, self._peak, self._n = 0.0, float("-inf"), 0

    def add(self, value: float | None) -> None:
        if value is not None:
            self._sum, self._peak, self._n = self._sum + value, max(self._peak, value), self._n + 1

    def figure(self) -> Figure | None:
        return Figure(mean=self._sum / self._n, peak=self._peak, n=self._n) if self._n else None


class _GpuTally:
    def __init__(self) -> None:
        self.utilization, self.memory, self.power = _Mean(), _Mean(), _Mean()
        self.throttled: dict[str, int] = {}
        self.told = 0
        self.last: Gpu | None = None

    def add(self, gpu: Gpu) -> None:
        self.utilization.add(gpu.utilization)
        self.memory.add(gpu.memory_used)
        self.power.add(gpu.power)
        self.told += gpu.throttled is not None
        for reason in gpu.throttled or ():
            self.throttled[reason] = self.throttled.get(reason, 0) + 1
        if self.last is None or not gpu.lost:
            self.last = gpu
        else:
            self.last = msgspec.structs.replace(self.last, lost=True)

    def summary(self, *, watched: bool) -> GpuSummary:
        assert self.last is not None
        return GpuSummary(
            index=self.last.index,
            name=self.last.name,
            watched=watched,
            utilization=self.utilization.figure(),
            memory_used=self.memory.figure(),
            memory_total=self.last.memory_total,
            power=self.power.figure(),
            throttled={reason: count / self.told for reason, count in self.throttled.items()},
            lost=self.last.lost,
        )


class Tally:
    """Adds up the looks."""

    def __init__(self) -> None:
        self._cpu, self._own, self._memory, self._pss = _Mean(), _Mean(), _Mean(), _Mean()
        #: By card, of all looks, and of those in which the training computed on it.
        self._gpus: dict[int, _GpuTally] = {}
        self._used: dict[int, _GpuTally] = {}
        self._named = False
        self._warned: dict[str, Warned] = {}
        #: About what a warning was said of cards that were a guess.
        self._guesses: set[str] = set()
        self._last: Sample | None = None
        self._looks = 0

    def add(self, sample: Sample) -> None:
        self._last, self._looks = sample, self._looks + 1
        self._cpu.add(sample.machine.cpu)
        self._memory.add(sample.machine.memory_used)
        if sample.processes is not None:
            self._own.add(sample.processes.cpu)
            self._pss.add(sample.processes.pss)
        if not self._named and computing(sample.gpus):
            self._named = True
            self._drop_guesses()
        used = {gpu.index for gpu in in_use(sample)}
        for gpu in sample.gpus:
            self._gpus.setdefault(gpu.index, _GpuTally()).add(gpu)
            if gpu.index in used or (gpu.lost and gpu.index in self._used):
                self._used.setdefault(gpu.index, _GpuTally()).add(gpu)
        for warning in sample.warnings:
            if warning.guess:
                self._guesses.add(warning.about)
            before = self._warned.get(warning.about)
            first = sample.elapsed if before is None else before.first
            self._warned[warning.about] = Warned(text=warning.text, first=first, last=sample.elapsed)

    def _drop_guesses(self) -> None:
        """The driver tells by now which cards are the training's."""
        self._used.clear()
        for about in self._guesses:
            del self._warned[about]

    def summary(
        self,
        *,
        name: str,
        pid: int,
        command: list[str],
        ended: Literal["training", "time", "stopped"],
        outcome: tuple[str, str | None] | None,
        steps: Sums | None,
    ) -> Summary:
        assert self._last is not None
        found = Summary(
            name=name,
            pid=pid,
            command=command,
            seconds=self._last.elapsed,
            looks=self._looks,
            ended=ended,
            outcome=None if outcome is None else outcome[0],
            reason=None if outcome is None else outcome[1],
            cores=self._last.machine.cores,
            cpu=self._cpu.figure(),
            processes_cpu=self._own.figure(),
            memory_used=self._memory.figure(),
            memory_total=self._last.machine.memory_total,
            pss=self._pss.figure(),
            gpus=[
                self._used.get(index, tally).summary(watched=index in self._used)
                for index, tally in sorted(self._gpus.items())
            ],
            steps=None if steps is None else steps.steps,
            step_seconds=None if steps is None else steps.step_seconds,
            phases={} if steps is None else steps.means,
            samples_per_second=None if steps is None else steps.samples_per_second,
            loss=None if steps is None else steps.loss,
            warnings=list(self._warned.values()),
            missing=self._last.missing,
        )
        return msgspec.structs.replace(found, verdicts=list(_verdicts(found, steps)))


def _verdicts(summary: Summary, steps: Sums | None) -> Iterator[Verdict]:
    yield _data_time(summary)
    yield from _gpus(summary)
    used = summary.memory_used
    if used is not None:
        share = used.peak / summary.memory_total
        yield _check(
            "memory of the machine",
            share <= CRITICAL_MEMORY,
            f"{100 * share:.0f} % at its peak; critical above {100 * CRITICAL_MEMORY:.0f} %",
        )
    if steps is not None and steps.loss is not None:
        bad = steps.not_finite
        yield _check("loss", not bad, f"of {text.plural(steps.steps, 'step')}, {bad or 'none'} NaN or infinite")
    else:
        yield _unknown("loss", "no loss was recorded")


def _data_time(summary: Summary) -> Verdict:
    name, goal = "data time", GOALS["data_time_ms"]
    if not summary.step_seconds or not summary.phases:
        return _unknown(name, "no step was recorded: `hotlap profile` records a training")
    waited = summary.phases.get("data_wait", 0.0)
    share = 100 * waited / summary.step_seconds
    return _check(
        name,
        1e3 * waited < goal or share <= DATA_SHARE,
        f"{text.seconds(waited)} of a step, {share:.1f} % of it; the goal is less than {goal:g} ms, or "
        f"{DATA_SHARE:g} % of a step",
    )


def _gpus(summary: Summary) -> Iterator[Verdict]:
    watched = [gpu for gpu in summary.gpus if gpu.watched]
    name, goal = "GPU utilization", GOALS["gpu_utilization"]
    known = [gpu.utilization for gpu in watched if gpu.utilization is not None]
    if not known:
        seen = "the driver does not tell it" if watched else "the training was not seen to compute on a GPU"
        yield _unknown(name, seen)
    elif min(figure.n for figure in known) < _LOOKS:
        yield _unknown(name, "too few looks for a mean")
    else:
        means = " and ".join(f"{figure.mean:.0f} %" for figure in known)
        yield _check(
            name,
            all(figure.mean > goal for figure in known),
            f"{means} (mean); the goal is more than {goal:.0f} %",
        )
    full = [(gpu.memory_used.peak / gpu.memory_total) for gpu in watched if gpu.memory_used and gpu.memory_total]
    if full:
        most = GOALS["gpu_memory"]
        yield _check(
            "GPU memory", 100 * max(full) <= most, f"{100 * max(full):.0f} % at its peak; at most {most:.0f} % may be"
        )
    for gpu in watched:
        if gpu.lost:
            yield _check(f"GPU {gpu.index}", False, "the driver lost it")


def _check(name: str, good: bool, evidence: str) -> Verdict:
    return Verdict(name=name, verdict="ok" if good else "failed", evidence=evidence)


def _unknown(name: str, why: str) -> Verdict:
    return Verdict(name=name, verdict="n/a", evidence=why)

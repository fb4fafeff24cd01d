"""How many samples should make a batch, by real training steps of the model itself.

    1, 2, 4, ...  each a few steps   until nothing is gained, memory ends, or time does        climb
    the best of them take turns      one ratio a round to the best one; medians, intervals     compare
    the smallest that is as fast     throughput decides; utilization is reported

A larger batch than that is another training for nothing: a device can be busy all the time and no faster.

Not in it: loading and copying the data (``hotlap profile``), other ranks, and whether the training learns as well with
that batch. Keep the effective batch by accumulation, or rescale the learning rate and compare (``hotlap tune
--quality``).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import torch
from torch import nn
from torch.optim import Adam, Optimizer

from hotlap.errors import TrainingFailed, UsageError
from hotlap.estimate.training_step import Batch, Loss, PeakMemory, TrainingStep, utilization
from hotlap.estimate.untouched import untouched
from hotlap.probe.shared.room import spare

#: What is faster by less is as fast.
AS_FAST = 0.02
#: Of a GPU's memory; the rest is for what fragments.
_SHARE = 0.9
_WARM = 2
_ROUNDS, _LEAST_ROUNDS = 7, 3
#: Seconds of a measurement, at least, and of a look while climbing, of which the fastest counts.
_BLOCK, _LOOK, _LOOKS = 0.1, 0.03, 3
#: Who is slower while climbing takes no further part, and no more than so many do.
_FINALISTS, _FAR_OFF = 4, 0.7
#: Of an allocator, of the kernel, and of CUDA's libraries, which get memory of their own.
_NO_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
)

_clock = time.perf_counter


class TriedSize(msgspec.Struct, kw_only=True):
    batch_size: int
    #: Median; None where it was not measured.
    samples_per_second: float | None = None
    step_seconds: float | None = None
    #: Throughput over that of the best one: the median of the rounds, and the lowest and highest.
    against_best: tuple[float, float, float] | None = None
    #: Bytes: what the allocator reserved on a GPU, the process on a CPU. None where it cannot be told.
    peak_memory: int | None = None
    #: Per cent. None: no GPU, or its driver's library cannot be asked.
    gpu_utilization: float | None = None
    #: Why it was not measured, or not any further.
    why: str = ""


class BatchSizes(msgspec.Struct, kw_only=True):
    """What was tried, and what came of it."""

    batch_size: int
    why: str
    device: str
    tried: list[TriedSize]
    #: Of the intervals, by the number of rounds: 1 - 2 / 2**rounds.
    confidence: float
    rounds: int
    #: Bytes that were allowed; None where nothing is known of the memory.
    memory_limit: int | None
    gpu_utilization: float | None
    #: None where the utilization is not known.
    reached_target: bool | None
    #: Micro-batches that keep the effective batch that the configuration has; None where none do.
    accumulation_steps: int | None = None
    seconds: float


def find_optimal_batch_size(
    model: nn.Module,
    sample_data: Batch,
    *,
    optimizer: Optimizer | None = None,
    loss: Loss | None = None,
    autocast: torch.dtype | None = None,
    clip: float = 0.0,
    largest: int = 1024,
    memory_limit: int | None = None,
    target_gpu_util: float = 85.0,
    budget: float = 60.0,
) -> tuple[int, BatchSizes]:
    """Return the smallest batch that trains as fast as any, and what was measured.

    ``sample_data`` is a batch of any size, whose samples are repeated: a tensor for the model; tensors, of which the
    last is the target; or a mapping of the model's arguments. ``loss`` maps output and target to one number; without
    it see ``training_step.default_loss``. ``optimizer`` is the one of the training, by default a new Adam. ``clip`` is
    the largest norm of the gradients. ``memory_limit`` in bytes is nine tenths of what the GPU has free unless it is
    given, or what the node can spare. ``budget`` in seconds: what is begun is finished, so it takes somewhat longer.

    The model computes where it is. Afterwards it, its gradients, the optimizer and the random generators are as
    before, bit for bit.

    Raises:
        UsageError: the sample is no batch, or the model is wrapped for several ranks.
        TrainingFailed: no batch could be trained on, for a reason other than memory.
    """
    if largest < 1:
        raise UsageError(f"largest is {largest}: give a number of at least 1")
    if isinstance(model, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
        raise UsageError("the model is wrapped for several devices: give the module inside, model.module")
    with untouched(model, optimizer):
        model.train()
        trained = [each for each in model.parameters() if each.requires_grad]
        if not trained:
            raise UsageError("no parameter of the model requires gradients, so there is nothing to train")
        step = TrainingStep(model, sample_data, optimizer or Adam(trained), loss, autocast, clip)
        search = _Search(step, largest, memory_limit, budget)
        try:
            found = search.run(target_gpu_util)
        finally:
            step.clear()
    return found.batch_size, found


class BatchSizeOptimizer:
    """``find_optimal_batch_size`` with what a configuration says: a mapping, or one of ``hotlap train``.

    Read are ``use_mixed_precision``, ``mixed_precision_dtype``, ``grad_clip``, ``lr``, and ``batch_size`` and
    ``accumulation_steps`` for the effective batch.
    """

    def __init__(self, model: nn.Module, config: Mapping[str, Any] | msgspec.Struct | None = None) -> None:
        self._model = model
        is_struct = isinstance(config, msgspec.Struct)
        self._config: Mapping[str, Any] = msgspec.structs.asdict(config) if is_struct else (config or {})  # type: ignore[arg-type, assignment]

    def find_optimal_batch_size(
        self,
        sample_data: Batch,
        target_gpu_util: float = 85.0,
        *,
        optimizer: Optimizer | None = None,
        loss: Loss | None = None,
        largest: int = 1024,
        memory_limit: int | None = None,
        budget: float = 60.0,
    ) -> tuple[int, BatchSizes]:
        """As the function of this name. ``target_gpu_util`` is compared with what was seen, and decides nothing."""
        config = self._config
        half = {"float16": torch.float16, "bfloat16": torch.bfloat16}
        dtype = half.get(config.get("mixed_precision_dtype") or "bfloat16")
        made = [each for each in self._model.parameters() if each.requires_grad]
        if optimizer is None and made:
            optimizer = Adam(made, lr=float(config.get("lr") or 1e-3))
        size, found = find_optimal_batch_size(
            self._model,
            sample_data,
            optimizer=optimizer,
            loss=loss,
            autocast=dtype if config.get("use_mixed_precision") else None,
            clip=float(config.get("grad_clip") or 0.0),
            largest=largest,
            memory_limit=memory_limit,
            target_gpu_util=target_gpu_util,
            budget=budget,
        )
        if config.get("batch_size"):
            effective = int(config["batch_size"]) * int(config.get("accumulation_steps") or 1)
            found.accumulation_steps = effective // size if effective % size == 0 else None
        return size, found


class _Search:
    def __init__(self, step: TrainingStep, largest: int, memory_limit: int | None, budget: float) -> None:
        self._step, self._largest = step, largest
        self._began, self._budget = _clock(), budget
        self._memory = PeakMemory(step.device)
        self._limit = memory_limit or _room(step.device, self._memory)
        self._tried: list[TriedSize] = []

    def run(self, target: float) -> BatchSizes:
        finalists = self._finalists(self._climb())
        rounds = self._take_turns(finalists)
        best = max(finalists, key=lambda each: each.samples_per_second or 0.0)
        chosen = min((each for each in finalists if _as_fast(each)), key=lambda each: each.batch_size)
        why = f"the fastest of {len(self._tried)} sizes" if chosen is best else f"as fast as {best.batch_size}"
        used = chosen.gpu_utilization
        return BatchSizes(
            batch_size=chosen.batch_size,
            why=why,
            device=str(self._step.device),
            tried=self._tried,
            confidence=1 - 2 / 2**rounds,
            rounds=rounds,
            memory_limit=self._limit,
            gpu_utilization=used,
            reached_target=None if used is None else used >= target,
            seconds=_clock() - self._began,
        )

    def _climb(self) -> list[TriedSize]:
        """Doubled sizes, each looked at shortly; those that ran."""
        ran: list[TriedSize] = []
        size, without_gain = 1, 0
        while size <= self._largest:
            best = max((each.samples_per_second or 0.0 for each in ran), default=0.0)
            tried = self._look_at(size, ran)
            self._tried.append(tried)
            if tried.samples_per_second is None:
                if ran or size > 1:
                    break
            else:
                ran.append(tried)
                without_gain = 0 if tried.samples_per_second > (1 + AS_FAST) * best else without_gain + 1
                if without_gain == 2:
                    break
            size *= 2
        if not ran:
            raise TrainingFailed(f"no batch could be trained on: {self._tried[-1].why}")
        return ran

    def _look_at(self, size: int, ran: list[TriedSize]) -> TriedSize:
        tried = TriedSize(batch_size=size)
        expected = _expected(size, ran)
        if self._limit is not None and expected is not None and expected > self._limit:
            tried.why = f"would take about {_gib(expected)}, and {_gib(self._limit)} are allowed"
            return tried
        if ran and ran[-1].step_seconds is not None:
            seconds = 2 * ran[-1].step_seconds * (_WARM + 1 + _ROUNDS)
            left = self._budget - (_clock() - self._began)
            if seconds > left:
                tried.why = f"would take about {seconds:.0f} s to measure, and {max(left, 0):.0f} s are left"
                return tried
        self._step.release()
        tried.why = self._run(tried) or ""
        if self._limit is not None and (tried.peak_memory or 0) > self._limit:
            tried.why = f"took {_gib(tried.peak_memory)}, and {_gib(self._limit)} are allowed"
            tried.samples_per_second = None
        if tried.why:
            self._step.clear()
        return tried

    def _run(self, tried: TriedSize) -> str | None:
        """Why it does not run, with nothing left of it."""
        try:
            self._memory.restart()
            batch = self._step.batch(tried.batch_size)
            for _ in range(_WARM):
                self._step(batch)
            seconds = min(self._timed(batch, _LOOK) for _ in range(_LOOKS))
        except (RuntimeError, ValueError) as error:  # torch.OutOfMemoryError is the first; BatchNorm raises the second
            return "out of memory" if _no_memory(error) else str(error).partition("\n")[0]
        tried.step_seconds, tried.samples_per_second = seconds, tried.batch_size / seconds
        tried.peak_memory = self._memory.read()
        return None

    def _timed(self, batch: Batch, least: float) -> float:
        """Seconds of a step, of as many as take so long."""
        self._step.finish()
        began, steps = _clock(), 0
        while True:
            self._step(batch)
            steps += 1
            if self._step.device.type != "cuda" or steps % 8 == 0:
                self._step.finish()
                if _clock() - began >= least:
                    return (_clock() - began) / steps

    def _finalists(self, ran: list[TriedSize]) -> list[TriedSize]:
        best = max(each.samples_per_second or 0.0 for each in ran)
        near = [each for each in ran if (each.samples_per_second or 0.0) >= _FAR_OFF * best]
        near = sorted(near, key=lambda each: each.samples_per_second or 0.0)[-_FINALISTS:]
        # A look is short: whoever is next to the best one is measured by all means.
        sizes = {near[-1].batch_size * 2, near[-1].batch_size // 2}
        near += [each for each in ran if each.batch_size in sizes and each not in near]
        for each in ran:
            if each not in near:
                each.why = "slower by far"
        return sorted(near, key=lambda each: each.batch_size)

    def _take_turns(self, finalists: list[TriedSize]) -> int:
        """Measure them in rounds, forwards and backwards; fill in medians and ratios. Returns the rounds.

        Who runs out of memory after all, beside what the others have left, is dropped from ``finalists``.
        """
        rates: dict[int, list[float]] = {each.batch_size: [] for each in finalists}
        used: dict[int, list[float]] = {each.batch_size: [] for each in finalists}
        rounds = 0
        while rounds < _ROUNDS and (rounds < _LEAST_ROUNDS or _clock() - self._began < self._budget):
            for each in list(finalists)[:: 1 if rounds % 2 == 0 else -1]:
                rate = self._rate(each.batch_size)
                if rate is None:
                    each.why, each.samples_per_second = "out of memory", None
                    finalists.remove(each)
                    self._step.clear()
                    continue
                rates[each.batch_size].append(rate)
                seen = utilization(self._step.device)
                used[each.batch_size] += [] if seen is None else [seen]
            rounds += 1
        if not finalists:
            raise TrainingFailed("every batch ran out of memory when it was measured again: free some, and start anew")
        medians = {each.batch_size: statistics.median(rates[each.batch_size]) for each in finalists}
        best = max(medians, key=medians.__getitem__)
        for each in finalists:
            size = each.batch_size
            ratios = [mine / other for mine, other in zip(rates[size], rates[best], strict=True)]
            each.samples_per_second, each.step_seconds = medians[size], size / medians[size]
            each.against_best = statistics.median(ratios), min(ratios), max(ratios)
            each.gpu_utilization = statistics.mean(used[size]) if used[size] else None
        return rounds

    def _rate(self, size: int) -> float | None:
        try:
            return size / self._timed(self._step.batch(size), _BLOCK)
        except RuntimeError as error:
            if _no_memory(error):
                return None
            raise


def _as_fast(tried: TriedSize) -> bool:
    """Slower by less than what counts; or by a little more, if that may be noise."""
    assert tried.against_best is not None
    median, _, high = tried.against_best
    return median >= 1 - AS_FAST or (median >= 1 - 2 * AS_FAST and high >= 1)


def _expected(size: int, ran: list[TriedSize]) -> int | None:
    """Bytes at the peak, on the line through the last two sizes."""
    if len(ran) < 2 or ran[-1].peak_memory is None or ran[-2].peak_memory is None:
        return None
    last, before = ran[-1], ran[-2]
    each = (ran[-1].peak_memory - ran[-2].peak_memory) / (last.batch_size - before.batch_size)
    return int(ran[-1].peak_memory + max(each, 0.0) * (size - last.batch_size))


def _gib(size: float | None) -> str:
    return f"{(size or 0) / 2**30:.2f} GiB"


def _room(device: torch.device, memory: PeakMemory) -> int | None:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(_SHARE * (free + torch.cuda.memory_reserved(device)))
    memory.restart()
    held = memory.read()
    return None if held is None else held + spare()


def _no_memory(error: Exception) -> bool:
    said = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or any(words in said for words in _NO_MEMORY)

"""The training loop, as one would write it by hand.

for each optimizer step:
    the step itself:       micro-batches, clipping, optimizer, running mean of the weights (see ``step``)
    schedule.step()
    now and then:          log, validate, save, look at the machine
"""

from __future__ import annotations

import random
import statistics
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import hotlap
from hotlap import shallow
from hotlap.allocator import keep_freed_memory
from hotlap.errors import ConfigError, HotlapError, RunError, TrainingFailed
from hotlap.train.config import TrainConfig
from hotlap.train.data import Batches
from hotlap.train.health import Monitor
from hotlap.train.log import Log
from hotlap.train.machine import machine
from hotlap.train.optimizers import build_schedule
from hotlap.train.ranks import Ranks, ranks
from hotlap.train.state import Progress, TrainingState
from hotlap.train.step import Trained, autocast
from hotlap.workloads import LESS_IS_BETTER, Workload, build

CHECKPOINT, BEST = "checkpoint.pt", "best.pt"
_NEVER = 2**62


def train(config: TrainConfig) -> dict[str, Any]:
    """Train to the end and return the results; under torchrun, with the other ranks.

    Writes ``log.jsonl``, ``config.json`` and ``checkpoint.pt`` to ``output_dir``, and ``best.pt`` where ``patience``
    asks for the best validation. A training that goes on from a checkpoint computes bit by bit what it would have
    computed without the stop, on the same machine with deterministic operators (all of them on a CPU; on a GPU some
    convolution gradients are not).

    Raises ``ConfigError`` for what this machine cannot do, ``TrainingFailed`` when the loss is no longer a number.
    """
    obstacle = keep_freed_memory() if config.keep_freed_memory else None
    if obstacle:
        raise ConfigError(f"{config.path('keep_freed_memory')} is true, but {obstacle}: set it to false")
    with ExitStack() as stack:
        if config.use_mixed_precision:
            stack.callback(shallow.in_float32(torch))
        try:
            return _train(config, stack.enter_context(ranks(config)))
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, HotlapError) or not _is_out_of_memory(error):
                raise
            raise TrainingFailed(
                f"there is not enough memory ({str(error).partition(chr(10))[0] or type(error).__name__}): lower "
                f"{config.path('batch_size')} or the network's size; `hotlap estimate` says before a training what it "
                "takes"
            ) from error
        except HotlapError as error:
            raise _as_in_this_process(error) from error


def _is_out_of_memory(error: BaseException) -> bool:
    words = str(error)
    on_the_host = "DefaultCPUAllocator" in words or "not enough memory" in words
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or on_the_host


def _as_in_this_process(error: HotlapError) -> HotlapError:
    """What a worker of the loader raised comes with its traceback inside of the words."""
    *traceback, last = str(error).strip().splitlines() or [""]
    return type(error)(last.partition(": ")[2]) if traceback and traceback[0].startswith("Caught ") else error


def _train(config: TrainConfig, group: Ranks) -> dict[str, Any]:
    began = time.monotonic()
    device = group.device
    folder = _make_folder(config)
    # The network is the same on all ranks; what a rank draws while it trains is its own.
    torch.manual_seed(config.seed)
    workload = build(config, device, group.world)
    random.seed(config.seed + group.rank)
    if group.rank:
        torch.manual_seed(config.seed + group.rank)

    batches = Batches(workload.dataset, config, group)
    total = steps_in_all(config, batches.per_epoch)
    trained = Trained(workload, config, group)
    model, average = trained.model, trained.average
    network = model if average is None else average.module
    assert isinstance(network, nn.Module)
    schedule = build_schedule(trained.optimizer, config, total)
    parts: dict[str, Any] = {
        "model": model,
        "optimizer": trained.optimizer,
        "schedule": schedule,
        "scaler": trained.scaler,
    }
    state = TrainingState(group, config, **parts, **({} if average is None else {"average": average}))
    progress = state.load(Path(config.resume)) if config.resume else Progress.beginning(config, group.world)
    start = progress.step
    batches.consumed = progress.consumed

    batch = iter(batches)
    rate = Rate()
    monitor = Monitor(group, workload.dataset.cache)
    bad_step = torch.full((), _NEVER, dtype=torch.int64, device=device)
    loss_value: float | None = None
    quality: dict[str, float] = {}
    model.train()

    with Log(folder, config, total, start, group) as log, machine(config) as stepped:
        batches.say = log.say
        predicted = workload.dataset.predicted(batches.epochs(2)) if group.first else None
        if predicted is not None:
            log.say(predicted)
        for sentence in (without_steps(start, total), never_reached(config, total, batches.per_epoch)):
            if sentence is not None:
                log.say(sentence)
        stop = bool(config.patience) and progress.since_best >= config.patience
        for step in range(start + 1, start + 1 if stop else total + 1):
            lr = float(schedule.get_last_lr()[0])
            samples, sums = trained.step(batch, step)
            schedule.step()
            stepped(step - start)
            # Stays on the device: reading it every step would make the GPU wait for Python.
            bad_step = torch.where(torch.isfinite(sums["loss"]), bad_step, bad_step.clamp(max=step))
            progress.step, progress.consumed = step, batches.consumed

            last = step == total
            rate.count(samples)
            if last or step % config.log_every == 0:
                stop_if_not_finite(group.lowest(bad_step), config, log)
                means = {name: float(group.mean(value)) for name, value in sums.items()}
                loss_value = means["loss"]
                waited = rate.waited(batches.waited)
                log.write(step, **means, lr=lr, samples_per_second=rate.read(), data_time_ms=waited)
            if config.health_every and (last or step % config.health_every == 0):
                log.health(step, monitor.look(step - start, batches.waited))
            if last or (config.validate_every and step % config.validate_every == 0):
                stop_if_not_finite(group.lowest(bad_step), config, log)
                quality = validate(workload, network, config, group)
                log.write(step, **{f"val_{name}": value for name, value in quality.items()})
                if progress.validated(quality[workload.metric]) and config.patience:
                    state.save(folder / BEST, progress)
                rate.restart()
            stop = bool(config.patience) and progress.since_best >= config.patience
            if last or stop or (config.save_every and step % config.save_every == 0):
                stop_if_not_finite(group.lowest(bad_step), config, log)
                state.save(folder / CHECKPOINT, progress)
                rate.restart()
            if stop:
                break
        log.finish(progress.step, workload.simple_quality)

    if not quality:
        quality = validate(workload, network, config, group)
    simple = workload.simple_quality
    return {
        **quality,
        **{f"simple_{name}": value for name, value in simple.items()},
        **{f"{name}_gain": gain(name, quality[name], value) for name, value in simple.items()},
        "simple_method": workload.simple_method,
        "best": progress.best,
        "loss": loss_value,
        "steps": progress.step,
        "stopped_early": progress.step < total,
        "seconds": time.monotonic() - began,
        "samples_per_second": rate.median(),
        "device": str(device),
        "rank": group.rank,
        "ranks": group.world,
        "output_dir": str(folder),
    }


def gain(metric: str, quality: float, simple: float) -> float:
    """By how much a quality is better than another."""
    return simple - quality if metric in LESS_IS_BETTER else quality - simple


def steps_in_all(config: TrainConfig, per_epoch: int) -> int:
    """Optimizer steps, of ``steps`` and of ``epochs`` of so many micro-batches; what is left over makes no step."""
    of_epochs = config.epochs * per_epoch // config.accumulation_steps
    if config.epochs and not of_epochs:
        raise ConfigError(
            f"{config.path('epochs')} ({config.epochs}) of {per_epoch} micro-batches are less than one step of "
            f"{config.accumulation_steps}: lower {config.path('accumulation_steps')}"
        )
    total = min(number for number in (config.steps, of_epochs) if number)
    if config.warmup_steps >= total:
        raise ConfigError(
            f"{config.path('warmup_steps')} is {config.warmup_steps}, and the training has {total} steps: the warm-up "
            "must end before it does, so lower the one or raise the other"
        )
    return total


def without_steps(start: int, total: int) -> str | None:
    """Where a training that is resumed is at its end already."""
    return f"the checkpoint is of step {start} of {total}: nothing is left to train" if 0 < total <= start else None


def never_reached(config: TrainConfig, total: int, per_epoch: int) -> str | None:
    """Patch sizes that are asked for from an epoch on in which the training has ended."""
    sizes = getattr(config, "patch_size", None)
    epochs = -(-total * config.accumulation_steps // per_epoch)
    late = [epoch for epoch in sizes if epoch >= epochs] if isinstance(sizes, dict) else []
    if not late:
        return None
    return (
        f"{config.path('patch_size')}: the training ends in its epoch {epochs - 1} (of {per_epoch} micro-batches, the "
        f"first is 0), so that what is asked for from epoch {min(late)} on never comes"
    )


def validate(workload: Workload, model: nn.Module, config: TrainConfig, group: Ranks) -> dict[str, float]:
    """Quality on the held-out data, in the precision of the training; reported to hotlap when it watches."""
    quality: dict[str, float] = {}
    if group.first:
        model.eval()
        compiled = model._compiled_call_impl
        # Compiled code is for one shape: compiling again for a few whole pictures costs more than it saves.
        model._compiled_call_impl = None
        try:
            with torch.no_grad(), autocast(group.device, config):
                quality = workload.validate(model)
        finally:
            model._compiled_call_impl = compiled
            model.train()
        for name, value in quality.items():
            hotlap.metric(name, value)
    return group.told(quality)


def stop_if_not_finite(bad_step: Tensor, config: TrainConfig, log: Log) -> None:
    step = int(bad_step)
    if step == _NEVER:
        return
    log.failed(step)
    remedies = [f"lower {config.path('lr')} (now {config.lr:g})"]
    if not config.grad_clip:
        remedies.append(f"set {config.path('grad_clip')}, for example to 1.0")
    if not config.warmup_steps:
        remedies.append(f"set {config.path('warmup_steps')}, for example to 100")
    if config.fp16 and config.grad_scale > 1024:
        remedies.append(f"set {config.path('grad_scale')} to 1024")
    if config.use_mixed_precision:
        remedies.append(f"set {config.path('use_mixed_precision')} to false to see whether precision is the cause")
    raise TrainingFailed(f"the loss is no longer a finite number from step {step} on: {'; or '.join(remedies)}")


class Rate:
    """Samples per second of training, without what happens between steps."""

    def __init__(self) -> None:
        self._rates: list[float] = []
        self._waited = 0.0
        self._steps = 0
        self.restart()

    def restart(self) -> None:
        self._samples, self._since = 0, time.monotonic()

    def count(self, samples: int) -> None:
        """A step of so many is done."""
        self._samples += samples
        self._steps += 1

    def waited(self, seconds: float) -> float:
        """Milliseconds of a step since the last call, of the seconds that were waited for data in all."""
        mean = 1e3 * (seconds - self._waited) / max(self._steps, 1)
        self._waited, self._steps = seconds, 0
        return mean

    def read(self) -> float:
        """Rate since the last reading or restart."""
        rate = self._samples / max(time.monotonic() - self._since, 1e-9)
        self._rates.append(rate)
        self.restart()
        return rate

    def median(self) -> float | None:
        """Median of the readings, which one slow start does not move."""
        return statistics.median(self._rates) if self._rates else None


def _make_folder(config: TrainConfig) -> Path:
    folder = Path(config.output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(
            f"{config.path('output_dir')} {folder} cannot be made ({error.strerror}): choose another place"
        ) from None
    return folder

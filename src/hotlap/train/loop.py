"""The training loop, as one would write it by hand.

for each optimizer step:
    for each micro-batch:  input -> model(x) -> loss / accumulation_steps -> backward
    unscale (fp16), clip, optimizer.step(), schedule.step()
    now and then:          log, validate, save
"""

from __future__ import annotations

import random
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import hotlap
from hotlap.allocator import keep_freed_memory
from hotlap.errors import ConfigError, RunError, TrainingFailed
from hotlap.train.config import TrainConfig
from hotlap.train.data import Batches
from hotlap.train.log import Log
from hotlap.train.optimizers import build_optimizer, build_schedule
from hotlap.train.state import TrainingState
from hotlap.workloads import Workload, build

CHECKPOINT = "checkpoint.pt"
_NEVER = 2**62


def train(config: TrainConfig) -> dict[str, Any]:
    """Train to the end and return the results.

    Writes ``log.jsonl`` and ``checkpoint.pt`` to ``output_dir``. A training that goes on from a checkpoint
    computes bit by bit what it would have computed without the stop, on the same machine with deterministic operators
    (all of them on a CPU; on a GPU some convolution gradients are not).

    Raises ``ConfigError`` for what this machine cannot do, ``TrainingFailed`` when the loss is no longer a number.
    """
    began = time.monotonic()
    device = choose_device(config)
    obstacle = keep_freed_memory() if config.keep_freed_memory else None
    if obstacle:
        raise ConfigError(f"keep_freed_memory is true, but {obstacle}: set it to false")
    folder = _make_folder(config.output_dir)
    torch.manual_seed(config.seed)
    random.seed(config.seed)

    workload = build(config, device)
    model = prepare(workload.model, config)
    optimizer = build_optimizer(model, config)
    schedule = build_schedule(optimizer, config)
    scaler = torch.amp.GradScaler(
        device.type, enabled=config.use_mixed_precision and config.mixed_precision_dtype == "float16"
    )
    state = TrainingState(model, optimizer, schedule, scaler)
    start, consumed = state.load(Path(config.resume), device) if config.resume else (0, 0)

    batches = Batches(workload.dataset, config, device, consumed)
    batch = iter(batches)
    rate = Rate(config.batch_size * config.accumulation_steps)
    bad_step = torch.full((), _NEVER, dtype=torch.int64, device=device)
    loss_value: float | None = None
    quality: dict[str, float] = {}
    model.train()

    with Log(folder, config.steps, start) as log:
        for step in range(start + 1, config.steps + 1):
            loss_sum = torch.zeros((), device=device)
            for _ in range(config.accumulation_steps):
                x, y = next(batch)
                x, y = move(x, device, config), move(y, device, config)
                with autocast(device, config):
                    output = model(x)
                loss = workload.loss(output, y, step) / config.accumulation_steps
                scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # of torch
                loss_sum += loss.detach()
            if config.grad_clip:
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
            lr = schedule.get_last_lr()[0]
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
            schedule.step()
            # Stays on the device: reading it every step would make the GPU wait for Python.
            bad_step = torch.where(torch.isfinite(loss_sum), bad_step, bad_step.clamp(max=step))

            last = step == config.steps
            rate.count()
            if last or step % config.log_every == 0:
                stop_if_not_finite(bad_step, config)
                loss_value = float(loss_sum)
                log.write(step, loss=loss_value, lr=lr, samples_per_second=rate.read())
            if last or (config.validate_every and step % config.validate_every == 0):
                quality = validate(workload, model, device, config)
                log.write(step, **{f"val_{name}": value for name, value in quality.items()})
                rate.restart()
            if last or (config.save_every and step % config.save_every == 0):
                stop_if_not_finite(bad_step, config)
                state.save(folder / CHECKPOINT, step, batches.consumed)
                rate.restart()

    if start >= config.steps:
        quality = validate(workload, model, device, config)
    simple = workload.simple_quality
    return {
        **quality,
        **{f"simple_{name}": value for name, value in simple.items()},
        "psnr_gain_db": quality["psnr"] - simple["psnr"],
        "simple_method": workload.simple_method,
        "loss": loss_value,
        "steps": config.steps,
        "seconds": time.monotonic() - began,
        "samples_per_second": rate.median(),
        "device": str(device),
        "output_dir": str(folder),
    }


def choose_device(config: TrainConfig) -> torch.device:
    """The device to train on, if it can do what the configuration asks."""
    available = torch.cuda.is_available()
    if config.device == "cuda" and not available:
        raise ConfigError(
            "device is cuda, but PyTorch sees no GPU here: set device to auto or cpu, or install the driver"
        )
    device = torch.device("cuda" if config.device != "cpu" and available else "cpu")
    if device.type == "cpu" and config.use_mixed_precision and config.mixed_precision_dtype == "float16":
        raise ConfigError(
            "mixed_precision_dtype is float16 and the training runs on a CPU, where that is about 50 times slower than "
            "float32: set it to bfloat16, or use_mixed_precision to false"
        )
    return device


def prepare(model: nn.Module, config: TrainConfig) -> nn.Module:
    if config.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    if config.compile_model:
        model.compile()
    return model


def move(x: Tensor, device: torch.device, config: TrainConfig) -> Tensor:
    layout = torch.channels_last if config.channels_last else torch.preserve_format
    return x.to(device, non_blocking=config.pin_memory, memory_format=layout)


def autocast(device: torch.device, config: TrainConfig) -> torch.autocast:
    dtype = torch.float16 if config.mixed_precision_dtype == "float16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=config.use_mixed_precision)


def validate(workload: Workload, model: nn.Module, device: torch.device, config: TrainConfig) -> dict[str, float]:
    """Quality on the held-out data, in the precision of the training; reported to hotlap when it watches."""
    model.eval()
    compiled = model._compiled_call_impl
    # Compiled code is for one shape: compiling again for a few whole pictures costs more than it saves.
    model._compiled_call_impl = None
    try:
        with torch.no_grad(), autocast(device, config):
            quality = workload.validate()
    finally:
        model._compiled_call_impl = compiled
        model.train()
    for name, value in quality.items():
        hotlap.metric(name, value)
    return quality


def stop_if_not_finite(bad_step: Tensor, config: TrainConfig) -> None:
    step = int(bad_step)
    if step == _NEVER:
        return
    remedies = [f"lower lr (now {config.lr:g})"]
    if not config.grad_clip:
        remedies.append("set grad_clip, for example to 1.0")
    if not config.warmup_steps:
        remedies.append("set warmup_steps, for example to 100")
    if config.use_mixed_precision:
        remedies.append("set use_mixed_precision to false to see whether precision is the cause")
    raise TrainingFailed(f"the loss is no longer a finite number from step {step} on: {'; or '.join(remedies)}")


class Rate:
    """Samples per second of training, without what happens between steps."""

    def __init__(self, samples_per_step: int) -> None:
        self._samples_per_step = samples_per_step
        self._rates: list[float] = []
        self.restart()

    def restart(self) -> None:
        self._steps, self._since = 0, time.monotonic()

    def count(self) -> None:
        self._steps += 1

    def read(self) -> float:
        """Rate since the last reading or restart."""
        rate = self._steps * self._samples_per_step / max(time.monotonic() - self._since, 1e-9)
        self._rates.append(rate)
        self.restart()
        return rate

    def median(self) -> float | None:
        """Median of the readings, which one slow start does not move."""
        return statistics.median(self._rates) if self._rates else None


def _make_folder(name: str) -> Path:
    folder = Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"output_dir {folder} cannot be made ({error.strerror}): choose another place") from None
    return folder

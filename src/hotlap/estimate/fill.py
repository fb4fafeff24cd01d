"""What larger network would train in the time, and the memory, that a better configuration leaves.

    the configuration as it was    ── seconds a sample ──┐  the budget
    the better one, wider or deeper ── seconds a sample ──┴─ the largest network that stays within it

This makes nothing faster: the time that was won is spent on a larger network, which is another training. Measured by
real steps (forward, L1 loss, backward, clipping, optimizer) on patches of random numbers, in turns with the
configuration as it was. Of the restoration network alone, whose size two keys say.
"""

from __future__ import annotations

import statistics
import time
from typing import Literal

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor

from hotlap.errors import UsageError
from hotlap.estimate.training_step import PeakMemory, TrainingStep
from hotlap.probe.shared.room import spare
from hotlap.records import Filled, Larger
from hotlap.train.config import RestorationConfig, TrainConfig
from hotlap.train.config.base import size_at
from hotlap.workloads.restoration.network import RestorationNet

_WARM, _ROUNDS = 2, 5
#: Seconds of a measurement, at least.
_BLOCK = 0.1
#: A network that is larger by less is not looked for.
_STEP = 1.25
_MOST = 12
#: Seconds for each of the two keys; what is begun is finished.
_BUDGET = 30.0
#: What would take less of the time by this, were it to grow with the weights, is too small to be measured.
_TOO_SMALL = 0.5
#: Keys of a step that are not measured, with what is in their place.
_LEFT_OUT = {
    "compile_model": False,
    "matmul_precision": "highest",
    "cudnn_benchmark": False,
    "optimizer": "adam",
    "weight_decay": 0.0,
    "optimizer_implementation": "auto",
    "ema_decay": 0.0,
    "accumulation_steps": 1,
}
_POWERS = {"base_channels": 2, "num_blocks": 1}


def may_fill(config: TrainConfig) -> RestorationConfig:
    """Raises UsageError for another network than that of restoration, and where a loss network is trained with."""
    if not isinstance(config, RestorationConfig):
        raise UsageError("--fill is for the restoration network, whose size base_channels and num_blocks say")
    if config.use_perceptual:
        raise UsageError("--fill measures the network and an L1 loss: use_perceptual is true, and not counted")
    return config


def fill(given: TrainConfig, made: TrainConfig) -> Filled:
    """Spend on a larger network what ``made`` is faster than ``given``. Raises UsageError as ``may_fill``."""
    before, better = may_fill(given), may_fill(made)
    device = torch.device("cuda" if torch.cuda.is_available() and before.device != "cpu" else "cpu")
    with torch.random.fork_rng(devices=[]):
        reference = _Contender(before, device)
        for _ in range(_WARM):
            reference.step(reference.batch)
        same = _compared(_Contender(better, device), reference)
        larger = [_largest(key, better, reference, device, same) for key in ("base_channels", "num_blocks")]
        return Filled(
            device=str(device),
            rounds=_ROUNDS,
            seconds_per_sample=statistics.median(reference.seconds),
            better=same[0] * statistics.median(reference.seconds),
            larger=larger,
            not_counted=[
                key
                for key, measured in _LEFT_OUT.items()
                if any(getattr(config, key) != measured for config in (before, better))
            ],
        )


class _Contender:
    """A network of a configuration, with a batch of its own."""

    def __init__(self, config: RestorationConfig, device: torch.device) -> None:
        scale = config.scale if config.task == "super_resolution" else 1
        self.model = RestorationNet(config.base_channels, config.num_blocks, scale, config.use_checkpoint).to(device)
        side = size_at(config.patch_size, 0)
        pictures = torch.rand(config.batch_size, 3, side // scale, side // scale)
        targets = torch.rand(config.batch_size, 3, side, side)
        if config.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # of torch
            pictures = pictures.contiguous(memory_format=torch.channels_last)
        half = torch.float16 if config.mixed_precision_dtype == "float16" else torch.bfloat16
        self.step = TrainingStep(
            self.model,
            (pictures, targets),
            torch.optim.Adam(self.model.parameters(), lr=config.lr),
            _l1,
            half if config.use_mixed_precision else None,
            config.grad_clip,
        )
        self.size = config.batch_size
        self.batch = tuple(each.to(device) for each in (pictures, targets))
        self.seconds: list[float] = []

    @property
    def parameters(self) -> int:
        return sum(each.numel() for each in self.model.parameters())

    def measure(self) -> float:
        """Seconds a sample."""
        self.step.finish()
        began, steps = time.perf_counter(), 0
        while steps == 0 or time.perf_counter() - began < _BLOCK:
            self.step(self.batch)
            self.step.finish()
            steps += 1
        self.seconds.append((time.perf_counter() - began) / steps / self.size)
        return self.seconds[-1]


def _l1(output: Tensor, target: Tensor) -> Tensor:
    return F.l1_loss(output.float(), target)


def _compared(contender: _Contender, reference: _Contender) -> tuple[float, float, float]:
    """Seconds a sample over the reference's."""
    for _ in range(_WARM):
        contender.step(contender.batch)
    ratios = []
    for number in range(_ROUNDS):
        if number % 2:
            other, mine = reference.measure(), contender.measure()
        else:
            mine, other = contender.measure(), reference.measure()
        ratios.append(mine / other)
    return statistics.median(ratios), min(ratios), max(ratios)


def _largest(
    key: Literal["base_channels", "num_blocks"],
    config: RestorationConfig,
    reference: _Contender,
    device: torch.device,
    same: tuple[float, float, float],
) -> Larger:
    """Grow the key until the time of the reference, or the memory, is over."""
    before: int = getattr(config, key)
    best, parameters, ratio = before, _Contender(config, device).parameters, same
    limit = "it takes longer than before as it is" if same[0] > 1 else ""
    memory = PeakMemory(device)
    memory.restart()
    held = memory.read()
    allowed = None if held is None else held + (_free(device) if device.type == "cuda" else spare())
    size, began = before, time.monotonic()
    for _ in range(_MOST):
        if limit:
            break
        if time.monotonic() - began > _BUDGET:
            limit = f"no time was left to measure more than {size}"
            break
        size = max(size + 1, round(size * _STEP))
        if key == "base_channels":
            size = -(-size // 8) * 8  # whole registers and tensor-core tiles
        if same[0] * (size / before) ** _POWERS[key] < _TOO_SMALL:
            continue
        memory.restart()
        try:
            contender = _Contender(msgspec.structs.replace(config, **{key: size}), device)
            found = _compared(contender, reference)
        except torch.OutOfMemoryError:
            limit = f"{size} runs out of memory"
            break
        peak = memory.read()
        if found[0] > 1:
            limit = f"{size} takes {found[0]:.2f} times as long as before"
        elif allowed is not None and peak is not None and peak > allowed:
            limit = f"{size} takes more memory than there is to spare"
        else:
            best, parameters, ratio = size, contender.parameters, found
    return Larger(
        key=key,
        before=before,
        after=best,
        parameters=parameters,
        time=ratio,
        limit=limit or f"{size} was the last tried",
    )


def _free(device: torch.device) -> int:
    return int(torch.cuda.mem_get_info(device)[0])

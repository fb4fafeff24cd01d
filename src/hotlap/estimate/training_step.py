"""A training step of somebody's model on as many samples as are asked for, and what it takes of memory."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils import _pytree as tree

from hotlap.errors import UsageError

#: A tensor; tensors of which the last is the target; or tensors by the names that the model takes them by.
Batch = Tensor | Sequence[Any] | Mapping[str, Any]
#: Of the model's output and the target (None where there is none).
Loss = Callable[[Any, Any], Tensor]


class TrainingStep:
    """Forward, loss, backward, clipping and optimizer, as a script would write them."""

    def __init__(
        self,
        model: nn.Module,
        sample: Batch,
        optimizer: Optimizer,
        loss: Loss | None,
        autocast: torch.dtype | None,
        clip: float,
    ) -> None:
        self.device = next((each.device for each in model.parameters()), torch.device("cpu"))
        self._model, self._optimizer, self._loss = model, optimizer, loss or default_loss
        self._autocast, self._clip = autocast, clip
        scaled = autocast is torch.float16 and self.device.type == "cuda"
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=scaled)
        self._sample = sample
        lengths = {each.shape[0] for each in tree.tree_leaves(sample) if isinstance(each, Tensor) and each.dim()}
        if len(lengths) != 1 or 0 in lengths:
            said = " and ".join(map(str, sorted(lengths))) or "no"
            raise UsageError(
                f"sample_data has tensors of {said} samples in their first dimension: give a batch, whose tensors have "
                "the same number, at least 1"
            )
        self._length = lengths.pop()

    def batch(self, size: int) -> Batch:
        """The samples again and again, on the device."""
        numbers = torch.arange(size) % self._length

        def repeated(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            if not value.dim():
                return value.to(self.device)
            return value.index_select(0, numbers.to(value.device)).to(self.device)

        made: Batch = tree.tree_map(repeated, self._sample)
        return made

    def __call__(self, batch: Batch) -> None:
        with torch.autocast(self.device.type, dtype=self._autocast, enabled=self._autocast is not None):
            output, target = self._forward(batch)
            loss = self._loss(output, target)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # of torch
        if self._clip:
            self._scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._model.parameters(), self._clip)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad()

    def _forward(self, batch: Batch) -> tuple[Any, Any]:
        if isinstance(batch, Mapping):
            return self._model(**batch), None
        if isinstance(batch, Tensor):
            return self._model(batch), None
        *inputs, target = batch
        return (self._model(*inputs), target) if inputs else (self._model(target), None)

    def finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def clear(self) -> None:
        """After a step that may have ended anywhere."""
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
        self._model.zero_grad()
        gc.collect()
        self.release()

    def release(self) -> None:
        """What the allocator keeps, so that the next size finds the memory that it would find alone."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def default_loss(output: Any, target: Any) -> Tensor:
    """The output's own loss; cross entropy for whole numbers; the mean square of the difference; without a target, of
    the output itself.

    Raises:
        UsageError: the target fits none of them.
    """
    own = output.get("loss") if isinstance(output, Mapping) else getattr(output, "loss", None)
    if isinstance(own, Tensor):
        return own
    found = [each for each in tree.tree_leaves(output) if isinstance(each, Tensor) and each.is_floating_point()]
    if target is None and found:
        return torch.stack([each.float().square().mean() for each in found]).mean()
    if len(found) == 1 and isinstance(target, Tensor):
        logits = found[0]
        if logits.shape == target.shape:
            return F.mse_loss(logits.float(), target.float())
        if not target.is_floating_point() and target.shape == (*logits.shape[:1], *logits.shape[2:]):
            return F.cross_entropy(logits.float(), target)
        if not target.is_floating_point() and target.shape == logits.shape[:-1]:
            return F.cross_entropy(logits.float().flatten(0, -2), target.flatten())
    raise UsageError(
        "no loss is known for what the model returns and the target: give loss=, a function of both that returns one "
        "number"
    )


class PeakMemory:
    """The most bytes that were held since ``restart``: of the allocator on a GPU, of the process on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def restart(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        else:
            # 5: the peak begins anew (proc(5)).
            with contextlib.suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")

    def read(self) -> int | None:
        """None where it cannot be told."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_reserved(self._device)
        with contextlib.suppress(OSError, ValueError, StopIteration):
            lines = Path("/proc/self/status").read_text().splitlines()
            return 1024 * int(next(each for each in lines if each.startswith("VmHWM")).split()[1])
        return None


def utilization(device: torch.device) -> float | None:
    """Per cent of the last moments in which the GPU computed; None where the driver's library cannot be asked."""
    if device.type != "cuda":
        return None
    try:
        return float(torch.cuda.utilization(device))
    except Exception:  # of the driver's library, which need not be there, or not for this kind of device
        return None

"""Losses are read where backward is called on them, before the script can change them in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class _OnDevice:
    """A loss on its way from the device, which is not waited for."""

    __slots__ = ("event", "tensor")

    def __init__(self, torch: Any, loss: Any) -> None:
        self.tensor = torch.empty((), dtype=loss.dtype, device="cpu", pin_memory=True)
        self.tensor.copy_(loss.reshape(()), non_blocking=True)
        self.event = torch.cuda.Event()
        # The current device may be another one.
        self.event.record(torch.cuda.current_stream(loss.device))

    def ready(self) -> bool:
        return bool(self.event.query())

    def value(self) -> float:
        self.event.synchronize()
        return float(self.tensor)


def reading(torch: Any, tensor: Any, loss: Any) -> Any:
    """A float, or where the device has yet to compute it an object that will give one; None for what is no loss."""
    # A subclass may communicate between ranks when it is read.
    if type(loss) is not tensor:
        return None
    if loss.is_cpu:
        try:
            return float(loss.item())
        except (RuntimeError, ValueError, TypeError):  # several numbers, a complex one, or torch.func at work
            return None
    if loss.is_cuda and loss.numel() == 1 and not torch.cuda.is_current_stream_capturing():
        return _OnDevice(torch, loss.detach())
    return None


def total(readings: Sequence[Any]) -> float | None:
    """What the step's gradient is the gradient of: micro-batches add to it."""
    if len(readings) == 1 and isinstance(readings[0], float):
        return readings[0]
    values = [found if isinstance(found, float) else found.value() for found in readings]
    return sum(values) if values else None

"""Lower precision from the outermost forward to the start of backward, so that the loss is inside."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from typing import Any

from hotlap import shallow
from hotlap.probe.levers.base import Lever


class _Opened(threading.local):
    """The autocast that is open because of us: it is the thread's own."""

    autocast: Any = None
    #: It ends with the forward that runs.
    forward_only = False
    #: What was being handled when the forward began.
    error_before: BaseException | None = None


class Autocast(Lever):
    name = "autocast"
    never = "no model was called outside the script's own autocast"
    live = True

    def __init__(self, torch: Any, value: Any) -> None:
        super().__init__(torch, value)
        self.opened = _Opened()
        #: Where the last model was; a loss has no parameters to tell.
        self.device = "cpu"
        #: Ends what a CPU needs of it.
        self.mended: Callable[[], None] | None = None

    def install(self) -> None:
        """A forward that was followed by no backward must not reach the arithmetic of the dataset."""
        iterator = self.torch.utils.data.dataloader._BaseDataLoaderIter
        following = iterator.__next__

        @functools.wraps(following)
        def __next__(batches: Any) -> Any:  # noqa: N807
            self.close()
            return following(batches)

        iterator.__next__ = __next__

    def switch(self, value: Any) -> None:
        self.close()
        if self.mended is not None:
            self.mended()
            self.mended = None
        super().switch(value)

    def before_forward(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool) -> Any:
        if self.value is None:
            return args
        opened, torch = self.opened, self.torch
        opened.error_before = sys.exc_info()[1]
        first = next(module.parameters(), None)
        self.device = first.device.type if first is not None else self.device
        if self.value == "float16" and self.device == "cpu":
            self.note("autocast was not applied: float16 is many times slower than float32 on a CPU")
            return args
        if opened.autocast is None and not torch.is_autocast_enabled(self.device):
            if self.device == "cpu" and self.mended is None:
                self.mended = shallow.in_float32(torch)
            opened.autocast = torch.autocast(self.device, dtype=getattr(torch, self.value))
            opened.autocast.__enter__()
            opened.forward_only = not training
            if first is not None:
                self.pulled()
        return args

    def after_forward(self) -> None:
        """One that no backward follows ends autocast."""
        opened = self.opened
        failed = sys.exc_info()[1] is not opened.error_before
        opened.error_before = None
        if opened.autocast is None:
            return
        if opened.forward_only or failed:
            self.close()
        elif not self.torch.is_grad_enabled():
            # Weights are cast once for the whole of autocast. A copy made without gradients would have none to give.
            self.torch.clear_autocast_cache()

    def before_backward(self) -> None:
        self.close()

    def before_optimizer(self, optimizer: Any) -> None:
        self.close()

    def close(self) -> None:
        opened = self.opened
        if opened.autocast is not None:
            opened.autocast.__exit__(None, None, None)
            opened.autocast = None
            opened.forward_only = False

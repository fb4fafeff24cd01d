"""Copies to the GPU that the program does not wait for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from hotlap.probe.levers.base import Lever


class NonBlocking(Lever):
    """From pinned memory alone: torch keeps that alive until the copy is over, and work on the GPU is in order.

    A script that writes into a batch after it has copied it would change what arrives: then the losses differ.
    """

    name = "non_blocking"
    never = "the script copied nothing from pinned memory to a GPU"
    live = True

    def install(self) -> None:
        tensor = self.torch.Tensor
        tensor.to, tensor.cuda = self._wrap(tensor.to, self._to_gpu), self._wrap(tensor.cuda, lambda args, kwargs: True)

    def _wrap(self, copy: Callable[..., Any], to_gpu: Callable[[Any, Any], bool]) -> Callable[..., Any]:
        compiling = self.torch.compiler.is_dynamo_compiling

        @functools.wraps(copy)
        def copied(tensor: Any, *args: Any, **kwargs: Any) -> Any:
            if not self.value or compiling() or tensor.device.type != "cpu" or not self._decides(tensor, args, kwargs):
                return copy(tensor, *args, **kwargs)
            if not to_gpu(args, kwargs):
                return copy(tensor, *args, **kwargs)
            self.pulled()
            return copy(tensor, *args, **{**kwargs, "non_blocking": True})

        return copied

    def _decides(self, tensor: Any, args: Any, kwargs: Any) -> bool:
        """Whether the script has said nothing of it itself, and it would make a difference."""
        said = "non_blocking" in kwargs or any(isinstance(each, bool) for each in args)
        return not said and bool(tensor.is_pinned())

    def _to_gpu(self, args: Any, kwargs: Any) -> bool:
        target = kwargs.get("device", args[0] if args else None)
        if isinstance(target, self.torch.Tensor):
            target = target.device
        if target is None or isinstance(target, int):
            return target is not None
        try:
            return bool(self.torch.device(target).type == "cuda")
        except (TypeError, RuntimeError):
            return False  # a dtype, or nothing that torch knows

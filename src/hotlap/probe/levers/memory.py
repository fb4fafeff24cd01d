"""How memory is handed out: glibc told to keep what is freed, torch's allocator on a GPU told to let segments grow."""

from __future__ import annotations

import os
from typing import Any

from hotlap.allocator import keep_freed_memory
from hotlap.probe.levers.base import Lever

#: Where torch looks for settings; the second one is newer and comes first for it.
CUDA_ALLOCATION = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")


class KeepFreedMemory(Lever):
    name = "allocator"

    def install(self) -> None:
        obstacle = keep_freed_memory()
        if obstacle:
            self.note(f"allocator was not applied: {obstacle}")


class CudaAllocator(Lever):
    """Its value is a setting such as ``expandable_segments:True``; torch reads it when CUDA starts."""

    name = "cuda_allocator"
    never = "no model was called on a CUDA device"

    def install(self) -> None:
        name = CUDA_ALLOCATION[1] if CUDA_ALLOCATION[1] in os.environ else CUDA_ALLOCATION[0]
        told = os.environ.get(name, "")
        setting = str(self.value).partition(":")[0]
        if self.torch.cuda.is_initialized():
            self.note("cuda_allocator was not applied: CUDA had started already")
        elif setting in told:
            self.note(f"cuda_allocator was not applied: {name} is {told!r} already")
        else:
            os.environ[name] = f"{told},{self.value}".lstrip(",")

    def before_forward(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool) -> Any:
        if not self.applied:
            first = next(module.parameters(), None)
            if first is not None and first.is_cuda:
                self.pulled()
        return args

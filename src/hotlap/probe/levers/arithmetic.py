"""How float32 is computed, in torch's own settings, which a script may set itself when we have done so."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hotlap.probe.levers.base import Lever


class _Setting(Lever):
    """Looked at before every outermost forward; what is found there is the script's."""

    def __init__(self, torch: Any, value: Any) -> None:
        super().__init__(torch, value)
        self.before: Any = None

    def before_forward(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool) -> Any:
        if self.value is not None:
            try:
                self.apply()
            except RuntimeError as error:  # the script mixes an old and a new way to set the same
                self.note(f"{self.name} was not applied: {error}")
                self.value = None
        return args

    def apply(self) -> None:
        now = self.get()
        if now != self.value:
            self.before = now
            self.set(self.value)
        self.pulled()

    def switch(self, value: Any) -> None:
        if self.before is not None:
            with suppress(RuntimeError):
                if self.get() == self.value:
                    self.set(self.before)
        self.before = None
        super().switch(value)

    def get(self) -> Any:
        """The setting as it is."""

    def set(self, value: Any) -> None:
        """Make it this."""


class MatmulPrecision(_Setting):
    """Either "high" (TF32 on a GPU) or "medium" (bfloat16 inside of products, on a CPU too)."""

    name = "matmul_precision"
    never = "no model was called"
    live = True

    def get(self) -> Any:
        return self.torch.get_float32_matmul_precision()

    def set(self, value: Any) -> None:
        self.torch.set_float32_matmul_precision(value)


class Threads(_Setting):
    """Threads that an operator's work on a CPU is divided among."""

    name = "threads"
    never = "no model was called"
    live = True

    def get(self) -> Any:
        return self.torch.get_num_threads()

    def set(self, value: Any) -> None:
        self.torch.set_num_threads(value)


class CudnnBenchmark(_Setting):
    """Not live: what was chosen by trying stays chosen when trying is switched off."""

    name = "cudnn_benchmark"
    never = "no model was called on a CUDA device"

    def before_forward(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool) -> Any:
        first = next(module.parameters(), None)
        if first is None or not first.is_cuda:
            return args
        if self.torch.are_deterministic_algorithms_enabled() or self.torch.backends.cudnn.deterministic:
            self.note("cudnn_benchmark was not applied: the script asks for deterministic algorithms")
            return args
        return super().before_forward(module, args, kwargs, training)

    def get(self) -> Any:
        return self.torch.backends.cudnn.benchmark

    def set(self, value: Any) -> None:
        self.torch.backends.cudnn.benchmark = value

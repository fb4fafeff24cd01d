"""How torch and the environment are set, looked at once or seldom: nothing here runs in every step."""

from __future__ import annotations

import math
import os
import sys
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hotlap.probe.harmless import harmless

#: Variables that slow a training down for the sake of debugging, and the values that do not.
_DEBUGGING = {
    "CUDA_LAUNCH_BLOCKING": ("", "0"),
    "PYTORCH_NO_CUDA_MEMORY_CACHING": ("", "0"),
    "TORCH_DISTRIBUTED_DEBUG": ("", "OFF", "INFO"),
    "TORCH_LOGS": ("",),
    "PYTHONDEVMODE": ("",),
    "PYTHONMALLOC": ("", "default", "pymalloc", "malloc", "mimalloc"),
    "PYTHONTRACEMALLOC": ("", "0"),
}


class Switches:
    """Becomes ``records.Switches``."""

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.values: dict[str, Any] = {"looks": 0, "anomaly": 0, "profiler": 0}
        self.loss_modules: dict[str, int] = {}
        self.clip_calls = 0
        self.graded_evaluations = 0
        #: By id, as long as they live: modules without a parameter that is trained, and those called to train.
        self.frozen: set[int] = set()
        self.trained: set[int] = set()
        self.known: dict[int, Any] = {}
        #: What was called last, if it came after another module: it may have been a loss.
        self.latest: Any = None
        #: Kept to the end, when the script may have let go of it: it holds a number or two.
        self.scaler: Any = None

    # in the first steps

    @harmless
    def called(self, module: Any, training: bool, later: bool) -> None:
        """``later``: another module was called before it, since the last optimizer step."""
        if self._trains(module):
            if training:
                self._trained(module)
        elif id(module) not in self.trained:
            self._remember(module)
            self.frozen.add(id(module))
            if later:
                self.is_loss(module)
        self.latest = weakref.ref(module) if later else None

    def is_frozen(self, module: Any) -> bool:
        """Of one in ``frozen``: a discriminator may be trained only now and then."""
        if self._trains(module):
            self._trained(module)
        return id(module) in self.frozen

    def _trains(self, module: Any) -> bool:
        parameters = list(self.torch.nn.Module.parameters(module))
        return not parameters or any(parameter.requires_grad for parameter in parameters)

    def _trained(self, module: Any) -> None:
        self._remember(module)
        self.frozen.discard(id(module))
        self.trained.add(id(module))

    def _remember(self, module: Any) -> None:
        name = id(module)
        if name in self.known:
            return

        def gone(_: Any) -> None:
            del self.known[name]
            self.frozen.discard(name)
            self.trained.discard(name)

        self.known[name] = weakref.ref(module, gone)

    @harmless
    def returned_number(self) -> None:
        """The module that was called last returned one number."""
        module = self.latest() if self.latest is not None else None
        if module is not None:
            self.is_loss(module)

    @harmless
    def is_loss(self, module: Any) -> None:
        lazy = self.torch.nn.parameter.is_lazy
        sizes = (parameter.numel() for parameter in self.torch.nn.Module.parameters(module) if not lazy(parameter))
        self.loss_modules[type(module).__name__] = sum(sizes)

    def scales(self, scaler: Any) -> None:
        self.scaler = scaler

    def parameters(self, parameters: list[Any]) -> None:
        dtypes: dict[str, int] = {}
        for parameter in parameters:
            name = str(parameter.dtype).removeprefix("torch.")
            dtypes[name] = dtypes.get(name, 0) + 1
        self.values["dtypes"] = dtypes
        if parameters and parameters[0].is_cuda:
            with suppress(Exception):
                self._device(parameters[0].device)

    def _device(self, device: Any) -> None:
        torch = self.torch
        self.values["capability"] = torch.cuda.get_device_capability(device)
        self.values["deterministic"] = torch.are_deterministic_algorithms_enabled()
        # Where a script mixes the old and the new way to say it, the old one raises.
        self.values["tf32_convolutions"] = torch.backends.cudnn.allow_tf32
        self.values["tf32_matmul"] = torch.get_float32_matmul_precision() != "highest"

    # seldom

    def evaluated(self, module: Any) -> None:
        """A module was called in eval mode with gradients, before anything of a step."""
        self.graded_evaluations += id(module) in self.trained

    def look(self, float16: bool) -> None:
        """The training is warm, and a step is over. ``float16``: it computes in that on the CPU."""
        values = self.values
        if float16 and not values["looks"]:
            values["float16_slowdown"] = self._float16_slowdown()
        values["looks"] += 1
        values["anomaly"] += self.torch.is_anomaly_enabled()
        values["profiler"] += self.torch._C._autograd._profiler_enabled()
        if "scale_first" not in values:
            values["scale_first"] = self._scale()

    def _float16_slowdown(self) -> float:
        return self._product(self.torch.float16) / self._product(self.torch.float32)

    def _product(self, dtype: Any) -> float:
        """Seconds of a product of two small matrices: under 1 ms in float16 where that is slow."""
        matrix = self.torch.ones(128, 128, dtype=dtype)
        return min(_seconds(lambda: self.torch.mm(matrix, matrix)) for _ in range(5))

    def _scale(self) -> float | None:
        if self.scaler is None:
            return None
        try:
            scale = float(self.scaler.get_scale())
        except RuntimeError:  # a device that has failed
            return None
        return scale if math.isfinite(scale) else None

    def collect(self) -> dict[str, Any]:
        found = {
            **self.values,
            "environment": _environment(),
            "loss_modules": self.loss_modules,
            "clip_calls": self.clip_calls,
            "graded_evaluations": self.graded_evaluations,
            "scale_last": self._scale(),
        }
        return {name: value for name, value in found.items() if value is not None}


def _seconds(action: Callable[[], Any]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _environment() -> list[str]:
    found = [
        f"{name}={os.environ[name]}"
        for name, harmless in _DEBUGGING.items()
        if os.environ.get(name, "") not in harmless
    ]
    if sys.flags.dev_mode and not os.environ.get("PYTHONDEVMODE"):
        found.append("-X dev")
    return found

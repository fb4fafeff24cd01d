"""What the probe learns about a training by looking, once or seldom, without changing it."""

from __future__ import annotations

import os
import resource
import sys
import time
from types import ModuleType
from typing import Any


def batch_dimension(torch: ModuleType, batch: Any, depth: int = 0) -> int | None:
    """Size of the first dimension of the first tensor in a batch."""
    if isinstance(batch, torch.Tensor):
        return int(batch.shape[0]) if batch.dim() else None
    if depth > 3:
        return None
    values = batch.values() if hasattr(batch, "values") else batch if isinstance(batch, (list, tuple)) else ()
    for value in values:
        found = batch_dimension(torch, value, depth + 1)
        if found is not None:
            return found
    return None


class LossReading:
    """A loss that is read later, so that the device need not be waited for."""

    __slots__ = ("event", "tensor")

    def __init__(self, torch: ModuleType, loss: Any) -> None:
        loss = loss.detach()
        self.event = None
        if loss.device.type == "cuda":
            self.tensor = torch.empty_like(loss, device="cpu", pin_memory=True)
            self.tensor.copy_(loss, non_blocking=True)
            self.event = torch.cuda.Event()
            self.event.record()
        else:
            self.tensor = loss

    def value(self) -> float | None:
        """The loss, or None while the device has not computed it yet."""
        if self.event is not None and not self.event.query():
            return None
        return float(self.tensor)


class Facts:
    def __init__(self, torch: ModuleType) -> None:
        self.torch = torch
        self.values: dict[str, Any] = {}
        self.optimizer: str | None = None
        self.batch_size: int | None = None
        self.checkpointing = False
        self.module: Any = None
        self.fetches = 0
        self.fetch_total = 0.0
        self.fetch_uses_rng: bool | None = None

    def training_begins(self, module: Any, args: tuple[Any, ...]) -> None:
        torch = self.torch
        parameters = list(module.parameters())
        convolutions = [child for child in module.modules() if isinstance(child, torch.nn.modules.conv._ConvNd)]
        first = parameters[0] if parameters else None
        self.module = module
        device = first.device.type if first is not None else "cpu"
        self.values.update(
            device=device,
            threads=torch.get_num_threads(),
            parameters=sum(parameter.numel() for parameter in parameters),
            parameter_tensors=len(parameters),
            parameter_dtype=str(first.dtype).removeprefix("torch.") if first is not None else None,
            convolutions=len(convolutions),
            compiled=type(module).__name__ == "OptimizedModule"
            or getattr(module, "_compiled_call_impl", None) is not None,
            world_size=int(os.environ.get("WORLD_SIZE", "1")),
        )

    def step_done(self, calls: int) -> None:
        """After the first steps: what is only visible once the training runs."""
        torch, module = self.torch, self.module
        self.values["module_calls"] = calls
        if module is None:
            return
        kernels = [p for p in module.parameters() if p.dim() == 4 and p.shape[1] > 1 and max(p.shape[2:]) > 1]
        if kernels:
            self.values["channels_last"] = all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)

    def note_autocast(self, device: str) -> None:
        torch = self.torch
        if "autocast" not in self.values and torch.is_autocast_enabled(device):
            self.values["autocast"] = str(torch.get_autocast_dtype(device)).removeprefix("torch.")

    def loader_begins(self, loader: Any) -> None:
        if "workers" in self.values:
            return
        self.values.update(
            workers=loader.num_workers,
            prefetch_factor=loader.prefetch_factor,
            persistent_workers=bool(loader.persistent_workers),
            pin_memory=bool(loader.pin_memory),
            iterable_dataset=isinstance(loader.dataset, self.torch.utils.data.IterableDataset),
        )

    def optimizer_begins(self, optimizer: Any) -> None:
        self.optimizer = type(optimizer).__name__
        group = optimizer.param_groups[0]
        self.values.update(
            optimizer=self.optimizer,
            optimizer_foreach=group.get("foreach"),
            optimizer_fused=group.get("fused"),
        )

    def watch_fetching(self, torch: ModuleType, probe: Any) -> None:
        """Time the fetching in this process, and see whether it draws from the global random generators."""
        fetcher = torch.utils.data._utils.fetch._BaseDatasetFetcher

        def wrap(kind: Any) -> None:
            original = kind.fetch

            def fetch(fetcher: Any, indices: Any) -> Any:
                if not probe.enabled:
                    return original(fetcher, indices)
                state = _random_state(torch) if self.fetches < 3 else None
                start = time.perf_counter()
                batch = original(fetcher, indices)
                self.fetch_total += time.perf_counter() - start
                self.fetches += 1
                if state is not None:
                    self.fetch_uses_rng = bool(self.fetch_uses_rng) or _random_state(torch) != state
                return batch

            kind.fetch = fetch

        for kind in fetcher.__subclasses__():
            wrap(kind)

    def collect(self, probe_seconds: float) -> dict[str, Any]:
        scale = 1 if sys.platform == "darwin" else 1024
        collected = {
            **self.values,
            "batch_size": self.batch_size,
            "checkpointing": self.checkpointing,
            "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale,
            "probe_seconds": probe_seconds,
            "fetch_seconds": self.fetch_total / self.fetches if self.fetches else None,
            "fetch_uses_rng": self.fetch_uses_rng,
        }
        if self.values.get("device") == "cuda":
            collected["peak_device_memory"] = self.torch.cuda.max_memory_allocated()
        return {name: value for name, value in collected.items() if value is not None}


def _random_state(torch: ModuleType) -> tuple[Any, ...]:
    import random

    states: list[Any] = [torch.random.get_rng_state().numpy().tobytes(), hash(random.getstate())]
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        state = numpy.random.get_state(legacy=True)
        states += [state[1].tobytes(), state[2]]
    return tuple(states)

"""What the probe learns about a training by looking, once or seldom, without changing it."""

from __future__ import annotations

import importlib.util
import os
import resource
import sys
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from hotlap.allocator import allocator
from hotlap.probe import applying, dataset, levers
from hotlap.probe.blocks import blocks
from hotlap.probe.compiled import has_compiled, is_compiled
from hotlap.probe.harmless import harmless
from hotlap.probe.host import Host
from hotlap.probe.levers.memory import CUDA_ALLOCATION
from hotlap.probe.repeated import repeated_blocks
from hotlap.probe.settings import Switches
from hotlap.probe.timeline import VALIDATION
from hotlap.probe.usage import Usage

#: Options of an optimizer that not every implementation of it has.
_OPTIONS = ("amsgrad", "maximize", "capturable", "differentiable")
#: Packages without which some changes cannot be made.
_PACKAGES = ("bitsandbytes", "torchao")


def batch_dimension(torch: Any, batch: Any) -> int | None:
    """Size of the first dimension of the first tensor in a batch; None where none is found."""
    try:
        return _batch_dimension(torch, batch, 0)
    except Exception:  # a container or a tensor of the script's own
        return None


def _batch_dimension(torch: Any, batch: Any, depth: int) -> int | None:
    first: Any = batch[0] if type(batch) in (list, tuple) and batch else None
    if type(first) is torch.Tensor and first.dim():
        return int(first.size(0))  # what most loaders hand over
    if isinstance(batch, torch.Tensor):
        return int(batch.shape[0]) if batch.dim() else None
    if depth > 3:
        return None
    values = batch if isinstance(batch, (list, tuple)) else batch.values() if isinstance(batch, Mapping) else ()
    for value in values:
        found = _batch_dimension(torch, value, depth + 1)
        if found is not None:
            return found
    return None


class Facts:
    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.values: dict[str, Any] = {}
        self.switches = Switches(torch)
        #: What each loader was made with.
        self.loaders: dict[str, dict[str, Any]] = {}
        #: Outermost modules that were called to train, and those called with gradients in eval mode.
        self.modules: list[Any] = []
        self.frozen: list[Any] = []
        #: In which thread each was called first, by id.
        self.threads: dict[int, int] = {}
        #: Parameters of the first optimizer, for trainings whose modules are not seen.
        self.optimized: list[Any] = []
        #: Those modules and every optimizer, by id, as long as the script keeps them.
        self.live_modules: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self.live_optimizers: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self.calls = 0
        #: Of what each model was called with to train, by its id, in the first steps.
        self.shapes: dict[int, set[tuple[int, ...]]] = {}
        self.batch_size: int | None = None
        self.micro_batches = 0
        #: Says what a data parallel model is set to, once there is one.
        self.data_parallel: Callable[[], dict[str, Any] | None] = lambda: None
        self.checkpointing = False
        self.device = "cpu"
        self.host = Host()
        self.usage = Usage()

    def rank(self) -> int:
        """This process's rank, asked when it begins to train; at its end the group may be gone."""
        distributed = self.torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            self.values["world_size"] = int(distributed.get_world_size())
            return int(distributed.get_rank())
        self.values["world_size"] = int(os.environ.get("WORLD_SIZE", "1"))
        return int(os.environ.get("RANK", "0"))

    @harmless
    def module_called(self, module: Any, training: bool) -> None:
        self.calls += 1
        seen = self.modules if training else self.frozen
        if not any(module is known for known in seen):
            seen.append(module)
            with suppress(TypeError):  # no weak reference to this one
                self.live_modules[id(module)] = module
            self.threads[id(module)] = threading.get_ident()
            first = next(iter(self.torch.nn.Module.parameters(module)), None)
            if first is not None and len(self.modules) <= 1:
                self.device = first.device.type
        self.note_autocast()

    def training_begins(self, thread: int) -> None:
        """What other threads call is not trained."""
        self.host.begin()
        self.usage.begin()
        self.modules = [module for module in self.modules if self.threads[id(module)] == thread]
        self.frozen = [module for module in self.frozen if self.threads[id(module)] == thread]

    @harmless
    def called_with(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A model is called to train."""
        first = next((value for value in (*args, *kwargs.values()) if isinstance(value, self.torch.Tensor)), None)
        if first is not None:
            self.shapes.setdefault(id(module), set()).add(tuple(first.shape))

    @harmless
    def inner_call(self) -> None:
        self.calls += 1
        self.note_autocast()

    def note_autocast(self) -> None:
        """Called inside the model too, where some libraries switch it on; a lever's autocast is not the script's."""
        if "autocast" in self.values or levers.wanted.get("autocast"):
            return
        if self.torch.is_autocast_enabled(self.device):
            self.values["autocast"] = str(self.torch.get_autocast_dtype(self.device)).removeprefix("torch.")

    @harmless
    def use(self, steps: int, warm: bool) -> None:
        """Look at what the process has used after so many steps; the first look at a ``warm`` one is the origin."""
        if warm:
            self.host.threads.try_lock()
            self.usage.look(steps)
            kinds = {self.values.get(name) for name in ("autocast", "parameter_dtype")}
            self.switches.look(self.values.get("device") == "cpu" and "float16" in kinds)
            self.host.use(steps)

    @harmless
    def step_done(self) -> None:
        """After the first steps: what the models are, once they have run."""
        torch, values = self.torch, self.values
        modules = self.modules or self.frozen
        every = [p for module in modules for p in torch.nn.Module.parameters(module)] or self.optimized
        # One that no call has made yet has no size.
        lazy = torch.nn.parameter.is_lazy
        parameters = list({id(p): p for p in every if not lazy(p)}.values())
        inner = [child for module in modules for child in torch.nn.Module.modules(module)]
        first = parameters[0] if parameters else None
        self.switches.parameters(parameters)
        values.update(
            device=first.device.type if first is not None else "cuda" if torch.cuda.is_initialized() else "cpu",
            threads=torch.get_num_threads(),
            parameters=sum(parameter.numel() for parameter in parameters),
            parameter_tensors=len(parameters),
            parameter_dtype=str(first.dtype).removeprefix("torch.") if first is not None else None,
            convolutions=sum(isinstance(child, torch.nn.modules.conv._ConvNd) for child in inner),
            batch_norms=sum(isinstance(child, torch.nn.modules.batchnorm._BatchNorm) for child in inner),
            compiled=any(is_compiled(child) for child in inner) or has_compiled(),
            allocator=allocator(),
            huge_pages=_huge_pages(),
            cudnn_benchmark=bool(torch.backends.cudnn.benchmark),
            cuda_allocator=next((os.environ[name] for name in CUDA_ALLOCATION if name in os.environ), None),
            blocks=sum(len(blocks(torch, module)) for module in modules),
            optimizer_bits=_state_bits(self.live_optimizers.values()),
            module_calls=min(self.calls, values.get("module_calls", self.calls)),
        )
        # Where a script mixes the old and the new way to say it, the old one raises.
        with suppress(RuntimeError):
            values["matmul_precision"] = torch.get_float32_matmul_precision()
        # A kernel of 1 x 1, or of one channel, is laid out in both ways at once.
        kernels = [p for p in parameters if p.dim() == 4 and p.shape[1] > 1 and max(p.shape[2:]) > 1]
        if kernels:
            values["channels_last"] = all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)
        found = [blocks for module in modules for blocks in repeated_blocks(torch, module).values()]
        values["repeated_blocks"] = sum(len(blocks) for blocks in found)

    def forget_modules(self) -> None:
        """The script may want to free them, and some must not outlive its process group."""
        self.modules, self.frozen, self.optimized = [], [], []

    @harmless
    def loader_begins(self, name: str, loader: Any) -> None:
        self.usage.forked = self.usage.forked or loader.num_workers > 0
        if name not in self.loaders:
            self.loaders[name] = {
                "workers": loader.num_workers,
                "prefetch_factor": loader.prefetch_factor,
                "persistent_workers": bool(loader.persistent_workers),
                "pin_memory": bool(loader.pin_memory),
                "iterable_dataset": isinstance(loader.dataset, self.torch.utils.data.IterableDataset),
            }

    @harmless
    def iteration_begins(self, name: str, loader: Any, iterator: Any) -> None:
        known = self.loaders[name]
        if "dataset" not in known:
            known["dataset"] = dataset.describe(self.torch, loader)
        dataset.look_at_batches(self.torch, iterator, known["dataset"])

    @harmless
    def optimizer_begins(self, optimizer: Any) -> None:
        with suppress(TypeError):
            self.live_optimizers[id(optimizer)] = optimizer
        if "optimizer" in self.values:
            return
        self.optimized = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        group = optimizer.param_groups[0]
        self.values.update(
            optimizer=_name(type(optimizer)),
            optimizer_foreach=group.get("foreach"),
            optimizer_fused=group.get("fused"),
            optimizer_options=[name for name in _OPTIONS if any(each.get(name) for each in optimizer.param_groups)],
            importable=[name for name in _PACKAGES if _importable(name)],
        )
        if isinstance(group.get("weight_decay"), (int, float)):
            self.values["weight_decay"] = float(group["weight_decay"])

    def collect(self, probe_seconds: float, roles: dict[str, str]) -> dict[str, Any]:
        scale = 1 if sys.platform == "darwin" else 1024
        training = [facts for name, facts in self.loaders.items() if roles.get(name) != VALIDATION]
        collected = {
            **self.values,
            **(training[0] if training else {}),
            "batch_size": self.batch_size,
            "micro_batches": self.micro_batches or None,
            "data_parallel": self.data_parallel(),
            "checkpointing": self.checkpointing,
            "applied": applying.applied or None,
            "input_shapes": max(map(len, self.shapes.values()), default=None),
            "peak_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale,
            "probe_seconds": probe_seconds,
            **self.host.collect(),
            **self.usage.collect(),
            "switches": self.switches.collect(),
        }
        if self.values.get("device") == "cuda":
            collected["peak_device_memory"] = self.torch.cuda.max_memory_allocated()
        if "dataset" in collected:
            collected["dataset"] = dataset.collected(collected["dataset"])
        return {name: value for name, value in collected.items() if value is not None}


def _importable(name: str) -> bool:
    """Without importing it: that takes seconds."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


def _state_bits(optimizers: Iterable[Any]) -> int | None:
    """Bits of a number in the largest tensor of the state; of a quantised one, of the codes that it is made of."""
    states = [state for optimizer in optimizers for state in list(optimizer.state.values()) if isinstance(state, dict)]
    tensors = [value for state in states for value in state.values() if hasattr(value, "element_size")]
    largest = max(tensors, key=lambda tensor: int(tensor.numel()), default=None)
    return None if largest is None else 8 * int(getattr(largest, "codes", largest).element_size())


def _name(optimizer: type) -> str:
    """One of torch's by its name alone; another one may have the same."""
    own = optimizer.__module__.partition(".")[0] == "torch"
    return optimizer.__name__ if own else f"{optimizer.__module__}.{optimizer.__qualname__}"


def _huge_pages() -> bool | None:
    try:
        with open("/sys/kernel/mm/transparent_hugepage/enabled") as file:
            return "[always]" in file.read()
    except OSError:
        return None

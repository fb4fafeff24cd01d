"""A ``torch.cuda`` that has a card, and a torch that saves and compiles nothing of what is imitated."""

from __future__ import annotations

import functools
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

from hotlap.estimate.imitation import copies_with_one_storage
from hotlap.estimate.script import _entered
from hotlap.estimate.script.follower import Follower
from hotlap.estimate.script.placing import CARD, Moved, Placing, is_card
from hotlap.estimate.script.telling import Telling
from hotlap.probe import after_import


def change_torch(placing: Placing, telling: Telling) -> None:
    """What holds on a processor, too."""
    follower = placing.follower
    _entered.enter_context(copies_with_one_storage())
    moved = Moved(follower)

    def _apply(module: nn.Module, function: Any, recurse: bool = True) -> nn.Module:
        return moved(module, function, recurse)

    nn.Module._apply = _apply  # type: ignore[method-assign]

    write: Any = torch.save

    def save(*args: Any, **kwargs: Any) -> None:
        if args and not _is_imitated(args[0]):
            write(*args, **kwargs)  # a data set that is kept, for instance: the files are contained
        else:
            telling.saves += 1

    def compiled(model: Any = None, **kwargs: Any) -> Any:
        telling.compiled = True
        return model if model is not None else lambda function: function

    def compiled_in_place(module: nn.Module, *args: Any, **kwargs: Any) -> None:
        telling.compiled = True

    run: Any = getattr(torch.autograd, "_engine_run_backward", None)
    if run is not None:

        def run_backward(*args: Any, **kwargs: Any) -> Any:
            """Where checkpointing computes again, and functions have a backward of their own."""
            with placing:
                return run(*args, **kwargs)

        torch.autograd._engine_run_backward = run_backward  # type: ignore[attr-defined]
    for name, savers in _SAVERS.items():
        after_import(name, functools.partial(_save_nothing, save, savers))
    torch.save, torch.compile = save, compiled
    nn.Module.compile = compiled_in_place  # type: ignore[method-assign, assignment]
    if torch.distributed.is_available():

        def init_process_group(*args: Any, **kwargs: Any) -> None:
            telling.stop(
                "the script starts torch.distributed, and an estimate goes through one process: let it train without, "
                "as it does on one device, and add --ranks for what more of them take"
            )

        torch.distributed.init_process_group = init_process_group


#: Of packages that write checkpoints without torch.save: module, and what of it writes.
_SAVERS = {
    "safetensors.torch": ("save_file", "save_model"),
    "transformers.modeling_utils": ("PreTrainedModel.save_pretrained",),
    "transformers.trainer": ("Trainer._save_checkpoint", "Trainer.save_model"),
}


def _is_imitated(value: Any, depth: int = 6) -> bool:
    """Whether some tensor in it has no memory, as far as one sees."""
    if isinstance(value, torch.Tensor):
        return isinstance(value, FakeTensor)
    if isinstance(value, nn.Module):
        return any(isinstance(each, FakeTensor) for each in [*value.parameters(), *value.buffers()])
    if not depth or isinstance(value, (str, bytes, type)):
        return False
    if isinstance(value, Mapping):
        parts: Iterable[Any] = value.values()
    elif isinstance(value, (list, tuple, set)):
        parts = value
    else:
        parts = getattr(value, "__dict__", {}).values()
    return any(_is_imitated(each, depth - 1) for each in parts)


def _save_nothing(save: Any, savers: tuple[str, ...], module: Any) -> None:
    for path in savers:
        *owners, name = path.split(".")
        owner = functools.reduce(lambda found, part: getattr(found, part, None), owners, module)
        if hasattr(owner, name):
            setattr(owner, name, lambda *args, **kwargs: save())


def show(told: dict[str, Any], placing: Placing) -> None:
    """A card where there may be none: of this name, memory and compute capability."""
    follower = placing.follower
    capability = tuple(told["capability"] or (8, 0))
    memory = told["memory"]

    def held(*_: Any, **__: Any) -> int:
        return follower.held()

    def nothing(*_: Any, **__: Any) -> None:
        return None

    properties = SimpleNamespace(
        name=told["name"],
        major=capability[0],
        minor=capability[1],
        total_memory=memory,
        multi_processor_count=100,
        is_integrated=False,
        is_multi_gpu_board=False,
        warp_size=32,
    )
    state = torch.get_rng_state()
    known: dict[str, Any] = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "is_current_stream_capturing": lambda: False,
        "init": nothing,
        "_lazy_init": nothing,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": nothing,
        "device": _Device,
        "device_of": _Device,
        "get_device_name": lambda *_, **__: told["name"],
        "get_device_capability": lambda *_, **__: capability,
        "get_device_properties": lambda *_, **__: properties,
        "get_arch_list": lambda: [f"sm_{capability[0]}{capability[1]}"],
        "is_bf16_supported": lambda *_, **__: capability >= (8, 0),
        "is_tf32_supported": lambda *_, **__: capability >= (8, 0),
        "mem_get_info": lambda *_, **__: (max(memory - follower.held(), 0), memory),
        "memory_stats": lambda *_, **__: defaultdict(int),
        "memory_summary": lambda *_, **__: "",
        "get_rng_state": lambda *_, **__: state,
        "get_rng_state_all": lambda: [state],
        "utilization": lambda *_, **__: 0,
        "default_stream": lambda *_, **__: _Stream(),
        "current_stream": lambda *_, **__: _Stream(),
        "stream": lambda *_: nullcontext(),
        "Stream": _Stream,
        "Event": _Event,
    }
    for name in ("memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved"):
        known[name] = held
    for name in (
        *("synchronize", "empty_cache", "ipc_collect", "manual_seed", "manual_seed_all", "seed", "seed_all"),
        *("reset_peak_memory_stats", "reset_max_memory_allocated", "reset_accumulated_memory_stats", "set_stream"),
        *("set_rng_state", "set_rng_state_all", "set_per_process_memory_fraction"),
    ):
        known[name] = nothing
    for module in (torch.cuda, torch.cuda.memory, torch.cuda.random, torch.cuda.graphs):
        for name, value in known.items():
            if hasattr(module, name):
                setattr(module, name, value)
    # Weights in one piece are cuDNN's, which would read their memory.
    nn.RNNBase.flatten_parameters = nothing  # type: ignore[method-assign]
    for name in ("range_push", "range_pop", "mark"):
        setattr(torch.cuda.nvtx, name, nothing)
    if hasattr(torch, "accelerator"):
        accelerator: Any = torch.accelerator
        changed = {"is_available": lambda: True, "current_accelerator": lambda *_, **__: torch.device("cuda")}
        changed |= {name: known[name] for name in ("device_count", "synchronize", "empty_cache")}
        changed |= {"current_device_index": lambda: 0, "set_device_index": nothing, "set_stream": nothing}
        changed |= {"current_stream": lambda *_: _Stream()}
        for name, value in changed.items():
            if hasattr(accelerator, name):
                setattr(accelerator, name, value)
    _group_on_card()
    _say_where(placing, follower)
    torch.Generator = _generator()  # type: ignore[misc]
    torch.load = _loading(torch.load)
    _autocast_of_the_card()


def _say_where(placing: Placing, follower: Follower) -> None:
    """An imitated tensor tells its device by a property of its own, which torch's imitation needs as it is."""
    own: Any = FakeTensor.device

    def device(tensor: FakeTensor) -> torch.device:
        modes = (torch._C._get_function_stack_at(at) for at in range(torch._C._len_torch_function_stack()))
        is_script = not follower.within and any(mode is placing for mode in modes)
        # Checkpointing notes it in forward, where no mode is, and again in backward, where one is.
        is_noted = sys._getframe(1).f_code.co_name == "_default_meta_extractor"
        return CARD if is_script and not is_noted else own.fget(tensor)

    FakeTensor.device = property(device, own.fset)  # type: ignore[method-assign, assignment]


def _group_on_card() -> None:
    """Optimizers and clipping ask C for the devices of their tensors, and move what belongs to a group there."""
    usual: Any = torch._C._group_tensors_by_device_and_dtype

    @functools.wraps(usual)
    def grouped(tensors: Any, *args: Any, **kwargs: Any) -> Any:
        found = usual(tensors, *args, **kwargs)
        return {
            (CARD if any(isinstance(each, FakeTensor) for each in lists[0]) else device, dtype): (lists, numbers)
            for (device, dtype), (lists, numbers) in found.items()
        }

    torch._C._group_tensors_by_device_and_dtype = grouped  # type: ignore[assignment]


def _autocast_of_the_card() -> None:
    """``on_cuda`` has autocast of the CPU do what CUDA's would: what asks about CUDA's is told about that."""
    enabled, dtype = torch.is_autocast_enabled, torch.get_autocast_dtype

    @functools.wraps(enabled)
    def is_autocast_enabled(device_type: str = "cuda") -> bool:
        return enabled("cpu" if device_type == "cuda" else device_type)

    @functools.wraps(dtype)
    def get_autocast_dtype(device_type: str) -> torch.dtype:
        return dtype("cpu") if device_type == "cuda" and enabled("cpu") else dtype(device_type)

    torch.is_autocast_enabled, torch.get_autocast_dtype = is_autocast_enabled, get_autocast_dtype


def _generator() -> Any:
    usual: Any = torch.Generator

    class OfUsual(type):
        def __instancecheck__(cls, instance: Any) -> bool:
            return type(instance) is usual

        def __call__(cls, device: Any = None) -> Any:
            return usual()

    return OfUsual("Generator", (), {})


def _loading(usual: Any) -> Any:
    @functools.wraps(usual)
    def load(f: Any, map_location: Any = None, *args: Any, **kwargs: Any) -> Any:
        by_name = map_location is None or isinstance(map_location, (str, int, torch.device))
        found = usual(f, "cpu" if by_name else map_location, *args, **kwargs)
        return _on_card(found) if by_name and is_card(map_location) else found

    return load


def _on_card(value: Any) -> Any:
    """Tensors of a checkpoint, put onto the card where they are in dictionaries and lists."""
    if isinstance(value, torch.Tensor):
        return value.to(CARD)
    if isinstance(value, dict):
        for key, each in value.items():
            value[key] = _on_card(each)
    elif isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(_on_card(each) for each in value)
    return value


class _Device:
    """``with torch.cuda.device(0):``"""

    def __init__(self, *_: Any) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *_: Any) -> None: ...


class _Stream:
    """Everything is in one order."""

    cuda_stream, device = 0, CARD

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: Any) -> None: ...

    def query(self) -> bool:
        return True

    def is_capturing(self) -> bool:
        return False

    def record_event(self, event: Any = None) -> Any:
        return event or _Event()

    def synchronize(self, *_: Any) -> None: ...

    wait_stream = wait_event = synchronize


class _Event:
    def __init__(self, *_: Any, **__: Any) -> None: ...

    def query(self) -> bool:
        return True

    def elapsed_time(self, _: Any) -> float:
        return 1.0

    def record(self, *_: Any) -> None: ...

    wait = synchronize = record

"""A card for a script to see: ``torch.cuda`` says that it is there, and what is put on it stays where it is.

torch.cuda.is_available(), device_count(), get_device_properties(), ...   of the card that is asked about
x.to("cuda"), x.cuda(), torch.zeros(..., device="cuda")                   on the CPU
synchronize(), empty_cache(), streams, events                             nothing
"""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_CPU = torch.device("cpu")
#: Take a device where they take it without its name.
_PLACING = {Tensor.to, Tensor.cuda}
_NUMBERS = (
    "memory_allocated max_memory_allocated memory_reserved max_memory_reserved memory_cached max_memory_cached "
    "current_device utilization temperature power_draw clock_rate"
)
_NOTHING = (
    "init synchronize empty_cache set_device reset_peak_memory_stats reset_max_memory_allocated ipc_collect "
    "reset_max_memory_cached reset_accumulated_memory_stats set_per_process_memory_fraction manual_seed "
    "manual_seed_all seed seed_all set_stream set_rng_state set_rng_state_all _lazy_init"
)


def show(name: str, memory: int, capability: tuple[int, int]) -> None:
    """From now on this process has one such card."""
    cuda: Any = torch.cuda
    properties = SimpleNamespace(
        name=name,
        total_memory=memory,
        major=capability[0],
        minor=capability[1],
        multi_processor_count=100,
        is_integrated=False,
        is_multi_gpu_board=False,
        warp_size=32,
    )
    answers: dict[str, Any] = {
        "is_available": True,
        "is_initialized": False,  # so that nobody asks a driver that is not there
        "device_count": 1,
        "get_device_name": name,
        "get_device_capability": capability,
        "get_device_properties": properties,
        "mem_get_info": (memory, memory),
        "is_bf16_supported": capability >= (8, 0),
        "memory_summary": "",
        "get_rng_state": torch.get_rng_state(),
        "get_rng_state_all": [torch.get_rng_state()],
        "get_arch_list": [f"sm_{capability[0]}{capability[1]}"],
        "can_device_access_peer": False,
        "is_current_stream_capturing": False,
        **dict.fromkeys(_NUMBERS.split(), 0),
        **dict.fromkeys(_NOTHING.split()),
    }
    for function, answer in answers.items():
        setattr(cuda, function, _answering(answer))
    cuda.memory_stats = lambda *_, **__: {}
    cuda.current_stream = cuda.default_stream = lambda *_, **__: _Stream()
    cuda.Stream, cuda.Event = _Stream, _Event
    for context in ("stream", "device", "device_of"):
        setattr(cuda, context, lambda *_, **__: nullcontext())
    accelerator: Any = getattr(torch, "accelerator", None)  # from torch 2.6 on
    if accelerator is not None:
        accelerator.is_available = _answering(True)
        accelerator.current_accelerator = _answering(torch.device("cuda"))
        accelerator.synchronize = accelerator.set_device_index = _answering(None)
        accelerator.current_stream = _answering(_Stream())
        accelerator.device_count, accelerator.current_device_index = _answering(1), _answering(0)
    load = torch.load

    def loaded(*args: Any, **kwargs: Any) -> Any:
        if len(args) < 2 and not callable(kwargs.get("map_location")):
            kwargs["map_location"] = _CPU
        return load(*args, **kwargs)

    torch.load = loaded
    OnCard().__enter__()  # type: ignore[no-untyped-call]  # of torch


def _answering(answer: Any) -> Any:
    return lambda *_, **__: answer


class _Stream:
    """Neither it nor an event has anything to wait for."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.device = _CPU

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None: ...

    def _nothing(self, *_: Any, **__: Any) -> None: ...

    wait_stream = wait_event = synchronize = _nothing

    def record_event(self, event: Any = None) -> Any:
        return event or _Event()

    def query(self) -> bool:
        return True

    def is_capturing(self) -> bool:
        return False


class _Event:
    def __init__(self, *_: Any, **__: Any) -> None: ...

    def _nothing(self, *_: Any, **__: Any) -> None: ...

    record = wait = synchronize = _nothing

    def query(self) -> bool:
        return True

    def elapsed_time(self, _: Any) -> float:
        return 1.0


class OnCard(TorchFunctionMode):
    """What names the card means the CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.pin_memory or func is Tensor.cuda:
            return args[0]
        if func is Tensor.record_stream:
            return None
        if func is Tensor.is_pinned:
            return False
        if "device" in kwargs and _is_card(kwargs["device"]):
            kwargs = {**kwargs, "device": _CPU}
        if any(isinstance(each, torch.device) and each.type == "cuda" for each in args):
            args = tuple(_CPU if isinstance(each, torch.device) else each for each in args)
        elif func in _PLACING and len(args) > 1 and _is_card(args[1]):
            args = (args[0], _CPU, *args[2:])
        return func(*args, **kwargs)


def _is_card(value: Any) -> bool:
    if isinstance(value, torch.device):
        return value.type == "cuda"
    if isinstance(value, str):
        return value.partition(":")[0] == "cuda"
    return isinstance(value, int) and not isinstance(value, bool)

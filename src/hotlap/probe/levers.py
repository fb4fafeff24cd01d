"""Changes that are applied from outside to a script that has no setting for them.

    workers, prefetch_factor, persistent_workers, pin_memory   when a DataLoader is made
    autocast ("bfloat16")      from the outermost forward to the start of backward, so that the loss is inside
    channels_last, compile     at the first training forward of an outermost module, before the optimizer has state
    fused, foreach             before an optimizer's first step
    checkpointing ("off")      every ``checkpoint(f, x)`` becomes ``f(x)``

A lever that cannot be pulled leaves a note, and the training as it was.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

wanted: dict[str, Any] = {}
notes: list[str] = []
_torch: Any = None
_autocast: Any = None
_forward_autocast = False
_prepared: set[int] = set()
_optimizers: set[int] = set()


def install(torch: ModuleType, settings: dict[str, Any], seed_offset: int) -> None:
    global _torch
    _torch = torch
    wanted.clear()
    wanted.update(settings)
    if seed_offset:
        _shift_seeds(torch, seed_offset)
    if any(name in wanted for name in ("workers", "prefetch_factor", "persistent_workers", "pin_memory")):
        _wrap_loader_construction(torch)


def _shift_seeds(torch: Any, offset: int) -> None:
    def shifted(original: Any) -> Any:
        @functools.wraps(original)
        def manual_seed(*args: Any) -> Any:
            return original(*args[:-1], int(args[-1]) + offset)

        return manual_seed

    torch.manual_seed = torch.random.manual_seed = shifted(torch.manual_seed)


def _wrap_loader_construction(torch: ModuleType) -> None:
    construct = torch.utils.data.DataLoader.__init__

    @functools.wraps(construct)
    def __init__(self: Any, dataset: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        if isinstance(dataset, torch.utils.data.IterableDataset) and "workers" in wanted:
            _note("workers were not changed: every worker of an IterableDataset would yield all of it")
        elif len(args) > 4:
            _note("workers were not changed: the DataLoader is made with positional arguments")
        else:
            if "workers" in wanted:
                kwargs["num_workers"] = wanted["workers"]
                if not wanted["workers"]:
                    kwargs.pop("prefetch_factor", None)
                    kwargs.pop("persistent_workers", None)
            if kwargs.get("num_workers"):
                for name in ("prefetch_factor", "persistent_workers"):
                    if name in wanted:
                        kwargs[name] = wanted[name]
            if "pin_memory" in wanted:
                kwargs["pin_memory"] = wanted["pin_memory"]
        construct(self, dataset, *args, **kwargs)

    torch.utils.data.DataLoader.__init__ = __init__


def before_forward(module: Any, args: tuple[Any, ...], training: bool) -> tuple[Any, ...]:
    """Called around an outermost module call; returns the arguments to use."""
    global _autocast, _forward_autocast
    if not wanted:
        return args
    if training and id(module) not in _prepared and any(p.requires_grad for p in module.parameters()):
        _prepared.add(id(module))
        _prepare(module)
    if wanted.get("channels_last") and id(module) in _prepared:
        args = tuple(_to_channels_last(arg) for arg in args)
    dtype = wanted.get("autocast")
    if dtype and _autocast is None:
        device = next((p.device.type for p in module.parameters()), "cpu")
        if not _torch.is_autocast_enabled(device):
            _autocast = _torch.autocast(device, dtype=getattr(_torch, dtype))
            _autocast.__enter__()
            _forward_autocast = not training
    return args


def after_forward() -> None:
    """A forward that no backward follows leaves autocast at its own end."""
    if _forward_autocast:
        before_backward()


def before_backward() -> None:
    global _autocast, _forward_autocast
    if _autocast is not None:
        _autocast.__exit__(None, None, None)
        _autocast = None
        _forward_autocast = False


def _prepare(module: Any) -> None:
    if wanted.get("channels_last"):
        module.to(memory_format=_torch.channels_last)
    if wanted.get("compile"):
        mode = wanted["compile"]
        module.compile(mode=None if mode == "default" else mode)


def _to_channels_last(value: Any) -> Any:
    if isinstance(value, _torch.Tensor) and value.dim() == 4 and value.is_floating_point():
        return value.contiguous(memory_format=_torch.channels_last)
    return value


def before_optimizer(optimizer: Any) -> None:
    if id(optimizer) in _optimizers or not ("fused" in wanted or "foreach" in wanted):
        return
    _optimizers.add(id(optimizer))
    for group in optimizer.param_groups:
        if wanted.get("fused") and "fused" not in group:
            _note(f"the optimizer {type(optimizer).__name__} has no fused implementation")
            return
        if wanted.get("fused"):
            group["fused"], group["foreach"] = True, False
        elif "foreach" in group:
            group["foreach"], group["fused"] = wanted["foreach"], False
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            if wanted.get("fused") and _torch.is_tensor(state.get("step")):
                state["step"] = state["step"].to(parameter.device)
    if wanted.get("fused"):
        optimizer._step_supports_amp_scaling = True


def checkpointing_off() -> bool:
    return wanted.get("checkpointing") == "off"


def _note(text: str) -> None:
    if text not in notes:
        notes.append(text)

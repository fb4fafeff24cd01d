"""Changes that are applied from outside to a script that has no setting for them.

    workers, prefetch_factor, persistent_workers, pin_memory   when a DataLoader is made
    autocast ("bfloat16")      from the outermost forward to the start of backward, so that the loss is inside
    channels_last, compile     at the first training forward of an outermost module, before the optimizer has state
    fused, foreach             before an optimizer's step
    allocator ("keep")         at once: freed memory is kept instead of handed back to the kernel
    checkpointing ("off")      every ``checkpoint(f, x)`` becomes ``f(x)``

A lever that cannot be pulled leaves a note, and the training as it was. What the script does itself (its own
autocast, its own compilation) is left alone.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from hotlap.allocator import keep_freed_memory
from hotlap.probe.compiled import is_compiled

wanted: dict[str, Any] = {}
#: What could not be applied, in sentences. Until a lever has been pulled it stands here as never applied.
notes: list[str] = []
#: Whether an optimizer stepped in this process.
trained = False

_NEVER = {
    "workers": "the script made no DataLoader",
    "prefetch_factor": "the script made no DataLoader with workers",
    "persistent_workers": "the script made no DataLoader with workers",
    "pin_memory": "the script made no DataLoader",
    "autocast": "no model was called outside the script's own autocast",
    "channels_last": "no model with two-dimensional convolutions was trained",
    "compile": "no model was trained that the script does not compile itself",
    "fused": "no optimizer stepped that has a fused implementation for its parameters",
    "foreach": "no optimizer stepped that has a foreach implementation",
    "checkpointing": "the script checkpoints no activations",
}
_LOADER = ("workers", "prefetch_factor", "persistent_workers", "pin_memory")
_LARGEST_SEED = 2**63

_torch: Any = None
_prepared: weakref.WeakSet[Any] = weakref.WeakSet()
#: Where the last model was; a loss has no parameters to tell.
_device = "cpu"


class _Opened(threading.local):
    """The autocast that is open because of us: it is the thread's own."""

    autocast: Any = None
    #: It ends with the forward that runs.
    forward_only = False
    #: What was being handled when the forward began.
    error_before: BaseException | None = None


_opened = _Opened()


def install(torch: Any, settings: dict[str, Any], seed_offset: int) -> None:
    global _torch
    _torch = torch
    wanted.clear()
    wanted.update(settings)
    notes[:] = [_never(name) for name in wanted if name in _NEVER and wanted[name] not in (False, None)]
    if seed_offset:
        _shift_seeds(torch, seed_offset)
    if not wanted.keys().isdisjoint(_LOADER):
        _wrap_loader_construction(torch.utils.data)
    if wanted.get("allocator") == "keep":
        obstacle = keep_freed_memory()
        if obstacle:
            _note(f"allocator was not applied: {obstacle}")
    if wanted.get("autocast"):
        _end_autocast_at_next_batch(torch.utils.data.dataloader._BaseDataLoaderIter)


def say_notes() -> None:
    """Tell the user what was not applied, in a training that nothing else is recorded of."""
    for note in notes if trained else ():
        print(f"hotlap: {note}", file=sys.stderr)


def _never(name: str) -> str:
    return f"{name} was not applied: {_NEVER[name]}"


def _applied(name: str) -> None:
    if _never(name) in notes:
        notes.remove(_never(name))


def _note(text: str, *names: str) -> None:
    """Say why these levers were not pulled here."""
    for name in names:
        _applied(name)
    if text not in notes:
        notes.append(text)


def _shift_seeds(torch: Any, offset: int) -> None:
    def shifted(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def manual_seed(seed: Any) -> Any:
            return original((int(seed) + offset) % _LARGEST_SEED)

        return manual_seed

    torch.manual_seed = torch.random.manual_seed = shifted(torch.manual_seed)
    for name in ("manual_seed", "manual_seed_all"):
        setattr(torch.cuda, name, shifted(getattr(torch.cuda, name)))


# loaders


def _wrap_loader_construction(data: Any) -> None:
    construct = data.DataLoader.__init__
    signature = inspect.signature(construct)

    @functools.wraps(construct)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        try:
            bound = signature.bind(self, *args, **kwargs)
        except TypeError:
            construct(self, *args, **kwargs)  # says what is wrong
            return
        _change_loader(bound.arguments, isinstance(bound.arguments["dataset"], data.IterableDataset))
        construct(*bound.args, **bound.kwargs)

    data.DataLoader.__init__ = __init__


def _change_loader(arguments: dict[str, Any], iterable: bool) -> None:
    if "workers" in wanted:
        if iterable:
            _note("workers was not applied: every worker of an IterableDataset would yield all of it", "workers")
        else:
            arguments["num_workers"] = wanted["workers"]
            _applied("workers")
    if arguments.get("num_workers"):
        for name in ("prefetch_factor", "persistent_workers"):
            if name in wanted:
                arguments[name] = wanted[name]
                _applied(name)
    else:
        # The script may have set them for workers that are no longer there.
        for name in ("prefetch_factor", "persistent_workers", "multiprocessing_context", "timeout"):
            arguments.pop(name, None)
    if "pin_memory" in wanted:
        arguments["pin_memory"] = wanted["pin_memory"]
        _applied("pin_memory")


# models


def before_forward(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool) -> tuple[Any, ...]:
    """Called before an outermost module call; returns the arguments to use (``kwargs`` is changed in place)."""
    global _device
    if not wanted:
        return args
    if training and module not in _prepared and any(p.requires_grad for p in module.parameters()):
        _prepared.add(module)
        _prepare(module)
    if wanted.get("channels_last") and module in _prepared:
        args = tuple(_to_channels_last(arg) for arg in args)
        kwargs.update({name: _to_channels_last(value) for name, value in kwargs.items()})
    dtype = wanted.get("autocast")
    if dtype:
        _opened.error_before = sys.exc_info()[1]
        first = next(module.parameters(), None)
        _device = first.device.type if first is not None else _device
        if _opened.autocast is None and not _torch.is_autocast_enabled(_device):
            _opened.autocast = _torch.autocast(_device, dtype=getattr(_torch, dtype))
            _opened.autocast.__enter__()
            _opened.forward_only = not training
            if first is not None:
                _applied("autocast")
    return args


def after_forward() -> None:
    """Called when an outermost module call ends, by an error too. One that no backward follows ends autocast."""
    failed = sys.exc_info()[1] is not _opened.error_before
    _opened.error_before = None
    if _opened.autocast is None:
        return
    if _opened.forward_only or failed:
        close_autocast()
    elif not _torch.is_grad_enabled():
        # Weights are cast once for the whole of autocast. A copy made without gradients would have none to give.
        _torch.clear_autocast_cache()


def before_backward() -> None:
    close_autocast()


def close_autocast() -> None:
    if _opened.autocast is not None:
        _opened.autocast.__exit__(None, None, None)
        _opened.autocast = None
        _opened.forward_only = False


def _end_autocast_at_next_batch(iterator: Any) -> None:
    """A forward that was followed by no backward must not reach the arithmetic of the dataset."""
    following = iterator.__next__

    @functools.wraps(following)
    def __next__(self: Any) -> Any:  # noqa: N807
        close_autocast()
        return following(self)

    iterator.__next__ = __next__


def _prepare(module: Any) -> None:
    if wanted.get("channels_last"):
        for weight in _kernels(module):
            weight.data = weight.data.contiguous(memory_format=_torch.channels_last)
            _applied("channels_last")
    if wanted.get("compile"):
        if any(is_compiled(child) for child in module.modules()):
            _note("compile was not applied: the script compiles its model itself", "compile")
            return
        mode = wanted["compile"]
        module.compile(mode=None if mode == "default" else mode)
        _applied("compile")


def _kernels(module: Any) -> Iterable[Any]:
    """Weights of two-dimensional convolutions: other parameters of four dimensions mean something else by them."""
    for child in module.modules():
        if isinstance(child, _torch.nn.modules.conv._ConvNd) and child.weight.dim() == 4:
            yield child.weight


def _to_channels_last(value: Any) -> Any:
    if isinstance(value, _torch.Tensor) and value.dim() == 4 and value.is_floating_point():
        return value.contiguous(memory_format=_torch.channels_last)
    return value


# optimizers


def before_optimizer(optimizer: Any) -> None:
    """Called before every step: a state that the script loads brings its own flags along."""
    global trained
    trained = True
    close_autocast()
    if wanted.get("channels_last"):
        _lay_out_state_like_parameters(optimizer)
    for name, other in (("fused", "foreach"), ("foreach", "fused")):
        if name in wanted:
            _choose_implementation(optimizer, name, other)


def _choose_implementation(optimizer: Any, name: str, other: str) -> None:
    groups = optimizer.param_groups
    if all(group.get(name) == wanted[name] for group in groups):
        _applied(name)
        return
    obstacle = _obstacle(optimizer, name) if wanted[name] else None
    if obstacle:
        _note(f"{name} was not applied: {obstacle}", name)
        return
    for group in [optimizer.defaults, *groups]:
        if name in group:
            group[name] = wanted[name]
            if wanted[name] and other in group:
                group[other] = False
    _applied(name)
    if name == "fused" and wanted[name]:
        for parameter, state in optimizer.state.items():
            if _torch.is_tensor(state.get("step")):
                state["step"] = state["step"].to(parameter.device, _torch.float32)
        # The scaler then leaves unscaling to the step itself, as for an optimizer that was made fused.
        optimizer._step_supports_amp_scaling = True


def _obstacle(optimizer: Any, name: str) -> str | None:
    kind = type(optimizer).__name__
    if any(name not in group for group in optimizer.param_groups):
        return f"the optimizer {kind} has no {name} implementation"
    if any(group.get("differentiable") for group in optimizer.param_groups):
        return f"the optimizer {kind} is differentiable"
    if name == "fused":
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        devices = {"cpu"} if kind == "Adagrad" else {"cpu", "cuda", "mps", "xpu"}
        if not all(p.device.type in devices and p.is_floating_point() for p in parameters):
            return f"the optimizer {kind} has no fused implementation for these parameters"
        if any(parameter.grad is not None and parameter.grad.is_sparse for parameter in parameters):
            return "the gradients are sparse"
    return None


def _lay_out_state_like_parameters(optimizer: Any) -> None:
    """A state that was loaded has the layout that it was saved with, and multi-tensor steps want one layout."""
    for parameter, state in optimizer.state.items():
        if parameter.dim() != 4 or parameter.is_contiguous():
            continue
        for name, value in state.items():
            if _torch.is_tensor(value) and value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = value.contiguous(memory_format=_torch.channels_last)


def checkpointing_off() -> bool:
    """Asked at every ``checkpoint()``."""
    if wanted.get("checkpointing") != "off":
        return False
    _applied("checkpointing")
    return True

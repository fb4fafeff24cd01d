"""What the script's calls of torch mean where a card is imitated: which tensors are on it, and what is read of them.

    x.to("cuda"), x.cuda(), device="cuda"    an imitated tensor; what follows from it is imitated, too
    x.device, x.is_cuda                      of an imitated tensor: the card's
    x.cpu(), x.numpy(), x.tolist()           numbers that are made up, 0 or 1, in a real tensor
    torch.isfinite(x), torch.isnan(x)        all are, none is

Numbers that the host knew are not made up: whole numbers and masks are remembered when they are put on the card, and
what is computed from them alone is computed beside it (a length, a mask, how many are not padding).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

from hotlap.estimate.script.follower import SAID, VALUE, Follower, known, plausible
from hotlap.estimate.tracker import tensors_in

CARD, HOST = torch.device("cuda", 0), torch.device("cpu")
#: Numbers that are remembered of one tensor.
_REMEMBERED = 2**20
_TURNED = {torch.logical_not, Tensor.logical_not, torch.bitwise_not, Tensor.bitwise_not, Tensor.__invert__}
#: The numbers of what they make are known.
_SURE = {torch.arange, torch.zeros, torch.ones, torch.full, torch.eye}
#: Their numbers are drawn, and the script's generators stay as they are.
_DRAWN = {"random_", "bernoulli_", "geometric_", "bernoulli", "multinomial", "randint_like"}
#: The shape of what they give depends on values.
_BY_VALUE = {torch.nonzero, Tensor.nonzero, torch.unique, Tensor.unique, torch.argwhere, Tensor.argwhere}


class Placing(TorchFunctionMode):
    """Entered for the rest of the process, in the thread that trains."""

    def __init__(self, follower: Follower) -> None:
        super().__init__()
        self.follower = follower
        self._constructors = _device_constructors()
        tensor: Any = Tensor
        handlers: dict[Any, Callable[..., Any]] = {
            Tensor.numpy: self._numpy,
            Tensor.__array__: self._array,
            Tensor.tolist: self._list,
            Tensor.__format__: self._format,
            tensor.data.__set__: self._set_data,
            torch._C._VariableFunctions._pack_padded_sequence: _pack,
        }
        for name, said in (("isnan", False), ("isinf", False), ("isfinite", True)):
            for owner in (torch, Tensor):
                handlers[getattr(owner, name)] = partial(self._test, name, said)
        if follower.on_card:
            of_card: dict[Any, Callable[..., Any]] = {
                tensor.device.__get__: lambda x: CARD if isinstance(x, FakeTensor) else x.device,
                tensor.is_cuda.__get__: lambda x: isinstance(x, FakeTensor),
                tensor.is_cpu.__get__: lambda x: not isinstance(x, FakeTensor),
                Tensor.get_device: lambda x: 0 if isinstance(x, FakeTensor) else -1,
                Tensor.to: self._to,
                Tensor.cuda: lambda x, *_, **__: self._onto_card(x, x.dtype),
                Tensor.cpu: lambda x, **_: self._onto_host(x, x.dtype),
                Tensor.pin_memory: lambda x, *_, **__: x,
                Tensor.is_pinned: lambda x, *_, **__: not isinstance(x, FakeTensor),
                Tensor.record_stream: lambda x, *_: None,
            }
            handlers |= of_card
        self._handlers = handlers

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        handler = self._handlers.get(func)
        if handler is not None:
            return handler(*args, **kwargs)
        if self.follower.on_card:
            device = kwargs.get("device")
            if device is None and func in self._constructors:
                device = torch.get_default_device()
            if device is not None and func is not torch.set_default_device:
                return self._made_on(device, func, args, kwargs)
        imitated = [each for each in tensors_in((args, kwargs)) if isinstance(each, FakeTensor)]
        if not imitated:
            return func(*args, **kwargs)
        return self._with_values(func, args, kwargs, imitated)

    # where tensors are

    def _made_on(self, device: Any, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not is_card(device):
            return func(*args, **kwargs)
        kwargs = {**kwargs, "device": HOST}
        if kwargs.get("pin_memory"):
            del kwargs["pin_memory"]
        if func in (torch.tensor, torch.as_tensor, torch.asarray):
            made = func(*args, **kwargs)
            needs = made.requires_grad
            placed: Any = self._onto_card(made.detach(), made.dtype)
            return placed.requires_grad_(needs)
        with self.follower.making():
            made = func(*args, **kwargs)
        if func in _SURE and not made.dtype.is_floating_point and made.numel() <= _REMEMBERED:
            setattr(made, VALUE, func(*args, **kwargs))
        return made

    def _to(self, tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        copy = kwargs.pop("copy", False)
        other = args[0] if args and isinstance(args[0], Tensor) else kwargs.pop("other", None)
        if other is not None:
            device, dtype = CARD if isinstance(other, FakeTensor) else HOST, other.dtype
            layout = None
        else:
            if len(args) > 3:
                copy = copy or args[3]
            args = args[:3]
            device, dtype, _, layout = torch._C._nn._parse_to(*args, **kwargs)
        is_on_card = isinstance(tensor, FakeTensor)
        goes = is_on_card if device is None else is_card(device)
        dtype = tensor.dtype if dtype is None else dtype
        if goes == is_on_card:
            more = {} if layout is None else {"memory_format": layout}
            return self._with_values(Tensor.to, (tensor, dtype), {"copy": copy, **more}, [tensor] if is_on_card else [])
        made = self._onto_card(tensor, dtype) if goes else self._onto_host(tensor, dtype)
        return made if layout is None else made.to(memory_format=layout)

    def _onto_card(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        if isinstance(tensor, FakeTensor):
            return tensor
        made = self.follower.made(tensor, dtype)
        if not dtype.is_floating_point and not dtype.is_complex and tensor.numel() <= _REMEMBERED:
            setattr(made, VALUE, tensor.detach().to(dtype, copy=True))
        return made

    def _onto_host(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        if not isinstance(tensor, FakeTensor):
            return tensor
        value = known(tensor)
        if value is not None:
            return value.to(dtype).clone()
        if tensor.requires_grad and torch.is_grad_enabled():
            return tensor.to(dtype)  # backward goes through it, so it stays imitated
        self.follower.telling.answered()
        return torch.full(tensor.shape, plausible(dtype), dtype=dtype)

    def _set_data(self, tensor: Tensor, made: Tensor) -> None:
        self.follower.become(tensor, made)

    # what is read of them

    def _numpy(self, tensor: Tensor, **kwargs: Any) -> Any:
        if not isinstance(tensor, FakeTensor):
            return tensor.numpy(**kwargs)
        return self._onto_host(tensor.detach(), tensor.dtype).numpy()

    def _array(self, tensor: Tensor, dtype: Any = None) -> Any:
        found = self._numpy(tensor)
        return found if dtype is None else found.astype(dtype, copy=False)

    def _list(self, tensor: Tensor) -> Any:
        return self._numpy(tensor).tolist() if isinstance(tensor, FakeTensor) else tensor.tolist()

    def _format(self, tensor: Tensor, how: str) -> str:
        return format(tensor.item() if isinstance(tensor, FakeTensor) and not tensor.dim() else tensor, how)

    def _test(self, name: str, said: bool, tensor: Tensor) -> Tensor:
        if not isinstance(tensor, FakeTensor):
            found: Tensor = getattr(torch, name)(tensor)
            return found
        made = torch.ones_like(tensor, dtype=torch.bool)
        setattr(made, SAID, said)
        return made

    def _with_values(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], imitated: list[Any]) -> Any:
        """Beside what is imitated, what is known of its numbers."""
        out = self._values(func, args, kwargs) if all(hasattr(each, VALUE) for each in imitated) else None
        if func in _BY_VALUE and isinstance(out, Tensor):
            return self._onto_card(out, out.dtype)
        if func is Tensor.__getitem__:
            args = (args[0], _without_masks(args[1]))
        found = func(*args, **kwargs)
        if func is Tensor.__setitem__ and len(imitated) > sum(hasattr(each, VALUE) for each in imitated):
            vars(args[0]).pop(VALUE, None)
        if not isinstance(found, FakeTensor):
            return found
        if isinstance(out, Tensor) and out.shape == found.shape and found.dtype == out.dtype:
            setattr(found, VALUE, out)
        elif hasattr(found, VALUE) and any(found is each for each in imitated) and func.__name__.endswith("_"):
            delattr(found, VALUE)  # it was written into
        if found.dtype is torch.bool and hasattr(imitated[0], SAID):
            said = getattr(imitated[0], SAID)
            setattr(found, SAID, not said if func in _TURNED else said)
        return found

    def _values(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        try:
            name = func.__name__
        except AttributeError:
            return None
        if name == "__set__" or name in _DRAWN:
            return None
        try:
            out = func(*_real(args), **{key: _real(value) for key, value in kwargs.items()})
        except Exception:  # where the numbers alone do not do, none are known
            return None
        if not isinstance(out, Tensor) or out.dtype.is_floating_point or out.numel() > _REMEMBERED:
            return None
        return out.detach()


def _pack(padded: Tensor, lengths: Tensor, batch_first: bool) -> tuple[Tensor, Tensor]:
    """As ``torch._pack_padded_sequence``, whose shapes depend on lengths that the host knows."""
    value = known(lengths)
    if not isinstance(padded, FakeTensor) or value is None:
        packed: tuple[Tensor, Tensor] = torch._pack_padded_sequence(padded, lengths, batch_first)
        return packed
    sizes = (value[:, None] > torch.arange(int(value.max()))).sum(0)
    times = torch.repeat_interleave(sizes)
    rows = torch.cat([torch.arange(int(size)) for size in sizes])
    return padded[(rows, times) if batch_first else (times, rows)], sizes


def is_card(device: Any) -> bool:
    return device is not None and (isinstance(device, int) or torch.device(device).type == "cuda")


def _real(value: Any) -> Any:
    if isinstance(value, FakeTensor):
        return getattr(value, VALUE)
    if isinstance(value, (tuple, list)):
        return type(value)(_real(each) for each in value)
    return value


def _without_masks(index: Any) -> Any:
    """Where the numbers of a mask are known, the places that it chooses are, too."""
    parts = index if isinstance(index, tuple) else (index,)
    found: list[Any] = []
    for part in parts:
        value = known(part) if isinstance(part, Tensor) and part.dtype is torch.bool else None
        found += [part] if value is None else value.nonzero(as_tuple=True)
    return found[0] if len(found) == 1 and not isinstance(index, tuple) else tuple(found)


class Moved:
    """``Module._apply`` for imitated parameters, which are exchanged in their place."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower

    def __call__(self, module: nn.Module, function: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
        if recurse:
            for child in module.children():
                child._apply(function)  # type: ignore[no-untyped-call]  # of torch
        for parameter in module._parameters.values():
            if parameter is None:
                continue
            with torch.no_grad():
                made, gradient = function(parameter.data), parameter.grad
                gradient = None if gradient is None else function(gradient)
            if isinstance(made, FakeTensor) != isinstance(parameter, FakeTensor):
                parameter.grad = None
                self._follower.become(parameter, made)
                parameter.grad = gradient
            elif made is not parameter:
                parameter.data = made
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = function(buffer)
        return module

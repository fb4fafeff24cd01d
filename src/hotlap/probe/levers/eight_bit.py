"""The state of torch's Adam and AdamW in 8 bits, kept by bitsandbytes or torchao.

    Adam(...) of the script ── its class becomes one made from it: schedulers, scalers and trainers hold the same object
        step()              ── the library's update, on the groups as they are at this step
        state_dict()        ── as Adam's, in float32: a checkpoint is one of the script's own, with hotlap or without
        load_state_dict()   ── of such a checkpoint; brought to 8 bits at the next step

It is decided at the first step, when the parameters and their gradients are there. Small tensors stay in float32.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from hotlap.probe.levers.base import Lever

#: What the libraries do not have, or do another way.
_OPTIONS = ("amsgrad", "maximize", "capturable", "differentiable")


class EightBit(Lever):
    """Its value is the library."""

    name = "eight_bit"
    never = "no Adam or AdamW of torch stepped"

    def install(self) -> None:
        try:
            library = _LIBRARIES[self.value](self.torch)
        except Exception as error:  # whatever a package does when it cannot be used here
            self.note(f"{self.name} was not applied: {self.value} cannot be imported ({_first_line(error)})")
            return
        for kind in (self.torch.optim.AdamW, self.torch.optim.Adam):
            self._wrap_construction(kind, _made_from(kind, library, self))

    def _wrap_construction(self, kind: Any, made: type) -> None:
        original = kind.__init__

        @functools.wraps(original)
        def __init__(optimizer: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
            original(optimizer, *args, **kwargs)
            if type(optimizer) is kind:
                optimizer.__class__ = made
                # The hooks of a step belong to the class.
                optimizer._patch_step_function()
                if hasattr(optimizer, "_step_supports_amp_scaling"):
                    optimizer._step_supports_amp_scaling = False

        kind.__init__ = __init__

    def obstacle(self, optimizer: Any) -> str | None:
        """Why this one cannot have it."""
        groups = optimizer.param_groups
        for option in _OPTIONS:
            if any(group.get(option) for group in groups):
                return f"the optimizer has {option}"
        parameters = [parameter for group in groups for parameter in group["params"]]
        if any(not parameter.is_floating_point() for parameter in parameters):
            return "some parameters are not real numbers"
        if any(parameter.grad is not None and parameter.grad.is_sparse for parameter in parameters):
            return "the gradients are sparse"
        return None


class _Bitsandbytes:
    """Its Adam takes weight decay off the weights, as AdamW does."""

    decouples = True

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.optim = importlib.import_module("bitsandbytes.optim")
        self.functional = importlib.import_module("bitsandbytes.functional")

    def make(self, groups: list[dict[str, Any]], decoupled: bool) -> Any:
        return (self.optim.AdamW8bit if decoupled else self.optim.Adam8bit)(groups)

    def pack(self, inner: Any, place: tuple[int, int], parameter: Any, plain: dict[str, Any]) -> None:
        group, index = place
        inner.init_state(inner.param_groups[group], parameter, group, index)
        state = inner.state[parameter]
        state["step"] = int(plain["step"])
        for number, name in (("1", "exp_avg"), ("2", "exp_avg_sq")):
            value, code = plain[name].float().contiguous(), state.get(f"qmap{number}")
            if code is not None:
                value, scales = self.functional.quantize_blockwise(value, code=code, blocksize=256)
                state[f"absmax{number}"].copy_(scales.absmax)
            state[f"state{number}"].copy_(value)

    def unpack(self, parameter: Any, state: dict[str, Any]) -> dict[str, Any]:
        plain = {"step": self.torch.tensor(float(state["step"]))}
        for number, name in (("1", "exp_avg"), ("2", "exp_avg_sq")):
            value, code = state[f"state{number}"], state.get(f"qmap{number}")
            if code is not None:
                scales = state[f"absmax{number}"]
                value = self.functional.dequantize_blockwise(value, absmax=scales, code=code, blocksize=256)
            plain[name] = value.to(parameter.dtype, copy=True)
        return plain


class _Torchao:
    """It compiles its update, once for each shape."""

    decouples = False

    def __init__(self, torch: Any) -> None:
        self.torch = torch
        self.optim = importlib.import_module("torchao.optim")

    def make(self, groups: list[dict[str, Any]], decoupled: bool) -> Any:
        return (self.optim.AdamW8bit if decoupled else self.optim.Adam8bit)(groups)

    def pack(self, inner: Any, place: tuple[int, int], parameter: Any, plain: dict[str, Any]) -> None:
        state = inner.state[parameter]
        state["step"] = self.torch.tensor(float(plain["step"]))
        for name, signed in (("exp_avg", True), ("exp_avg_sq", False)):
            state[name] = inner._new_buffer(parameter, signed)
            state[name].copy_(plain[name])

    def unpack(self, parameter: Any, state: dict[str, Any]) -> dict[str, Any]:
        plain = {"step": state["step"].clone()}
        for name in ("exp_avg", "exp_avg_sq"):
            value = state[name]
            plain[name] = value.dequantize(parameter.dtype) if hasattr(value, "codes") else value.clone()
        return plain


_LIBRARIES: dict[str, Callable[[Any], Any]] = {"bitsandbytes": _Bitsandbytes, "torchao": _Torchao}


def _made_from(kind: Any, library: Any, lever: EightBit) -> type:
    """A class like ``kind``, with its state in 8 bits."""
    torch = lever.torch

    class Made(kind):  # type: ignore[misc]
        #: The library's optimizer over the same parameters; None before the first step and where the state was loaded.
        _hotlap_inner: Any = None
        #: Whether it steps as ``kind``, after all.
        _hotlap_plain = False

        @torch.no_grad()  # type: ignore[untyped-decorator]
        def step(self, closure: Callable[[], Any] | None = None) -> Any:
            inner = None if self._hotlap_plain else self._hotlap_prepared()
            if inner is None:
                return _unhooked(kind.step)(self, closure)
            loss = None
            if closure is not None:
                with torch.enable_grad():
                    loss = closure()
            for mine, its in zip(self.param_groups, inner.param_groups, strict=True):
                its.update(betas=mine["betas"], eps=mine["eps"], weight_decay=mine["weight_decay"])
                if torch.is_tensor(its["lr"]):
                    its["lr"].fill_(mine["lr"])
                else:
                    its["lr"] = float(mine["lr"])
            _unhooked(type(inner).step)(inner)
            return loss

        def _hotlap_prepared(self) -> Any:
            inner = self._hotlap_inner
            if inner is not None and _sizes(inner) == _sizes(self):
                return inner
            decoupled = bool(self.param_groups[0].get("decoupled_weight_decay", isinstance(self, torch.optim.AdamW)))
            obstacle = lever.obstacle(self)
            added = not decoupled and any(group["weight_decay"] for group in self.param_groups)
            if added and library.decouples:
                obstacle = obstacle or f"{lever.value} has no Adam that adds weight decay to the gradients"
            if obstacle is not None:
                lever.note(f"{lever.name} was not applied: {obstacle}")
                self._hotlap_plain = True
                return None
            plain = self._hotlap_unpacked()
            names = ("params", "lr", "betas", "eps", "weight_decay")
            groups = [{name: group[name] for name in names} for group in self.param_groups]
            inner = library.make([{**group, "lr": float(group["lr"])} for group in groups], decoupled)
            for number, group in enumerate(groups):
                for index, parameter in enumerate(group["params"]):
                    if parameter in plain:
                        library.pack(inner, (number, index), parameter, plain[parameter])
            # What looks at the state of an optimizer sees what there is.
            self.state = inner.state
            self._hotlap_inner = inner
            lever.pulled()
            return inner

        def _hotlap_unpacked(self) -> dict[Any, dict[str, Any]]:
            if self._hotlap_inner is None:
                return {parameter: state for parameter, state in self.state.items() if state}
            return {parameter: library.unpack(parameter, state) for parameter, state in self.state.items() if state}

        def state_dict(self) -> dict[str, Any]:
            held = self.state
            self.state = self._hotlap_unpacked()
            try:
                return dict(super().state_dict())
            finally:
                self.state = held

        def load_state_dict(self, state_dict: dict[str, Any]) -> None:
            super().load_state_dict(state_dict)
            self._hotlap_inner = None

        def __getstate__(self) -> dict[str, Any]:
            return {"defaults": self.defaults, "state": self._hotlap_unpacked(), "param_groups": self.param_groups}

        def __reduce_ex__(self, protocol: Any) -> Any:
            return object.__new__, (kind,), self.__getstate__()

    Made.__name__, Made.__qualname__, Made.__module__ = kind.__name__, kind.__qualname__, kind.__module__
    return Made


def _sizes(optimizer: Any) -> list[int]:
    return [len(group["params"]) for group in optimizer.param_groups]


def _unhooked(step: Any) -> Any:
    """Without the hooks of ``Optimizer.step``: the step that they are for is the script's."""
    return step.__wrapped__ if getattr(step, "hooked", False) else step


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]

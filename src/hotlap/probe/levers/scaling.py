"""Gradient scaling where the script has none: float16 cannot hold the small gradients of a loss as it is.

    backward of the loss     the loss times the scale
    clip_grad_norm_, _value_ gradients unscaled first, those that are clipped
    optimizer's step         the others unscaled, and no step where one is infinite or no number
    next backward            another scale, where steps were left out, or none for a long time

The arithmetic is torch's own ``GradScaler``. A script that reads gradients itself, between backward and step, sees
them scaled. With accumulation the scale stays as it is until a step; of several optimizers each is asked by itself.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any

from hotlap.probe.levers.base import Lever


class _Part:
    """Parameters whose gradients are unscaled together; to the scaler, an optimizer that steps if they are finite."""

    def __init__(self, parameters: list[Any]) -> None:
        self.param_groups = [{"params": parameters}]
        self.asked = self.finite = False

    def step(self) -> None:
        self.finite = True


class GradScaling(Lever):
    """Its value is the scale to begin with. It has to be there before the script asks torch for its functions."""

    name = "grad_scaling"
    never = "no backward of a loss was seen"

    def __init__(self, torch: Any, value: Any) -> None:
        super().__init__(torch, value)
        self.scaler: Any = None
        #: Unscaled since the last change of the scale, and those of them for the step that comes.
        self.parts: list[_Part] = []
        self.current: list[_Part] = []
        self.stepped = self.in_backward = False
        #: Gradients that a step must not see, to be put back after it.
        self.held: dict[int, list[tuple[Any, Any]]] = {}

    def install(self) -> None:
        torch = self.torch
        # As they are without the wrappers that record them: the scaler is not the script's.
        scaler = torch.amp.GradScaler
        names = ("scale", "unscale_", "step", "update")
        self.scaler_does = {name: inspect.unwrap(getattr(scaler, name)) for name in names}
        theirs = scaler.scale

        @functools.wraps(theirs)
        def scale(scaler: Any, outputs: Any) -> Any:
            if scaler.is_enabled():
                self.stop("the script scales its gradients itself")
            return theirs(scaler, outputs)

        scaler.scale = scale
        backward = torch.autograd.backward

        @functools.wraps(backward)
        def scaled_backward(tensors: Any, *args: Any, **kwargs: Any) -> Any:
            # One inside another, as of reentrant checkpointing, goes on with gradients that are scaled already.
            if self.value is None or self.in_backward:
                return backward(tensors, *args, **kwargs)
            self.in_backward = True
            try:
                return backward(self.scaled(tensors), *args, **kwargs)
            finally:
                self.in_backward = False

        torch.autograd.backward = scaled_backward
        for name in ("clip_grad_norm_", "clip_grad_value_"):
            clipping = self.clipping(getattr(torch.nn.utils, name))
            for place in (torch.nn.utils, torch.nn.utils.clip_grad):
                setattr(place, name, clipping)
        optimizers = importlib.import_module("torch.optim.optimizer")
        optimizers.register_optimizer_step_pre_hook(self.steps)
        optimizers.register_optimizer_step_post_hook(self.has_stepped)

    def clipping(self, clip: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(clip)
        def clip_grad(parameters: Any, *args: Any, **kwargs: Any) -> Any:
            if self.value is not None and not isinstance(parameters, self.torch.Tensor):
                parameters = list(parameters)
            self.unscale([parameters] if isinstance(parameters, self.torch.Tensor) else parameters)
            return clip(parameters, *args, **kwargs)

        return clip_grad

    def scaled(self, tensors: Any) -> Any:
        """What backward shall begin from."""
        if not isinstance(tensors, self.torch.Tensor):
            tensors = tuple(tensors)
        first = tensors if isinstance(tensors, self.torch.Tensor) else next(iter(tensors), None)
        if not isinstance(first, self.torch.Tensor) or self.torch.compiler.is_dynamo_compiling():
            return tensors
        if self.scaler is None:
            self.scaler = self.torch.amp.GradScaler(first.device.type, init_scale=float(self.value))
        if self.stepped:
            if self.parts:
                self.scaler_does["update"](self.scaler)
            self.stepped, self.parts, self.current = False, [], []
        elif self.current:
            # Clipped in the middle of an accumulation: what is added to them will be scaled.
            scale = self.scaler.get_scale()
            for part in self.current:
                for parameter in part.param_groups[0]["params"]:
                    if parameter.grad is not None:
                        parameter.grad.mul_(scale)
            self.current = []
        self.pulled()
        return self.scaler_does["scale"](self.scaler, tensors)

    def unscale(self, parameters: list[Any]) -> None:
        """Those that have not been since the last backward."""
        if self.value is None or self.scaler is None:
            return
        known = {id(parameter) for part in self.current for parameter in part.param_groups[0]["params"]}
        new = [each for each in parameters if each.grad is not None and id(each) not in known]
        if not new:
            return
        if any(parameter.grad.dtype == self.torch.float16 for parameter in new):
            for parameter in new:
                parameter.grad.div_(self.scaler.get_scale())
            self.stop("parameters are float16 themselves")
            return
        part = _Part(list({id(parameter): parameter for parameter in new}.values()))
        self.scaler_does["unscale_"](self.scaler, part)
        self.parts.append(part)
        self.current.append(part)

    def steps(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """An optimizer is about to step."""
        if self.value is None:
            return
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        mine = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.unscale(mine)
        if closure is not None:
            # Backward comes inside the step, and only the step knows when its gradients are wanted.
            self.stop("the optimizer's step calls backward itself")
            return
        if self.value is None or self.scaler is None:
            return
        own = {id(parameter) for parameter in mine}
        parts = [part for part in self.current if any(id(each) in own for each in part.param_groups[0]["params"])]
        for part in parts:
            if not part.asked:
                part.asked = True
                self.scaler_does["step"](self.scaler, part)
        self.stepped = True
        if not all(part.finite for part in parts):
            held = self.held[id(optimizer)] = [(each, each.grad) for each in mine if each.grad is not None]
            for parameter, _ in held:
                parameter.grad = None

    def has_stepped(self, optimizer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        for parameter, gradient in self.held.pop(id(optimizer), ()):
            parameter.grad = gradient

    def stop(self, reason: str) -> None:
        if self.value is not None:
            self.note(f"{self.name} was not applied: {reason}")
            self.value = None

"""The optimizer's implementation: one kernel, or one for many tensors, instead of a loop over tensors."""

from __future__ import annotations

import weakref
from typing import Any

from hotlap.probe.levers.base import Lever


class _Implementation(Lever):
    live = True
    #: The implementation that it takes the place of.
    other: str

    def __init__(self, torch: Any, value: Any) -> None:
        super().__init__(torch, value)
        #: What the groups of an optimizer held before, to be put back.
        self.before: weakref.WeakKeyDictionary[Any, list[tuple[dict[str, Any], str, Any]]] = weakref.WeakKeyDictionary()

    def switch(self, value: Any) -> None:
        for optimizer, held in list(self.before.items()):
            for place, name, old in reversed(held):
                place[name] = old
            self._supports_scaling(optimizer, any(group.get("fused") for group in optimizer.param_groups))
        self.before.clear()
        super().switch(value)

    def before_optimizer(self, optimizer: Any) -> None:
        if self.value is not None:
            self.choose(optimizer)

    def choose(self, optimizer: Any) -> bool:
        """Return whether anything had to be changed."""
        groups = optimizer.param_groups
        if all(group.get(self.name) == self.value for group in groups):
            self.pulled()
            return False
        obstacle = self.obstacle(optimizer) if self.value else None
        if obstacle:
            self.note(f"{self.name} was not applied: {obstacle}")
            return False
        held = self.before.setdefault(optimizer, [])
        for group in [optimizer.defaults, *groups]:
            if self.name in group:
                held.append((group, self.name, group[self.name]))
                group[self.name] = self.value
                if self.value and self.other in group:
                    held.append((group, self.other, group[self.other]))
                    group[self.other] = False
        self.pulled()
        return True

    def obstacle(self, optimizer: Any) -> str | None:
        """Why this optimizer cannot have it."""
        kind = type(optimizer).__name__
        if any(self.name not in group for group in optimizer.param_groups):
            return f"the optimizer {kind} has no {self.name} implementation"
        if hasattr(optimizer, "_hotlap_inner"):
            return f"the optimizer {kind} keeps its state in 8 bits"
        if any(group.get("differentiable") for group in optimizer.param_groups):
            return f"the optimizer {kind} is differentiable"
        return None

    def _supports_scaling(self, optimizer: Any, fused: bool) -> None:
        """The scaler then leaves unscaling to the step itself, as for an optimizer that was made fused."""
        if fused or hasattr(optimizer, "_step_supports_amp_scaling"):
            optimizer._step_supports_amp_scaling = fused


class Fused(_Implementation):
    name = "fused"
    never = "no optimizer stepped that has a fused implementation for its parameters"
    other = "foreach"

    def __init__(self, torch: Any, value: Any) -> None:
        super().__init__(torch, value)
        #: States whose step was moved, with where it was.
        self.moved: weakref.WeakKeyDictionary[Any, list[tuple[dict[str, Any], Any, Any]]] = weakref.WeakKeyDictionary()

    def choose(self, optimizer: Any) -> bool:
        if not super().choose(optimizer):
            return False
        if self.value:
            moved = self.moved.setdefault(optimizer, [])
            for parameter, state in optimizer.state.items():
                step: Any = state.get("step") if isinstance(state, dict) else None
                if self.torch.is_tensor(step):
                    moved.append((state, step.device, step.dtype))
                    state["step"] = step.to(parameter.device, self.torch.float32)
            self._supports_scaling(optimizer, True)
        return True

    def switch(self, value: Any) -> None:
        for moved in self.moved.values():
            for state, device, dtype in moved:
                # Left on a GPU, the other implementations would wait for it in every step.
                if self.torch.is_tensor(state.get("step")):
                    state["step"] = state["step"].to(device, dtype)
        self.moved.clear()
        super().switch(value)

    def obstacle(self, optimizer: Any) -> str | None:
        obstacle = super().obstacle(optimizer)
        if obstacle:
            return obstacle
        kind = type(optimizer).__name__
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        devices = {"cpu"} if kind == "Adagrad" else {"cpu", "cuda", "mps", "xpu"}
        if not all(p.device.type in devices and p.is_floating_point() for p in parameters):
            return f"the optimizer {kind} has no fused implementation for these parameters"
        if any(parameter.grad is not None and parameter.grad.is_sparse for parameter in parameters):
            return "the gradients are sparse"
        return None


class Foreach(_Implementation):
    name = "foreach"
    never = "no optimizer stepped that has a foreach implementation"
    other = "fused"

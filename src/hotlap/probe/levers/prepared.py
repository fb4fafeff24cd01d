"""A lever that changes models, before their first training forward, and can change them back."""

from __future__ import annotations

import weakref
from typing import Any

from hotlap.probe.levers.base import Lever


class ModelLever(Lever):
    live = True

    def __init__(self, torch: Any, value: Any) -> None:
        super().__init__(torch, value)
        #: Outermost modules that were trained while it was on.
        self.prepared: weakref.WeakSet[Any] = weakref.WeakSet()

    def before_forward(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool) -> Any:
        if self.value is None:
            return args
        if training and module not in self.prepared and any(p.requires_grad for p in module.parameters()):
            self.prepared.add(module)
            self.prepare(module)
        return args

    def switch(self, value: Any) -> None:
        for module in list(self.prepared):
            self.undo(module)
        self.prepared.clear()
        super().switch(value)

    def prepare(self, module: Any) -> None:
        """Before an outermost module's first training forward, when its optimizer may or may not have state."""

    def undo(self, module: Any) -> None:
        """Bring it back to what it was."""

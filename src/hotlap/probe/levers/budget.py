"""What compiled code may keep for backward, as a share of what it would keep: the rest is computed again."""

from __future__ import annotations

import importlib
from contextlib import suppress
from typing import Any

from hotlap.probe.compiled import has_compiled
from hotlap.probe.levers.base import Lever

_SETTING = "activation_memory_budget"


class MemoryBudget(Lever):
    """Its value is the share, 0 to 1. Compiled code reads it when it is made, so it is set from the start."""

    name = "memory_budget"
    never = "nothing was compiled"

    def install(self) -> None:
        config: Any = None
        with suppress(ImportError):
            config = importlib.import_module("torch._functorch.config")
        if not hasattr(config, _SETTING):
            self.note(f"{self.name} was not applied: this torch has no {_SETTING}")
            return
        setattr(config, _SETTING, float(self.value))

    def before_optimizer(self, optimizer: Any) -> None:
        if not self.applied and has_compiled():
            self.pulled()

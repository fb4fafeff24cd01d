"""The first steps of a training that something is taken away from: they are real ones.

What is handed out again later has to come from somewhere.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from hotlap.probe import levers

#: Steps, and batches of a loader, that are left as they are.
REAL = 4


class Training:
    """What is known of the training so far, and whether the suspect was really taken away."""

    def __init__(self, torch: Any, name: str) -> None:
        self.torch = torch
        self.name = name
        self.steps = 0
        #: The first steps are over.
        self.active = False
        #: Called once, when they are.
        self.at_once: Callable[[], None] = lambda: None
        #: Ids of parameters that some optimizer trains.
        self.optimized: set[int] = set()
        self.said = False
        self.tree: Any = importlib.import_module("torch.utils._pytree")
        importlib.import_module("torch.optim.optimizer").register_optimizer_step_post_hook(self.stepped)

    def stepped(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self.active:
            return
        self.steps += 1
        self.optimized.update(id(p) for group in optimizer.param_groups for p in group["params"])
        if self.steps >= REAL:
            self.active = True
            self.at_once()

    def applied(self) -> None:
        if not self.said:
            self.said = True
            levers.notes.append(f"taken away: {self.name}")

"""Garbage collected every N optimizer steps, without what was there before, instead of by counts of allocations."""

from __future__ import annotations

import gc
import os
from typing import Any

from hotlap.probe.levers.base import Lever

#: Steps after which what is alive is there to stay: the model, its optimizer's state, what was compiled.
FIRST_STEPS = 3


class CollectEvery(Lever):
    name = "collect_every"
    never = "the training ended after a few steps"
    live = True

    def __init__(self, torch: Any, value: Any) -> None:
        super().__init__(torch, value)
        self.steps = 0
        #: Collections are ours; before that they are the script's.
        self.ours = False
        #: What is alive was frozen by us.
        self.frozen = False
        self.at_fork = False

    def before_optimizer(self, optimizer: Any) -> None:
        if self.value is None:
            return
        self.steps += 1
        if not self.ours:
            if self.steps > FIRST_STEPS:
                self.begin()
        elif self.steps % self.value == 0:
            gc.collect()

    def begin(self) -> None:
        if not gc.isenabled():
            self.note("collect_every was not applied: the script has switched collections off itself")
            return
        self.ours = True
        gc.disable()
        if not self.at_fork:
            # Workers that are forked from now on have nobody who collects for them.
            self.at_fork = True
            os.register_at_fork(after_in_child=self.forked)
        if not gc.get_freeze_count():
            gc.collect()
            gc.freeze()
            self.frozen = True
        self.pulled()

    def forked(self) -> None:
        if self.ours:
            gc.enable()

    def switch(self, value: Any) -> None:
        if self.ours:
            gc.enable()
            if self.frozen:
                gc.unfreeze()
        self.ours = self.frozen = False
        super().switch(value)

"""Activations kept: every ``checkpoint(f, x)`` becomes ``f(x)``."""

from __future__ import annotations

from hotlap.probe.levers.base import Lever


class Checkpointing(Lever):
    name = "checkpointing"
    never = "the script checkpoints no activations"
    live = True

    def off(self) -> bool:
        if self.value != "off":
            return False
        self.pulled()
        return True

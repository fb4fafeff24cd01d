"""Where the time goes in the models: as the probe saw it in single steps, and as it is reported."""

from __future__ import annotations

from typing import Literal

import msgspec


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """A module at its place in the nesting of calls. Seconds are its own, without those of the stages inside it."""

    #: Its name in the outermost module, e.g. "blocks.0.attention"; of an outermost one, its class.
    path: str
    #: Its class.
    module: str
    #: Index of the stage that calls it; None of an outermost one. In order of the first calls.
    parent: int | None = None
    #: Which phase of the step its forward is part of: "forward", or "loss" of a model that is called for the loss.
    phase: Literal["forward", "loss"] = "forward"
    #: Calls in a step, without those that recompute. Calls and seconds are medians over the watched steps.
    calls: float = 0
    #: Autograd nodes of its own in a step: about as many operators did its forward.
    nodes: float = 0
    forward: float = 0.0
    backward: float = 0.0
    recompute: float = 0.0
    #: Seconds of the device; None where no other device than the processor computes.
    device_forward: float | None = None
    device_backward: float | None = None
    device_recompute: float | None = None


class Stages(msgspec.Struct, frozen=True, kw_only=True):
    """What the probe saw in the steps that it watched, which the watching makes slower than the others."""

    #: How many steps were watched.
    steps: int
    stages: list[Stage]
    #: Seconds of backward for what no module computed, e.g. a loss made of functions.
    outside: float = 0.0
    device_outside: float | None = None
    #: So many levels of calls are told apart; None for all of them.
    levels: int | None = None


class StageRow(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the tree. Seconds are of a usual step and include what is under it: only leaves add up."""

    #: Name relative to the line above, e.g. "blocks.0-7"; "rest of X" is what X does beside the stages under it.
    name: str
    #: Class of the module; "" for a rest.
    module: str
    #: How many alike modules the line stands for.
    count: int = 1
    calls: float = 0
    forward: float = 0.0
    backward: float = 0.0
    recompute: float = 0.0
    children: list[StageRow] = []

    @property
    def total(self) -> float:
        return self.forward + self.backward + self.recompute


class StageTree(msgspec.Struct, frozen=True, kw_only=True):
    """The stages of a usual step, down to the level that explains it."""

    #: In the order in which they are called; the last one may be what no module does.
    rows: list[StageRow]
    #: Seconds of all leaves.
    total: float
    #: Share of ``total`` in leaves that are stages, not the rest of one.
    explained: float
    #: Watched steps that this rests on.
    steps: int
    #: "host", or "device" where the seconds are a GPU's own.
    clock: Literal["host", "device"] = "host"
    levels: int | None = None

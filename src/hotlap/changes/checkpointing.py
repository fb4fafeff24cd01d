"""Activation checkpointing that memory does not ask for, and that which it does."""

from __future__ import annotations

import math

from hotlap.changes.situation import Situation
from hotlap.records import Change

#: Shares of the blocks, from the least work to the most.
_SHARES = (("1/4", 0.25), ("1/2", 0.5), ("all", 1.0))
#: Of what compiled code would keep for backward. Less is not always less memory, so each is measured.
_BUDGETS = (0.7, 0.4, 0.1)


def propose(situation: Situation) -> list[Change]:
    if situation.facts.checkpointing:
        # Perhaps by a change that was kept for the memory that it saves.
        if situation.wants_memory:
            return []
        return [
            Change(
                name="checkpointing",
                value="off",
                title="activations kept instead of recomputed",
                numerics="exact",
                inject={"checkpointing": "off"},
                live=True,
                edits={"use_checkpoint": False},
                bound=situation.bound("recompute"),
                note="takes the memory of the activations",
            )
        ]
    if not situation.wants_memory:
        return []
    if situation.facts.compiled:
        return [_budget(share) for share in _BUDGETS]
    return [_recomputed(share) for share in _shares(situation)]


def _recomputed(share: str) -> Change:
    return Change(
        name="checkpointing",
        value=share,
        title=f"activations of {'all' if share == 'all' else share + ' of the'} blocks recomputed",
        numerics="exact",
        inject={"recompute": share},
        live=True,
        edits={"use_checkpoint": True} if share == "all" else {},
        note="saves the memory of these activations, and computes each of these blocks once more in backward",
    )


def _budget(share: float) -> Change:
    return Change(
        name="memory_budget",
        value=f"{share:g}",
        title=f"compiled code that keeps {share:.0%} for backward",
        # Other operations are fused with one another.
        numerics="rounding",
        inject={"memory_budget": share},
        note="only for what torch.compile compiles: it saves activations and computes the rest again",
    )


def _shares(situation: Situation) -> list[str]:
    """Where a limit asks for so many bytes, the least share that may save them, and those above it."""
    blocks = situation.facts.blocks or 0
    possible = [(name, share) for name, share in _SHARES if share == 1 or blocks * share >= 1] if blocks > 1 else []
    limit, peak = situation.memory_limit, situation.peak
    parts = {part.name: part.bytes for part in situation.diagnosis.memory.parts}
    if situation.goal != "memory" and limit is not None and peak is not None and "activations" in parts:
        # Of one block at a time, all activations are there again.
        saved = {name: parts["activations"] * share * (1 - 1 / math.ceil(blocks * share)) for name, share in possible}
        enough = [name for name, _ in possible if saved[name] >= peak - limit]
        return enough or [name for name, _ in possible[-1:]]
    return [name for name, _ in possible]

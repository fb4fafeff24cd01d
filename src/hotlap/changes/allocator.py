"""Freed memory kept by the process, where the kernel hands it out again at every step; on a GPU, segments that grow."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.diagnose.faults import fault_seconds
from hotlap.records import Change


def propose(situation: Situation) -> list[Change]:
    return [*_kept(situation), *_growing(situation)]


def _growing(situation: Situation) -> list[Change]:
    """What torch asks CUDA for again and again where sizes change, it then asks for once."""
    facts = situation.facts
    if facts.device != "cuda" or "expandable_segments" in (facts.cuda_allocator or ""):
        return []
    return [
        Change(
            name="cuda_allocator",
            value="expandable_segments",
            title="segments of GPU memory that grow",
            numerics="exact",
            inject={"cuda_allocator": "expandable_segments:True"},
            bound=situation.bound("forward", "backward", "recompute", "loss", "optimizer", "other"),
            note="less memory is lost between blocks where sizes change; PYTORCH_CUDA_ALLOC_CONF has to be set before "
            "CUDA starts",
        )
    ]


def _kept(situation: Situation) -> list[Change]:
    seconds = fault_seconds(situation.facts, situation.step_seconds)
    if seconds is None or situation.key("keep_freed_memory"):
        return []
    return [
        Change(
            name="allocator",
            value="keep",
            title="freed memory kept by the process",
            numerics="exact",
            inject={"allocator": "keep"},
            edits={"keep_freed_memory": True},
            bound=situation.bound_of(seconds),
            note="the process gives no memory back to the system until it ends",
        )
    ]

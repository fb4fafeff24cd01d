"""Switches of the user's own that say less, or more exactly, what they do than hotlap's changes."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.records import Change

_PARTS = {"use_checkpoint_attn": "attention", "use_checkpoint_ffn": "the feed-forward network"}


def propose(situation: Situation) -> list[Change]:
    return [*_mixed_precision(situation), *_eight_bits(situation), *_checkpointing(situation)]


def _mixed_precision(situation: Situation) -> list[Change]:
    """Where a type can be chosen, ``precision`` chooses it; on a CPU it may be fp16, which is many times slower."""
    if situation.key("use_mixed_precision") is not False or situation.has("mixed_precision_dtype") or situation.on_cpu:
        return []
    if situation.facts.autocast or situation.facts.parameter_dtype not in (None, "float32"):
        return []
    return [
        Change(
            name="precision",
            value="own",
            title="the training's own mixed precision",
            numerics="rounding",
            edits={"use_mixed_precision": True},
            bound=situation.bound("forward", "backward", "loss", "recompute"),
            note="in the type that the training chooses",
        )
    ]


def _eight_bits(situation: Situation) -> list[Change]:
    """Kernels for a GPU; on a CPU it was measured slower."""
    if situation.key("optimizer_8bit") is not False or situation.on_cpu:
        return []
    return [
        Change(
            name="optimizer_8bit",
            value="true",
            title="the training's own 8-bit optimizer",
            numerics="rounding",
            edits={"optimizer_8bit": True},
            bound=situation.bound("optimizer"),
            note="needs bitsandbytes; a quarter of the optimizer's memory, with rounded moments",
        )
    ]


def _checkpointing(situation: Situation) -> list[Change]:
    """Part of it, for where there is no memory to do without all of it."""
    if not situation.facts.checkpointing or not all(situation.key(key) for key in _PARTS):
        return []
    return [
        Change(
            name="checkpointing",
            value=f"off for {part}",
            title=f"activations of {part} kept instead of recomputed",
            numerics="exact",
            edits={key: False},
            bound=situation.bound("recompute"),
            note="takes the memory of these activations",
        )
        for key, part in _PARTS.items()
    ]

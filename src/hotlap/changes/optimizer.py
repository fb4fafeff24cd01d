"""The optimizer: one kernel instead of a loop over tensors, its state in 8 bits, gradients given up between steps."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.diagnose.implementation import FOREACH, FUSED, implementation
from hotlap.records import Change

#: Libraries that keep the state in 8 bits, the one that a configuration of ``hotlap train`` takes first.
LIBRARIES = ("bitsandbytes", "torchao")


def propose(situation: Situation) -> list[Change]:
    facts = situation.facts
    bound = situation.bound("optimizer")
    now = implementation(facts)
    changes = []
    for value, supported, already in (
        ("fused", FUSED, now == "fused"),
        ("foreach", FOREACH, now in ("fused", "foreach")),
    ):
        if facts.optimizer in supported and not already:
            changes.append(
                Change(
                    name="optimizer",
                    value=value,
                    title=f"{value} {facts.optimizer}",
                    numerics="rounding",
                    inject={value: True},
                    live=True,
                    edits={"optimizer_implementation": value},
                    bound=bound,
                )
            )
    if facts.zeroed_gradients:
        changes.append(
            Change(
                name="zero_grad",
                value="none",
                title="gradients given up instead of filled with zeros",
                numerics="exact",
                inject={"set_to_none": True},
                live=True,
                # Backward then writes a gradient where it added to zeros.
                bound=None if situation.wants_memory else situation.bound("optimizer", "backward"),
                note="gradients take no memory between the update and backward",
            )
        )
    return changes + _eight_bit(situation)


def _eight_bit(situation: Situation) -> list[Change]:
    facts = situation.facts
    # On a CPU both were slower than a loop, so there it is for memory alone.
    if facts.optimizer not in ("Adam", "AdamW") or facts.optimizer_options or facts.optimizer_bits == 8:
        return []
    if situation.on_cpu and not situation.wants_memory:
        return []
    if situation.has("optimizer_8bit"):
        return []  # the training's own
    here = [library for library in LIBRARIES if library in facts.importable]
    # That of bitsandbytes takes weight decay off the weights, as only AdamW does.
    fitting = [name for name in here if name == "torchao" or facts.optimizer == "AdamW" or not facts.weight_decay]
    return [
        Change(
            name="optimizer",
            value="8bit" if library == "bitsandbytes" else f"8bit-{library}",
            title=f"{facts.optimizer} with its state in 8 bits ({library})",
            numerics="rounding",
            inject={"eight_bit": library},
            edits={"optimizer": f"{facts.optimizer.lower()}8bit", "optimizer_implementation": "auto"}
            if library == fitting[0]
            else {},
            bound=None if situation.wants_memory else situation.bound("optimizer"),
            note="about 2 bytes of state a parameter instead of 8"
            + ("; slower than the others on a CPU" if situation.on_cpu else "")
            + ("; it compiles its update first" if library == "torchao" else ""),
        )
        for library in fitting
    ]

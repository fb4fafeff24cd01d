"""torch.compile, judged with its cost: of the whole model, or of the blocks that it repeats."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.records import Change

#: Fewer blocks than this compile about as fast as the whole model.
_BLOCKS = 3


def propose(situation: Situation) -> list[Change]:
    facts = situation.facts
    if facts.compiled:
        return []
    values = []
    if (facts.repeated_blocks or 0) >= _BLOCKS:
        values.append("default blocks")
    values.append("default dynamic" if (facts.input_shapes or 1) > 1 else "default")
    if not situation.on_cpu:
        values.append("reduce-overhead")
    values.append("max-autotune")
    return [_change(situation, value) for value in values]


_GRAPHS = ("reduce-overhead", "max-autotune")


def _change(situation: Situation, value: str) -> Change:
    mode, *options = value.split()
    title = "torch.compile of each repeated block" if "blocks" in options else "torch.compile"
    note = "the first step compiles; see the break-even"
    if "dynamic" in options:
        title, note = f"{title} for changing shapes", f"{note}; code for any shape is a little slower"
    if mode != "default":
        title = f"{title}, {mode}"
    if mode == "reduce-overhead":
        note += "; a CUDA graph keeps its memory"
    if mode == "max-autotune":
        note += ", which is long here: each kernel is chosen by trying"
    return Change(
        name="compile",
        value=value,
        title=title,
        numerics="rounding",
        inject={"compile": value},
        # A CUDA graph keeps its memory when it is switched off, and the other arms of the process would lack it.
        live=situation.on_cpu or mode not in _GRAPHS,
        edits={} if options else {"compile_model": True, "compile_mode": mode},
        bound=situation.bound("forward", "backward", "recompute"),
        note=note,
    )

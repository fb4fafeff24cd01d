"""A loop in Python that calls a module very many times in a step."""

from __future__ import annotations

from typing import NamedTuple

from hotlap.diagnose.context import Context
from hotlap.diagnose.rules.base import Rule, part, time
from hotlap.diagnose.stages import scale
from hotlap.diagnose.thresholds import OPERATOR_AT_MOST, OPERATOR_CPU, REPEATED_CALLS, REPEATED_SHARE
from hotlap.records import Finding, Stage

#: Modules that are named in one sentence.
_NAMED = 3


class RepeatedCalls(Rule):
    code = "HOST09"
    title = "A module is called again and again in a loop, and the calls cost more than what they compute"
    meaning = (
        "A loop in Python, over time steps or samples or patches, calls the same small module very many times in a "
        "step. Each of its operators computes so little that Python and the dispatch are most of it, in forward and in "
        "backward. The same arithmetic in few large operators takes a fraction of the time."
    )
    evidence_needed = (
        f"A module that is called {REPEATED_CALLS} times and more for each call of the module around it, in the steps "
        "that were watched; and the forward seconds of these calls and of the loop, divided by the number of their "
        f"operators (autograd nodes): up to {OPERATOR_AT_MOST * OPERATOR_CPU * 1e6:.0f} µs each, where calling alone "
        f"takes about {OPERATOR_CPU * 1e6:.0f} µs."
    )
    remedy = (
        "Give the whole loop to one call: `nn.LSTM` or `nn.GRU` over the sequence in place of `LSTMCell` or `GRUCell` "
        "at each time step; layers that do not depend on the step before (an output layer, an embedding) once, over "
        "all steps stacked. Where the loop must stay, use a larger batch (this is another training), or let "
        "`torch.compile` take in the loop or its body."
    )
    limits = (
        "The bound supposes that calling costs nothing, which one call for all comes near to. Whether the iterations "
        "can be made in one call is for their owner to say. A loop over operators without a module in it is not seen, "
        "nor one of more calls than are told apart in a step that is watched (4000). On "
        "a GPU, HOST07 says when it waits for the host."
    )
    changes = ("compile",)

    def check(self, context: Context) -> Finding | None:
        found = max(_loops(context), key=lambda loop: loop.dispatch, default=None)
        if found is None or not found.nodes:
            return None
        named = ", ".join(
            f"{each.path} ({each.module}) {each.calls:,.0f} times"
            for each in sorted(found.called, key=lambda each: -each.calls)[:_NAMED]
        )
        within = f"{found.owner.path} ({found.owner.module})" if found.owner else "The script"
        evidence = [
            f"{within} calls in a step: {named}.",
            f"Their {found.nodes:,.0f} operators take {time(found.forward / found.nodes)} of forward each; up to "
            f"{time(OPERATOR_CPU)} are the call, whatever is computed.",
            f"Forward and backward of the loop take {part(context, found.seconds)}.",
        ]
        compiled = context.facts.compiled
        return self.finding(
            context, found.dispatch, evidence, least=REPEATED_SHARE, changes=() if compiled else self.changes
        )


class _Loop(NamedTuple):
    #: What calls again and again; None for the script itself.
    owner: Stage | None
    called: list[Stage]
    nodes: float
    forward: float
    #: Forward, backward and recompute.
    seconds: float

    @property
    def dispatch(self) -> float:
        """Seconds that calling takes of it at the most, 0 where computing takes longer."""
        each = self.forward / self.nodes if self.nodes else 0.0
        return self.seconds * min(1.0, OPERATOR_CPU / each) if 0 < each <= OPERATOR_AT_MOST * OPERATOR_CPU else 0.0


def _loops(context: Context) -> list[_Loop]:
    """What is called again and again, by what calls it. Seconds are scaled to a usual step."""
    seen, tree = context.run.stages, context.stages
    if seen is None or tree is None or context.facts.device != "cpu":
        return []
    stages = seen.stages
    #: Of each stage the outermost one around it, or itself, that is called again and again.
    repeated: list[int | None] = []
    for index, stage in enumerate(stages):
        above = repeated[stage.parent] if stage.parent is not None else None
        around = stages[stage.parent].calls if stage.parent is not None else context.micro_batches
        again = stage.calls >= REPEATED_CALLS * max(1.0, around)
        repeated.append(above if above is not None else index if again else None)
    inside = {kind: sum(getattr(each, kind) for each in stages) for kind in ("forward", "backward", "recompute")}
    factor = {kind: scale(context.phases, context.medians, kind, seconds) for kind, seconds in inside.items()}
    if inside["backward"] > 0:
        # Outside of modules are above all the gradients that are added up, once for each call.
        factor["backward"] = scale(context.phases, context.medians, "backward", inside["backward"] + seen.outside)
        factor["backward"] *= 1 + min(1.0, seen.outside / inside["backward"])
    loops = []
    for parent in {stages[index].parent for index in repeated if index is not None}:
        heads = [index for index in set(repeated) if index is not None and stages[index].parent == parent]
        members = [stages[index] for index, head in enumerate(repeated) if head in heads]
        owner = stages[parent] if parent is not None else None
        members += [owner] if owner else []
        spent = {kind: factor[kind] * sum(getattr(each, kind) for each in members) for kind in factor}
        nodes = sum(each.nodes for each in members)
        # What other programs add to a usual step is none of the operators' own time.
        forward = min(1.0, factor["forward"]) * sum(each.forward for each in members)
        loops.append(_Loop(owner, [stages[index] for index in heads], nodes, forward, sum(spent.values())))
    return loops

"""Where in the models the time goes. Both inform: that a part of a model takes long is no fault of the training."""

from __future__ import annotations

from collections.abc import Iterator

from hotlap.diagnose.context import Context
from hotlap.diagnose.rules.base import Rule, part, percent, plural, time
from hotlap.diagnose.thresholds import COMPUTE_SHARE, HEAVY_STAGE, RECOMPUTE_SHARE, WHOLE_MODEL
from hotlap.records import Finding, StageRow, StageTree

#: Stages that are named in one sentence.
_NAMED = 4


class HeavyStage(Rule):
    code = "COMPUTE02"
    title = "One stage of the model takes most of its time"
    meaning = (
        "More than half of forward, backward and recompute is in one module. What makes the model cheaper is there."
    )
    evidence_needed = (
        "Forward, backward and recompute of each named module in the steps that were watched for it, scaled to a usual "
        "step (on a GPU: the device's own time). Computing takes most of the step."
    )
    remedy = (
        "Look at this module first: at what it computes (resolution, width, repeated calls, loops in Python), at its "
        "precision and layout, and whether torch.compile fuses it. To compile or checkpoint it alone may be enough."
    )
    limits = (
        "That it takes most does not mean that it could take less. The bound supposes that it took no time at all. A "
        "few steps were watched, which the watching slows, small modules more than large ones. What a compiled model "
        "does inside is not seen."
    )
    changes = ("compile", "precision", "layout")
    information = True
    describes = True

    def check(self, context: Context) -> Finding | None:
        tree = context.stages
        # Too noisy, or said already, and with more of a reason.
        said = any(finding.code in ("MEASURE01", "HOST09") for finding in context.found)
        if tree is None or said or context.share(context.compute) <= COMPUTE_SHARE:
            return None
        heavy = [
            (path, row)
            for path, row in _named(tree.rows)
            if row.count == 1 and HEAVY_STAGE * tree.total <= row.total <= WHOLE_MODEL * tree.total
        ]
        if not heavy:
            return None
        path, row = heavy[-1]  # the innermost: each one before holds those after it
        kinds = {"forward": row.forward, "backward": row.backward, "recompute": row.recompute}
        times = ", ".join(f"{name} {time(seconds)}" for name, seconds in kinds.items() if seconds > 0)
        evidence = [
            f"{path} ({row.module}) takes {part(context, row.total)}, which is {percent(row.total / tree.total)} of "
            f"the models: {times}.",
            f"It is called {plural(row.calls, 'time')} in a step. {plural(tree.steps, 'step')} "
            f"{'was' if tree.steps == 1 else 'were'} watched.",
        ]
        changes = [name for name in self.changes if not (name == "compile" and context.facts.compiled)]
        if context.facts.autocast is not None:
            changes.remove("precision")
        if not context.facts.convolutions or context.facts.channels_last is not False:
            changes.remove("layout")
        return self.finding(context, row.total, evidence, changes=changes)


class RecomputedStages(Rule):
    code = "CHECKPOINT02"
    title = "What checkpointing costs, stage by stage"
    meaning = (
        "Each checkpointed stage runs its forward again in backward. Those that cost the most time for the memory that "
        "they save are the ones to leave out first."
    )
    evidence_needed = "Recompute of each named module in the steps that were watched for it, scaled to a usual step."
    remedy = (
        "Checkpoint only as many stages as memory needs: leave out those with much recompute first, or keep the "
        "results of their expensive operations (selective checkpointing)."
    )
    limits = "How much memory each stage saves is not measured here. Nothing is wrong with it where memory is short."
    changes = ("checkpointing",)
    information = True

    def check(self, context: Context) -> Finding | None:
        tree, seconds = context.stages, context.seconds("recompute")
        if tree is None or context.share(seconds) < RECOMPUTE_SHARE:
            return None
        found = sorted(_recomputed(tree), key=lambda each: -each[1].recompute)
        if not found:
            return None
        named = ", ".join(f"{path} {time(row.recompute)}" + _each(row) for path, row in found[:_NAMED])
        left = sum(row.recompute for _, row in found[_NAMED:])
        evidence = [
            f"Recomputing activations takes {part(context, seconds)}.",
            f"By stage: {named}" + (f", {len(found) - _NAMED} others {time(left)}." if left else "."),
        ]
        return self.finding(context, seconds, evidence)


def _each(row: StageRow) -> str:
    return f" ({time(row.recompute / row.count)} each)" if row.count > 1 else ""


def _recomputed(tree: StageTree) -> list[tuple[str, StageRow]]:
    """The outermost stages below the models that are recomputed with all that is in them."""
    found: list[tuple[str, StageRow]] = []
    for path, row in _named(tree.rows):
        inside = [child for child in row.children if child.module]
        whole = row.recompute > 0 and all(child.recompute > 0 for child in inside)
        if whole and not (row in tree.rows and inside) and not any(path.startswith(f"{above}.") for above, _ in found):
            found.append((path, row))
    return found


def _named(rows: list[StageRow]) -> Iterator[tuple[str, StageRow]]:
    """All stages with their names, from the outside to the inside; with the model's class where there are several."""
    models = [row for row in rows if row.module]

    def below(path: str, prefix: str, row: StageRow) -> Iterator[tuple[str, StageRow]]:
        yield path, row
        for child in row.children:
            if child.module:
                yield from below(prefix + child.name, f"{prefix}{child.name}.", child)

    for row in models:
        yield from below(row.name, f"{row.name}." if len(models) > 1 else "", row)

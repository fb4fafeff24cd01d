"""What several ranks wait for, where a model is data parallel: how gradients are sent, and how often."""

from __future__ import annotations

from hotlap.changes.situation import Situation
from hotlap.diagnose.rules.base import size
from hotlap.records import Change, DataParallel, NumericsClass

#: What ``DistributedDataParallel`` takes where nothing is said, in MiB.
DEFAULT_CAP = 25
#: Gradients of less than that are sent at once.
LEAST_GRADIENTS = 1 << 20


def propose(situation: Situation) -> list[Change]:
    parallel = situation.facts.data_parallel
    if parallel is None or situation.facts.world_size < 2:
        return []
    return [
        *_no_sync(situation, parallel),
        *_graph(situation, parallel),
        *_buckets(situation, parallel),
        *_compression(situation, parallel),
    ]


def _no_sync(situation: Situation, parallel: DataParallel) -> list[Change]:
    count = situation.facts.micro_batches or 1
    searches = parallel.find_unused_parameters and not parallel.static_graph
    if count < 2 or parallel.models != 1 or searches or parallel.syncs < 0.9 * parallel.backwards:
        return []
    return [
        Change(
            name="no_sync",
            value="true",
            title="gradients synchronised once in a step",
            numerics="rounding",
            inject={"no_sync": True},
            bound=situation.bound_of(_sync(situation) * (count - 1) / count),
            note=f"in the last of {count} micro-batches; the loop must have the same number in every step",
        )
    ]


def _graph(situation: Situation, parallel: DataParallel) -> list[Change]:
    if parallel.static_graph:
        return []
    # The search runs inside the forward, whose other parts take most of it.
    bound = situation.bound("forward", "gradient_sync")
    found = situation.found("DISTRIBUTED05")
    bound = found.bound if found else bound
    changes = []
    if parallel.find_unused_parameters and not parallel.unused:
        changes.append(
            Change(
                name="unused_search",
                value="off",
                title="no search for unused parameters",
                numerics="exact",
                inject={"unused_search": "off"},
                bound=bound,
                note="a model that leaves a parameter out in some step then ends with an error",
            )
        )
    changes.append(
        Change(
            name="static_graph",
            value="true",
            title="a graph that is the same in every step",
            numerics=_reduced(situation),
            inject={"static_graph": True},
            bound=bound if parallel.find_unused_parameters else situation.bound("gradient_sync"),
            note="a model that takes another way in some step then ends with an error, or trains wrongly",
        )
    )
    return changes


def _buckets(situation: Situation, parallel: DataParallel) -> list[Change]:
    bound, gradients = situation.bound_of(_sync(situation)), parallel.parameter_bytes or 0
    changes = []
    if not parallel.gradient_as_bucket_view:
        changes.append(
            Change(
                name="bucket_view",
                value="true",
                title="gradients that live in their buckets",
                numerics="exact",
                inject={"gradient_as_bucket_view": True},
                # What it saves is a copy of each gradient, in backward.
                bound=situation.bound("gradient_sync", "backward"),
                note=f"saves {size(gradients)}" if gradients else "saves the size of the gradients",
            )
        )
    mebibytes = gradients / (1 << 20)
    caps = {max(1, round(mebibytes / 4)), 2 * DEFAULT_CAP, 4 * DEFAULT_CAP} if gradients > LEAST_GRADIENTS else set()
    # A larger one only matters to what does not fit into a bucket now.
    wanted = sorted(cap for cap in caps if cap < DEFAULT_CAP or (cap > DEFAULT_CAP and mebibytes > DEFAULT_CAP))
    changes += [
        Change(
            name="bucket_cap",
            value=f"{cap}MB",
            title=f"gradients in buckets of {cap} MB",
            numerics=_reduced(situation),
            inject={"bucket_cap_mb": cap},
            bound=bound,
            note="smaller ones begin earlier, larger ones are fewer",
        )
        for cap in wanted
    ]
    return changes


def _compression(situation: Situation, parallel: DataParallel) -> list[Change]:
    if parallel.comm_hook or situation.facts.parameter_dtype not in (None, "float32"):
        return []
    return [
        Change(
            name="gradient_compression",
            value="bf16",
            title="gradients sent as bfloat16",
            numerics="rounding",
            inject={"gradient_compression": "bfloat16"},
            bound=situation.bound_of(_sync(situation)),
            note="half the bytes; each gradient is rounded to 8 bits before it is averaged",
        )
    ]


def _sync(situation: Situation) -> float:
    """Seconds of a step in which something waits for gradients; a GPU's wait is in its own timeline."""
    device = situation.diagnosis.device.phases.get("gradient_sync") if situation.diagnosis.device else None
    host = situation.diagnosis.phases.get("gradient_sync", 0.0)
    return host if device is None else max(host, device.at_most)


def _reduced(situation: Situation) -> NumericsClass:
    """Of gradients in other buckets: a sum of two has one order, that of more depends on the place in the bucket."""
    return "exact" if situation.facts.world_size == 2 else "rounding"

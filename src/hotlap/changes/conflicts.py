"""What cannot be together, or not in this training, and why: a row each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

from hotlap.changes.samples import AHEAD, ahead_seconds
from hotlap.changes.situation import Situation
from hotlap.records import Change

#: Compilation modes that record CUDA graphs.
_GRAPHS = ("reduce-overhead", "max-autotune")

#: Other ways to make a batch.
_BATCHES = ("batched_fetch", "cache_samples", "whole_set")
#: What keeps samples, so that none is made again.
_SAMPLES = ("cache_samples", "shared_samples", "whole_set")
#: What workers share.
_SHARED = ("shared_samples", "shared_batches")

Alone = Callable[[Change, Situation], bool]
Together = Callable[[Change, Change], bool]
Lacking = Callable[[Sequence[Change], Situation], bool]


def _is(change: Change, name: str, *values: str) -> bool:
    """By the first word of its value, or by its name alone."""
    return change.name == name and (not values or change.value.split()[0] in values)


def _workers(change: Change) -> Any:
    """How many it wants, under whatever name the user has for them; None where they are not its matter."""
    return change.edits.get("num_workers", int(change.value) if change.name == "workers" else None)


#: Of a change and this training.
_ALONE: tuple[tuple[Alone, str], ...] = (
    (
        lambda change, it: _is(change, "precision", "fp16") and it.on_cpu,
        "fp16 on a CPU was measured 50 times slower than float32",
    ),
    (
        lambda change, it: change.inject.get("grad_scaling") is not None and it.facts.switches.scale_first is not None,
        "the script scales its gradients itself",
    ),
    (
        lambda change, it: _is(change, "precision", "pure-bf16") and it.facts.world_size > 1,
        "a model in bfloat16 throughout has to be so before it is shared between processes",
    ),
    (
        lambda change, it: _is(change, "compile") and bool(it.facts.compiled),
        "the script compiles its model itself",
    ),
    (
        lambda change, it: _is(change, "compile", *_GRAPHS) and not it.on_cpu and (it.facts.input_shapes or 1) > 1,
        "a CUDA graph holds for one shape, and the shapes of this training change",
    ),
    (
        lambda change, it: (
            _is(change, "compile", *_GRAPHS)
            and not it.on_cpu
            and max(it.key("accumulation_steps") or 1, it.facts.micro_batches or 1) > 1
        ),
        "a CUDA graph overwrites what it returned when the next micro-batch runs it",
    ),
    (
        lambda change, it: _is(change, "cudnn_benchmark") and (it.facts.input_shapes or 1) > 1,
        "each new shape would be tried anew, and the shapes of this training change",
    ),
    (
        lambda change, it: _is(change, "shared_samples") and (ahead_seconds(it) or 0.0) > AHEAD,
        "it pays from the second epoch on, and fetching each sample once takes longer than a trial: by hand it is "
        "hotlap.data.SampleCache",
    ),
)

#: Of two changes, in either order.
_TOGETHER: tuple[tuple[Together, str], ...] = (
    (
        lambda a, b: a.name == b.name and a.value != b.value,
        "there can be one value at a time",
    ),
    (
        lambda a, b: _is(a, "precision", "pure-bf16") and _is(b, "matmul_precision"),
        "no product of float32 is left",
    ),
    (
        lambda a, b: _is(a, "compile") and _is(b, "checkpointing", "all", "1/2", "1/4"),
        "compiled code decides itself what is recomputed (memory_budget)",
    ),
    (
        lambda a, b: _is(a, "layout") and _is(b, "optimizer", "8bit"),
        "bitsandbytes lays the weights out anew at every step, and channels_last is lost",
    ),
    (
        lambda a, b: _is(a, "trim_padding") and _is(b, "compile"),
        "each new length is compiled anew, or with dynamic shapes",
    ),
    (
        lambda a, b: a.name in _BATCHES and b.name in _BATCHES and a.name != b.name,
        "both make the batch, or keep its samples",
    ),
    (
        lambda a, b: bool(_workers(a)) and b.name in _BATCHES,
        "the batches are then fetched by the training itself, and not by workers",
    ),
    (
        lambda a, b: a.name in ("persistent_workers", "prefetch", "any_order", *_SHARED) and b.name in _BATCHES,
        "there are no workers then",
    ),
    (
        lambda a, b: _is(a, "cache_decoded") and b.name in _SAMPLES,
        "of samples that are kept nothing is decoded again",
    ),
    (
        lambda a, b: a.name in _SHARED and _workers(b) == 0,
        "there are no workers then",
    ),
    (
        lambda a, b: _is(a, "precision", "pure-bf16") and b.name == "optimizer" and b.value.startswith("8bit"),
        "both change what the optimizer keeps",
    ),
    (
        lambda a, b: _is(a, "precision", "fp16") and _is(b, "no_sync"),
        "gradients are unscaled before they have been averaged",
    ),
    (
        lambda a, b: _is(a, "static_graph") and _is(b, "no_sync"),
        "PyTorch may stop reducing gradients (pytorch/pytorch#187732)",
    ),
    (
        lambda a, b: _is(a, "trim_padding") and _is(b, "cudnn_benchmark"),
        "each new length would be tried anew",
    ),
)

#: Of all of them: something is missing.
_LACKING: tuple[tuple[Lacking, str], ...] = (
    (
        lambda changes, it: (
            any(_is(each, "memory_budget") for each in changes)
            and not it.facts.compiled
            and not any(_is(each, "compile") for each in changes)
        ),
        "memory_budget is for compiled code, and nothing is compiled",
    ),
)


def conflicts(changes: Sequence[Change], situation: Situation) -> str | None:
    """Return why these changes cannot be tried together in this training, or None."""
    for change in changes:
        for alone, reason in _ALONE:
            if alone(change, situation):
                return reason
    for lacking, reason in _LACKING:
        if lacking(changes, situation):
            return reason
    for one, other in combinations(changes, 2):
        if why := incompatible(one, other):
            return f"{one.id} and {other.id}: {why}"
    return None


def incompatible(one: Change, other: Change) -> str | None:
    """Return why these two cannot be tried together in any training, or None."""
    for together, reason in _TOGETHER:
        if together(one, other) or together(other, one):
            return reason
    return None

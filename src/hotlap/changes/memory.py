"""By how many bytes a change moves the peak of memory: an interval, from what one step was seen to hold.

    peak = parameters + buffers + gradients + optimizer state + inputs + activations + other
                                                     │             │        │
           8 bits: fewer ────────────────────────────┘             │        │
           recomputed: fewer, larger micro-batch: more ────────────┴────────┘

Only the lower end decides that a change cannot fit, so where nothing is known it is low. What a library takes as
workspace, and what compilation does to a plan, is not known at all: then there is no prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from hotlap.changes.situation import Situation
from hotlap.diagnose.implementation import implementation
from hotlap.records import Change

#: Bytes of a parameter's state in 8 bits: two codes, and a scale for every 256 of each. In the trials before the
#: project began both libraries took 2.04.
EIGHT_BIT_STATE = 2 * (1 + 4 / 256)
#: Tensors of fewer elements keep their state in float32 in both libraries.
EIGHT_BIT_LEAST = 4096
#: Bytes of a parameter in the copy that autocast makes of it.
_AUTOCAST_COPY = 2
#: Batches that a worker keeps ready where nothing says otherwise (torch's default).
_PREFETCH = 2

#: A peak counts as smaller from this share on: the process itself takes some of it, launch by launch.
LEAST_MEMORY = 0.02

#: At least, and at most (None: not known).
Interval = tuple[int, int | None]


class _Held(NamedTuple):
    """Bytes of each category at the peak of a step."""

    peak: int
    parameters: int
    buffers: int
    gradients: int
    state: int
    inputs: int
    activations: int
    other: int


def predicted(change: Change, situation: Situation) -> Interval | None:
    """Return the least and the most by which this change alone moves the peak, relative to the training as it is.

    The peak is the GPU's where one computes, that of all processes of the training otherwise. None: it cannot be told.
    """
    if change.name in _LOADER and not situation.on_cpu:
        return 0, 0
    how = _PREDICTIONS.get(change.name)
    held = _held(situation)
    return how(change, situation, held) if how is not None and held is not None else None


def saves_too_little(change: Change, situation: Situation) -> str | None:
    """Why this change, whose memory has been predicted, cannot make the peak smaller; None where it may."""
    peak = situation.peak
    if change.memory is None or peak is None or -change.memory[0] >= LEAST_MEMORY * peak:
        return None
    if change.memory[0] >= 0:
        return "it takes nothing off the peak of memory"
    mib = 2**20
    return (
        f"it could take at most {-change.memory[0] / mib:.1f} MiB off the peak of memory, and that counts from "
        f"{LEAST_MEMORY * peak / mib:.1f} MiB on"
    )


def most_saved_first(change: Change) -> tuple[int, bool]:
    """A key to sort changes by where memory is what is to become less; of some nothing is known."""
    return (0 if change.memory is None else change.memory[0], change.name not in _PREDICTIONS)


def _held(situation: Situation) -> _Held | None:
    report = situation.diagnosis.memory
    sizes = {part.name: part.bytes for part in report.parts}
    if report.peak is None or "activations" not in sizes:
        return None
    names = ("parameters", "buffers", "gradients", "optimizer state", "inputs", "activations", "other")
    return _Held(report.peak, *(sizes.get(name, 0) for name in names))


def _precision(change: Change, situation: Situation, held: _Held) -> Interval | None:
    if change.value not in ("bf16", "fp16") or situation.facts.parameters is None:
        return None
    # Activations halve where an operation runs in 16 bits, and none does more than that.
    return -held.activations // 2, situation.facts.parameters * _AUTOCAST_COPY


def _optimizer(change: Change, situation: Situation, held: _Held) -> Interval | None:
    temporary = held.parameters if implementation(situation.facts) == "foreach" else 0
    if change.value == "foreach":
        # Temporaries as large as the parameters, when the activations are gone.
        update = held.parameters + held.buffers + held.gradients + held.state + held.parameters
        return max(0, update - held.peak), held.parameters
    if change.value == "fused":
        return -temporary, 0
    count, tensors = situation.facts.parameters, situation.facts.parameter_tensors
    eight_bit = change.name == "optimizer_8bit" or change.value.startswith("8bit")
    if not eight_bit or count is None or tensors is None or not held.state:
        return None
    smaller = int(count * EIGHT_BIT_STATE) - held.state
    kept = min(count, tensors * (EIGHT_BIT_LEAST - 1))
    return smaller - temporary, min(0, smaller + int(kept * (held.state / count - EIGHT_BIT_STATE)))


def _gradients(change: Change, situation: Situation, held: _Held) -> Interval | None:
    # They are there at the end of backward, as before.
    return -held.gradients, 0


def _checkpointing(change: Change, situation: Situation, held: _Held) -> Interval | None:
    # What a block keeps is not known one by one: half of the blocks may hold nearly all.
    return (0, None) if change.value.startswith("off") else (-held.activations, 0)


def _memory_budget(change: Change, situation: Situation, held: _Held) -> Interval | None:
    return -held.activations, 0


def _micro_batch(change: Change, situation: Situation, held: _Held) -> Interval | None:
    size = situation.key("batch_size")
    if not size or "batch_size" not in change.edits:
        return None
    wanted = change.edits["batch_size"]
    ratio = wanted / size
    seen = held.activations + held.inputs
    # Workspace and what an operation needs for itself is in the rest, beside libraries that stay as they are.
    rest = int((ratio - 1) * (seen + held.other))
    line = _line(situation, size, wanted)
    if ratio < 1:
        return (rest if line is None else max(rest, line)), 0
    lasting = held.parameters + held.buffers + held.state
    least = max(0, int(lasting + seen * ratio) - held.peak)
    return (least, rest) if line is None else (max(least, line), max(rest, line))


def _line(situation: Situation, now: int, wanted: int) -> int | None:
    """What two measured micro-batches say of one beyond them, at the least; None of one between, or of fewer.

    The peak is the largest of moments of a step, and each of them grows in a line with the batch: such a curve only
    gets steeper.
    """
    known = situation.peaks
    if len(known) < 2 or min(known) <= wanted <= max(known):
        return None
    (small, less), (large, more) = min(known.items()), max(known.items())
    return int((more - less) / (large - small) * (wanted - now))


def _workers(change: Change, situation: Situation, held: _Held) -> Interval | None:
    facts, report = situation.facts, situation.diagnosis.memory
    now = facts.workers or 0
    more = int(change.value) - now
    ready = (facts.prefetch_factor or _PREFETCH) * held.inputs
    if report.workers:
        each = report.workers_uss // report.workers + ready
        return (more * each, 0) if more < 0 else (more * ready, more * each)
    # A process that forks owns what it writes to; at most all that its parent has.
    return more * ready, more * (ready + report.trainer.uss) if report.trainer else None


def _prefetch_factor(change: Change, situation: Situation, held: _Held) -> Interval | None:
    facts = situation.facts
    more = (int(change.value) - (facts.prefetch_factor or _PREFETCH)) * (facts.workers or 0) * held.inputs
    return min(0, more), max(0, more)


def _nothing(change: Change, situation: Situation, held: _Held) -> Interval | None:
    return 0, 0


def _kept(change: Change, situation: Situation, held: _Held) -> Interval | None:
    # Blocks that are kept fit other sizes badly; by how much only a run shows.
    return 0, None


#: Changes that move memory of the host alone.
_LOADER = frozenset({"workers", "prefetch", "persistent_workers"})

_PREDICTIONS: dict[str, Callable[[Change, Situation, _Held], Interval | None]] = {
    "precision": _precision,
    "optimizer": _optimizer,
    "optimizer_8bit": _optimizer,
    "zero_grad": _gradients,
    "checkpointing": _checkpointing,
    "memory_budget": _memory_budget,
    "micro_batch": _micro_batch,
    "effective_batch": _micro_batch,
    "workers": _workers,
    "prefetch": _prefetch_factor,
    "persistent_workers": _nothing,
    "allocator": _kept,
}

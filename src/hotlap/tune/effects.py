"""Whether a change of keys took effect, by what the probe saw of the training.

A key that was accepted may still do nothing: the script reads it and sets something else, or clamps the value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hotlap.records import Change, Facts


def unmet(change: Change, facts: Facts) -> str | None:
    """Return in a sentence what was set and is not so; None where all is as set, or nothing tells.

    E.g. "the key num_workers was set to 2, but the training's loader has 0 workers". Only canonical keys can be told;
    see ``dialects``.
    """
    for key, value in change.edits.items():
        seen = _SEEN[key](value, facts, change.edits) if key in _SEEN else None
        if seen is not None:
            return f"the key {key} was set to {_word(value)}, but {seen}"
    return None


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_Check = Callable[[Any, Facts, Mapping[str, Any]], str | None]


def _workers(value: Any, facts: Facts, _: Mapping[str, Any]) -> str | None:
    if facts.workers is None or facts.workers == value:
        return None
    return f"the training's loader has {facts.workers} worker{'' if facts.workers == 1 else 's'}"


def _prefetch(value: Any, facts: Facts, _: Mapping[str, Any]) -> str | None:
    if not facts.workers or facts.prefetch_factor in (None, value):
        return None
    return f"each worker of the training's loader prefetches {facts.prefetch_factor} batches"


def _persistent(value: Any, facts: Facts, _: Mapping[str, Any]) -> str | None:
    if not facts.workers or facts.persistent_workers in (None, value):
        return None
    return f"the workers of the training's loader {'outlive' if facts.persistent_workers else 'end with'} the epoch"


def _pinned(value: Any, facts: Facts, _: Mapping[str, Any]) -> str | None:
    if facts.pin_memory in (None, value):
        return None
    return f"the training's loader {'pins its memory' if facts.pin_memory else 'does not pin its memory'}"


def _batch(value: Any, facts: Facts, _: Mapping[str, Any]) -> str | None:
    # Some count the samples of all ranks together.
    if facts.batch_size is None or value in (facts.batch_size, facts.batch_size * facts.world_size):
        return None
    return f"the training's batches have {facts.batch_size} sample{'' if facts.batch_size == 1 else 's'}"


def _precision(value: Any, facts: Facts, edits: Mapping[str, Any]) -> str | None:
    if facts.device is None:
        return None  # no model was seen
    if not value:
        return None if facts.autocast is None else f"the training still computes with {facts.autocast} autocast"
    dtype = edits.get("mixed_precision_dtype")
    if facts.autocast is None:
        # Pure bf16 is no autocast either.
        return None if facts.parameter_dtype in ("bfloat16", "float16") else "the training computes without autocast"
    return None if dtype in (None, facts.autocast) else f"the training's autocast is {facts.autocast}"


def _layout(value: Any, facts: Facts, _: Mapping[str, Any]) -> str | None:
    if facts.channels_last in (None, value):
        return None
    return f"the training's convolutions {'are' if facts.channels_last else 'are not'} in channels_last"


def _compiled(value: Any, facts: Facts, _: Mapping[str, Any]) -> str | None:
    if facts.compiled in (None, value):
        return None
    return "the training's model is compiled" if facts.compiled else "the training's model is not compiled"


def _checkpointing(value: Any, facts: Facts, _: Mapping[str, Any]) -> str | None:
    if facts.checkpointing in (None, value):
        return None
    return f"the training {'still checkpoints' if facts.checkpointing else 'does not checkpoint'} activations"


def _implementation(value: Any, facts: Facts, _: Mapping[str, Any]) -> str | None:
    seen = {"fused": facts.optimizer_fused, "foreach": facts.optimizer_foreach}
    if facts.optimizer is None or value not in seen or seen[value]:
        return None
    return f"the training's {facts.optimizer} is not {value}"


def _eight_bits(value: Any, facts: Facts, _: Mapping[str, Any]) -> str | None:
    if facts.optimizer is None or any(name in facts.optimizer.lower() for name in ("8bit", "bitsandbytes")) == value:
        return None
    return f"the training's optimizer is {facts.optimizer}"


def _kept(value: Any, facts: Facts, _: Mapping[str, Any]) -> str | None:
    if not value or facts.allocator in (None, "kept"):
        return None
    return "the process gives freed memory back"


_SEEN: dict[str, _Check] = {
    "num_workers": _workers,
    "prefetch_factor": _prefetch,
    "persistent_workers": _persistent,
    "pin_memory": _pinned,
    "batch_size": _batch,
    "use_mixed_precision": _precision,
    "channels_last": _layout,
    "compile_model": _compiled,
    "use_checkpoint": _checkpointing,
    "optimizer_implementation": _implementation,
    "optimizer_8bit": _eight_bits,
    "keep_freed_memory": _kept,
}

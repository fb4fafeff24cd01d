"""What was set and is not so, by the facts alone."""

from __future__ import annotations

from typing import Any

import pytest

from hotlap.records import Change, Facts
from hotlap.tune.effects import unmet


def change(**edits: Any) -> Change:
    return Change(name="any", value="1", title="", numerics="exact", edits=edits)


@pytest.mark.parametrize(
    ("edits", "facts", "sentence"),
    [
        ({"num_workers": 2}, {"workers": 0}, "num_workers was set to 2, but the training's loader has 0 workers"),
        (
            {"prefetch_factor": 4},
            {"workers": 1, "prefetch_factor": 2},
            "each worker of the training's loader prefetches",
        ),
        ({"persistent_workers": True}, {"workers": 1, "persistent_workers": False}, "end with the epoch"),
        ({"pin_memory": True}, {"pin_memory": False}, "does not pin its memory"),
        ({"batch_size": 8}, {"batch_size": 1}, "the training's batches have 1 sample"),
        ({"use_mixed_precision": True}, {"device": "cpu"}, "computes without autocast"),
        ({"use_mixed_precision": False}, {"device": "cpu", "autocast": "bfloat16"}, "still computes with bfloat16"),
        (
            {"use_mixed_precision": True, "mixed_precision_dtype": "bfloat16"},
            {"device": "cpu", "autocast": "float16"},
            "use_mixed_precision was set to true, but the training's autocast is float16",
        ),
        ({"channels_last": True}, {"channels_last": False}, "are not in channels_last"),
        ({"compile_model": True}, {"compiled": False}, "is not compiled"),
        ({"use_checkpoint": False}, {"checkpointing": True}, "still checkpoints"),
        ({"optimizer_implementation": "fused"}, {"optimizer": "Adam"}, "Adam is not fused"),
        ({"optimizer_8bit": True}, {"optimizer": "AdamW"}, "optimizer is AdamW"),
        ({"keep_freed_memory": True}, {"allocator": "default"}, "gives freed memory back"),
    ],
)
def test_a_key_that_did_nothing_is_named(edits: dict[str, Any], facts: dict[str, Any], sentence: str) -> None:
    """With what is there instead."""
    found = unmet(change(**edits), Facts(**facts))
    assert found is not None
    assert sentence in found


@pytest.mark.parametrize(
    ("edits", "facts"),
    [
        ({"num_workers": 2}, {"workers": 2}),
        ({"num_workers": 2}, {}),
        ({"prefetch_factor": 4}, {"workers": 0, "prefetch_factor": 2}),
        ({"batch_size": 8}, {"batch_size": 4, "world_size": 2}),
        ({"use_mixed_precision": True}, {"device": "cuda", "autocast": "float16"}),
        ({"use_mixed_precision": True}, {"device": "cuda", "parameter_dtype": "bfloat16"}),
        ({"optimizer_implementation": "foreach"}, {"optimizer": "SGD", "optimizer_foreach": True}),
        ({"optimizer_implementation": "auto"}, {"optimizer": "SGD"}),
        ({"optimizer_8bit": True}, {"optimizer": "bitsandbytes.optim.adamw.AdamW"}),
        ({"lr": 0.1, "my.yaml:WIDTH": 3}, {"workers": 0}),
    ],
)
def test_what_is_as_set_or_cannot_be_told_is_no_complaint(edits: dict[str, Any], facts: dict[str, Any]) -> None:
    """The first sentence is about something else then."""
    assert unmet(change(**edits), Facts(**facts)) is None

"""Changes that exist only where the configuration has keys for them."""

from __future__ import annotations

from typing import Any

import pytest
from test_propose import situation

from hotlap.changes import propose
from hotlap.records import Change


def changes(keys: dict[str, Any], **facts: Any) -> dict[str, Change]:
    every, _ = propose(situation(keys=keys, **facts), 0.0)
    return {change.id: change for change in every if change.edits.keys() <= keys.keys() and change.edits}


def test_the_depths_are_those_of_the_makers() -> None:
    """Of eight stages, and none goes below one block."""
    found = changes({"depths": [8, 8, 8, 8, 4, 4, 4, 8]})
    assert found["depths=conservative"].edits == {"depths": [8, 7, 8, 8, 4, 4, 4, 6]}
    assert found["depths=aggressive"].edits == {"depths": [8, 6, 6, 8, 4, 4, 4, 4]}
    assert {change.numerics for change in found.values()} == {"trajectory"}
    assert changes({"depths": [1] * 8}) == {}
    assert changes({"depths": [6, 6, 6, 6]}) == {}


@pytest.mark.parametrize(
    ("keys", "ids"),
    [
        ({"window_size": 8}, {"window_size=7", "window_size=6"}),
        ({"window_size": 6}, set()),
        ({"window_size": 16}, set()),
        ({"patch_size": 256}, {"patch_size=128"}),
        ({"patch_size": 48}, set()),
        ({"fuse_chunk_size": 64, "max_batch_tokens": 1024}, {"fuse_chunk_size=128", "max_batch_tokens=2048"}),
        ({"perceptual_every": 1}, {"perceptual_every=2", "perceptual_every=4"}),
        ({"perceptual_every": 1, "use_perceptual": False}, set()),
        ({"perceptual_layers": [3, 8, 15]}, {"perceptual_layers=3,8"}),
        ({"perceptual_layers": [3]}, set()),
        ({"log_every": 10}, {"log_every=100"}),
        ({"log_every": 500}, set()),
        ({"pad_to_max_length": True, "group_by_length": False}, {"padding=longest", "group_by_length=true"}),
        ({"pad_to_max_length": False, "group_by_length": True}, set()),
    ],
)
def test_what_a_key_makes_possible(keys: dict[str, Any], ids: set[str]) -> None:
    """And nothing where it is so already, or would make no sense; every price is said."""
    found = changes(keys)
    assert found.keys() == ids
    assert all(change.note and change.bound is not None and not change.inject for change in found.values())


@pytest.mark.parametrize(
    ("optimizer", "rates"), [("SGD", [0.2, 0.4]), ("Adam", [0.141421, 0.2]), ("AdamW", [0.141421, 0.2])]
)
def test_the_learning_rate_follows_the_batch(optimizer: str, rates: list[float]) -> None:
    """Linearly for SGD, by the square root for Adam and its like."""
    found = changes({"batch_size": 4, "lr": 0.1, "accumulation_steps": 2}, optimizer=optimizer)
    larger = [change for change in found.values() if change.name == "effective_batch"]
    assert [change.edits for change in larger] == [
        {"batch_size": 8, "lr": rates[0], "accumulation_steps": 2},
        {"batch_size": 16, "lr": rates[1], "accumulation_steps": 2},
    ]
    assert [change.value for change in larger] == ["16", "32"]
    assert {change.numerics for change in larger} == {"trajectory"}


def test_without_a_rule_for_the_optimizer_the_batch_stays() -> None:
    """Nor where the rate has no key."""
    for keys, optimizer in (({"batch_size": 4, "lr": 0.1}, "LBFGS"), ({"batch_size": 4}, "SGD")):
        assert not [each for each in changes(keys, optimizer=optimizer).values() if each.name == "effective_batch"]


def test_switches_of_the_users_own() -> None:
    """Mixed precision of a type that is not said, and 8-bit moments, on a GPU; checkpointing of one part of a block."""
    keys = {"use_mixed_precision": False, "optimizer_8bit": False}
    assert changes(keys) == {}
    assert changes(keys, device="cuda").keys() == {"precision=own", "optimizer_8bit=true"}
    assert "precision=own" not in changes({**keys, "mixed_precision_dtype": "bfloat16"}, device="cuda")
    assert "precision=own" not in changes(keys, device="cuda", autocast="float16")
    parts = {"use_checkpoint_attn": True, "use_checkpoint_ffn": True}
    found = changes(parts, checkpointing=True)
    assert [change.edits for change in found.values()] == [
        {"use_checkpoint_attn": False},
        {"use_checkpoint_ffn": False},
    ]
    assert {change.numerics for change in found.values()} == {"exact"}
    assert changes(parts, checkpointing=False) == {}

"""What is proposed where memory is worth time, and what is not where it is not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from test_memory import HELD, MB, holding
from test_propose import KEYS, ids, situation

from hotlap.changes import Situation, propose
from hotlap.changes.conflicts import conflicts
from hotlap.changes.memory import saves_too_little
from hotlap.records import Change

BOTH = {"importable": ["bitsandbytes", "torchao"]}


def wanting(it: Situation, **more: Any) -> Situation:
    return msgspec.structs.replace(it, **{"goal": "memory", **more})


def by_id(it: Situation) -> dict[str, Change]:
    return {change.id: change for change in propose(it, 0.02)[0]}


def test_recomputing_only_where_memory_is_wanted() -> None:
    """It costs time: not for throughput."""
    it = situation(blocks=8)
    assert "checkpointing=all" not in ids(it)
    changes = by_id(wanting(it))
    assert {"checkpointing=1/4", "checkpointing=1/2", "checkpointing=all"} <= changes.keys()
    assert changes["checkpointing=all"].numerics == "exact"
    assert "checkpointing=1/4" not in ids(wanting(situation(blocks=2)))
    assert not [each for each in ids(wanting(situation(blocks=0))) if each.startswith("checkpointing")]
    recomputing = situation({"forward": 0.6, "recompute": 0.4}, checkpointing=True, blocks=8)
    assert {each for each in ids(recomputing) if each.startswith("checkpointing")} == {"checkpointing=off"}
    assert not [each for each in ids(wanting(recomputing)) if each.startswith("checkpointing")]


@pytest.mark.parametrize(("over", "least"), [(40, "1/4"), (120, "1/2"), (300, "all"), (600, "all")])
def test_as_many_blocks_as_a_limit_asks_for(over: int, least: str) -> None:
    """Of eight with 50 MB each; of one at a time, all activations are there again."""
    it = holding(blocks=8)
    peak = sum(HELD.values())
    shares = ["1/4", "1/2", "all"]
    expected = {f"checkpointing={share}" for share in shares[shares.index(least) :]}
    limited = msgspec.structs.replace(it, memory_limit=peak - over * MB)
    assert {each for each in ids(limited) if each.startswith("checkpointing")} == expected
    roomy = msgspec.structs.replace(it, memory_limit=peak)
    assert not [each for each in ids(roomy) if each.startswith("checkpointing")]


def test_what_is_compiled_has_a_budget_of_its_own() -> None:
    """Several, because less is not always less memory."""
    budgets = {each for each in ids(wanting(situation(compiled=True, blocks=8))) if each.startswith(("mem", "check"))}
    assert budgets == {"memory_budget=0.7", "memory_budget=0.4", "memory_budget=0.1"}


def test_a_state_in_8_bits_where_memory_is_wanted_or_a_gpu_computes() -> None:
    """By a library that is there, for an optimizer that it has."""
    assert not {each for each in ids(situation(**BOTH)) if "8bit" in each}
    wanted = by_id(wanting(situation(optimizer="AdamW", weight_decay=0.01, **BOTH)))
    assert {each for each in wanted if "8bit" in each} == {"optimizer=8bit", "optimizer=8bit-torchao"}
    assert (wanted["optimizer=8bit"].numerics, wanted["optimizer=8bit"].live) == ("rounding", False)
    assert wanted["optimizer=8bit"].edits == {
        "optimizer": "adamw8bit",
        "optimizer_implementation": "auto",
    }
    assert "optimizer=8bit" in ids(situation(device="cuda", **BOTH))
    for facts in (
        {"importable": []},
        {"optimizer": "SGD"},
        {"optimizer": "bitsandbytes.optim.adamw.AdamW8bit"},
        {"optimizer_options": ["amsgrad"]},
        {"optimizer_bits": 8},
    ):
        assert not {each for each in ids(wanting(situation(**{**BOTH, **facts}))) if "8bit" in each}, facts
    # What torch's Adam adds to the gradients, bitsandbytes takes off the weights.
    decayed = ids(wanting(situation(weight_decay=0.1, **BOTH)))
    assert {each for each in decayed if "8bit" in each} == {"optimizer=8bit-torchao"}


def test_gradients_are_given_up_where_they_are_filled_with_zeros() -> None:
    """Bit by bit the same."""
    assert "zero_grad=none" not in ids(situation())
    assert by_id(situation(zeroed_gradients=True))["zero_grad=none"].numerics == "exact"


def test_what_does_not_go_together_has_a_reason() -> None:
    """In either order."""

    def change(name: str, value: str) -> Change:
        return Change(name=name, value=value, title="", numerics="rounding")

    it = situation(keys=KEYS)
    compiled, recomputed, budget = (
        change("compile", "default"),
        change("checkpointing", "all"),
        change("memory_budget", "0.4"),
    )
    assert "memory_budget" in (conflicts([compiled, recomputed], it) or "")
    assert "memory_budget" in (conflicts([recomputed, compiled], it) or "")
    assert conflicts([compiled, change("checkpointing", "off")], it) is None
    assert "nothing is compiled" in (conflicts([budget], it) or "")
    assert conflicts([budget, compiled], it) is None
    assert conflicts([budget], situation(compiled=True)) is None
    assert "channels_last" in (conflicts([change("layout", "channels_last"), change("optimizer", "8bit")], it) or "")
    assert conflicts([change("layout", "channels_last"), change("optimizer", "8bit-torchao")], it) is None


def test_what_can_take_most_off_the_peak_is_tried_first() -> None:
    """Whatever its bound of speed is; what takes nothing off is not tried, and of some nothing is known."""
    it = wanting(holding(blocks=8))
    wanted, skipped = propose(it, 0.02)
    least = [change.memory[0] for change in wanted if change.memory is not None]
    assert least == sorted(least)
    assert least[-1] < 0
    known = [change.memory is not None for change in wanted]
    assert known == sorted(known, reverse=True)
    why = {trial.change.id: trial.why for trial in skipped}
    assert why["workers=2"] == "not tried: it takes nothing off the peak of memory"
    assert not [each for each in why.values() if "it could give" in each]


def test_a_little_off_the_peak_is_not_worth_a_trial() -> None:
    it = wanting(holding())
    change = Change(name="a", value="1", title="", numerics="exact", memory=(-MB, 0))
    said = saves_too_little(change, it)
    assert said is not None
    assert said.startswith("it could take at most 1.0 MiB off the peak of memory, and that counts from")
    assert saves_too_little(msgspec.structs.replace(change, memory=(-sum(HELD.values()), 0)), it) is None
    assert saves_too_little(msgspec.structs.replace(change, memory=None), it) is None

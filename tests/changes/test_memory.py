"""By how much a change is predicted to move the peak, from what a step was seen to hold."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from test_propose import KEYS, situation

from hotlap.changes import Situation, predicted, propose
from hotlap.records import Change, MemoryPart, MemoryReport, ProcessMemory

MB = 1 << 20
HELD = {
    "parameters": 40 * MB,
    "gradients": 40 * MB,
    "optimizer state": 80 * MB,
    "inputs": 10 * MB,
    "activations": 400 * MB,
    "other": 130 * MB,
}
#: Ten million in float32, in few tensors.
COUNTED = {"parameters": 10 * MB, "parameter_tensors": 20}


def holding(held: dict[str, int] = HELD, workers: int = 0, **facts: Any) -> Situation:
    peak = sum(held.values())
    parts = [MemoryPart(name=name, bytes=size, share=size / peak) for name, size in held.items()]
    trainer = ProcessMemory(pid=1, parent=0, rss=peak, pss=peak, uss=peak)
    report = MemoryReport(parts=parts, peak=peak, trainer=trainer, workers=workers, workers_uss=workers * 50 * MB)
    it = situation(keys=KEYS, **{**COUNTED, "peak_memory": peak, **facts})
    return msgspec.structs.replace(it, diagnosis=msgspec.structs.replace(it.diagnosis, memory=report))


def change(name: str, value: str, **edits: Any) -> Change:
    return Change(name=name, value=value, title="", numerics="rounding", edits=edits)


@pytest.mark.parametrize(
    ("name", "value", "least", "most"),
    [
        # Activations halve at best; a copy of each weight in two bytes at worst.
        ("precision", "bf16", -200 * MB, 20 * MB),
        ("optimizer", "fused", 0, 0),
        ("optimizer", "foreach", 0, 40 * MB),
        ("zero_grad", "none", -40 * MB, 0),
        ("checkpointing", "off", 0, None),
        ("checkpointing", "off for attention", 0, None),
        ("checkpointing", "1/2", -400 * MB, 0),
        ("memory_budget", "0.4", -400 * MB, 0),
        ("workers", "2", 40 * MB, 2 * (20 + 700) * MB),
        ("prefetch", "4", 0, 0),
        ("allocator", "keep", 0, None),
    ],
)
def test_one_change(name: str, value: str, least: int, most: int | None) -> None:
    """Relative to the peak as it is."""
    assert predicted(change(name, value), holding()) == (least, most)


def test_a_state_in_8_bits() -> None:
    """2.03 bytes a parameter instead of 8; small tensors, which stay in float32, make it less certain."""
    least, most = predicted(change("optimizer", "8bit"), holding()) or (0, 0)
    assert least == int(10 * MB * 2.03125) - 80 * MB
    assert most is not None
    assert least < most < 0.99 * least
    assert predicted(change("optimizer_8bit", "true"), holding()) == (least, most)
    many = predicted(change("optimizer", "8bit"), holding(parameter_tensors=10_000))
    assert many == (least, 0)


def test_a_larger_micro_batch() -> None:
    """What goes with the batch grows with it, and it may yet fit under a peak that is the update's."""
    twice = change("micro_batch", "32x1", batch_size=32)
    assert predicted(twice, holding()) == (2 * 410 * MB + 120 * MB - 700 * MB, 540 * MB)
    update = {**HELD, "activations": 50 * MB}
    assert predicted(twice, holding(update)) == (0, 190 * MB)
    half = change("micro_batch", "8x2", batch_size=8, accumulation_steps=2)
    assert predicted(half, holding()) == (-270 * MB, 0)
    larger = change("effective_batch", "32", batch_size=32, lr=2e-3)
    assert predicted(larger, holding()) == predicted(twice, holding())


def test_two_micro_batches_that_were_measured() -> None:
    """Each sample more takes at least what one more took between them; one between them says nothing new."""
    it = msgspec.structs.replace(holding(), peaks={8: 400 * MB, 16: 700 * MB})
    assert predicted(change("micro_batch", "32x1", batch_size=32), it) == (600 * MB, 600 * MB)
    assert predicted(change("micro_batch", "4x4", batch_size=4), it) == (int(-0.75 * 540 * MB), 0)
    assert predicted(change("micro_batch", "12x1", batch_size=12), it) == (int(-0.25 * 540 * MB), 0)
    assert predicted(change("micro_batch", "64x1", batch_size=64), it) == (1800 * MB, 1800 * MB)


def test_workers_that_are_there_tell_what_one_takes() -> None:
    """Of their own memory and batches; on a GPU they take none of it."""
    with_two = msgspec.structs.replace(holding(workers=2), facts=msgspec.structs.replace(holding().facts, workers=2))
    assert predicted(change("workers", "4"), with_two) == (40 * MB, 140 * MB)
    assert predicted(change("workers", "0"), with_two) == (-140 * MB, 0)
    assert predicted(change("workers", "4"), holding(device="cuda")) == (0, 0)


def test_what_cannot_be_told_is_not_predicted() -> None:
    """Compilation, a change that nobody knows, and a step whose memory was not looked at."""
    for unknown in (change("compile", "default"), change("layout", "channels_last"), change("colour", "red")):
        assert predicted(unknown, holding()) is None
    assert predicted(change("checkpointing", "all"), situation()) is None
    without = {name: size for name, size in HELD.items() if name != "activations"}
    assert predicted(change("checkpointing", "all"), holding(without)) is None


def test_what_is_proposed_says_what_it_takes() -> None:
    """So that a search can leave out what cannot fit."""
    changes, _ = propose(holding(), 0.02)
    by_id = {each.id: each.memory for each in changes}
    assert by_id["precision=bf16"] == (-200 * MB, 20 * MB)
    assert by_id["compile=default"] is None
    assert by_id["micro_batch=8x2"] == (-270 * MB, 0)

"""Whether a training fits, in words; on an estimate that is made up."""

from __future__ import annotations

from io import StringIO
from typing import Any

import msgspec
import pytest
from rich.console import Console

from hotlap.records import (
    Allowance,
    CardFit,
    LargestBatch,
    MemoryEstimate,
    Moment,
    Setting,
    TrainingEstimate,
    Variant,
)
from hotlap.report import fits

GIB = 2**30
SETTING = Setting(checkpointing="off", precision="float32", optimizer="adamw")
FOUND = TrainingEstimate(
    workload="vrt_spike",
    batch_size=1,
    accumulation_steps=1,
    sample=[[5, 3, 64, 64]],
    ranks=1,
    parameters=11_880_423,
    setting=SETTING,
    memory=MemoryEstimate(
        device="cuda",
        requested=8 * GIB,
        allocated=8 * GIB,
        reserved=9 * GIB,
        moment=Moment(step=2, phase="backward", module="", operator="aten._softmax_backward_data.default"),
        categories={"activation": 7 * GIB, "optimizer": GIB},
        holders={"VrtSpike.vrt.stage8.groups": 4 * GIB},
        steps={0: 0, 1: 7 * GIB, 2: 8 * GIB},
        allowances=[Allowance(name="context", least=0, likely=GIB, most=2 * GIB, source="made up")],
        blocks=1,
        seconds=1.0,
    ),
    flops=6e12,
    steps=1000,
    card="NVIDIA GeForce RTX 4090",
    capacity=24 * GIB,
    verdict="fits",
    seconds_at_peak=0.1,
    largest=LargestBatch(batch_size=2, allocated={1: 8 * GIB, 2: 15 * GIB}),
    seconds=2.0,
)


def shown(**changed: Any) -> str:
    console = Console(width=80, record=True, file=StringIO())
    console.print(fits.training(msgspec.structs.replace(FOUND, **changed)))
    return console.export_text()


def test_it_fits() -> None:
    """What is needed, for what, who holds it, and how much larger the micro-batch may be."""
    said = shown()
    assert said.startswith("It fits on NVIDIA GeForce RTX 4090: about 10.00 GiB of 24.00 GiB, which leaves")
    assert "in backward, _softmax_backward_data" in said
    assert "87.5 %  activations" in said
    assert "VrtSpike.vrt.stage8.groups" in said
    assert "6.00 TFLOP" in said
    assert "and 1,000 steps 100 s" in " ".join(said.split())
    assert "2, even where context and workspace take the most" in " ".join(said.split())


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"verdict": "tight"}, "It may just fit on NVIDIA GeForce RTX 4090: 9.00 GiB to 11.00 GiB of 24.00 GiB."),
        ({"verdict": "does not fit"}, "It does not fit on NVIDIA GeForce RTX 4090: it needs about 10.00 GiB"),
        ({"largest": LargestBatch(batch_size=0, allocated={1: GIB})}, "None: not even one sample fits."),
        (
            {"largest": LargestBatch(batch_size=9, allocated={9: GIB}, predicted=(9, GIB), is_limit=True)},
            "9, which is as many as this training can have.",
        ),
        ({"compiled": True}, "Compiled code needs another amount"),
        ({"capacity": 10 * GIB, "reserved": 8 * GIB}, "cached memory is given back: about 9.00 GiB of 10.00 GiB"),
        ({"capacity": 10 * GIB, "reserved": 8 * GIB}, "which leaves 1.00 GiB."),
        ({"capacity": 10 * GIB, "reserved": 8 * GIB}, "1.00 GiB of it given back on this card"),
        ({"capacity": 9 * GIB, "reserved": 8 * GIB, "verdict": "tight"}, "given back: 8.00 GiB to 10.00 GiB of 9.00"),
        ({"perceptual_every": 10}, "The dearest step, one in 10 with the perceptual loss, has 6.00 TFLOP"),
        ({"perceptual_every": 10}, "and 1,000 steps at most 100 s"),
    ],
)
def test_every_verdict_is_said(changed: dict[str, Any], words: str) -> None:
    assert words in " ".join(shown(**changed).split())


def test_settings_and_cards_are_tables() -> None:
    """The setting of the configuration is marked; no line is wider than a terminal."""
    variants = [
        Variant(setting=setting, allocated=160 * GIB, reserved=GIB, verdict="does not fit", largest=4)
        for setting in (SETTING, Setting(checkpointing="attention", precision="bfloat16", optimizer="adamw8bit"))
    ]
    cards = [CardFit(name="NVIDIA H200", memory=141 * GIB, verdict="fits", largest=18)]
    said = shown(variants=variants, cards=cards)
    assert "off *" in said
    assert "adamw8bit" in said
    assert "NVIDIA H200" in said
    assert max(map(len, said.splitlines())) <= 80

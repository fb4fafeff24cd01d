"""Step times, settings, gaps and scaled runs in words; on figures that are made up."""

from __future__ import annotations

from io import StringIO
from typing import Any

import msgspec
from rich.console import Console, RenderableType
from test_fits import FOUND, GIB, SETTING

from hotlap.records import (
    Band,
    Calibration,
    CardFit,
    Gap,
    GapRow,
    Horizon,
    Rate,
    Rates,
    Scaled,
    ScaledPart,
    StepTime,
    TrainingEstimate,
    Variant,
)
from hotlap.report import calibrations, fits, gaps, scaled
from hotlap.report.step_times import fastest

AHEAD = Horizon(samples=8, epoch_samples=1024, steps=9000, price=2.5)


def time(seconds: float) -> StepTime:
    return StepTime(
        step=Band(least=seconds / 2, likely=seconds, most=2 * seconds, known="estimated"),
        parts={"convolving": 0.7 * seconds, "multiplying": 0.0, "moving": 0.2 * seconds, "calls": 0.1 * seconds},
        phases={"forward": 0.4 * seconds, "backward": 0.6 * seconds},
        kinds={"convolution": seconds},
    )


def variant(seconds: float, verdict: Any = "fits", **setting: str) -> Variant:
    return Variant(
        setting=msgspec.structs.replace(SETTING, **setting),
        allocated=GIB,
        reserved=GIB,
        verdict=verdict,
        time=time(seconds),
        largest=3,
    )


VARIANTS = [
    variant(0.8),
    variant(0.5, "does not fit", precision="bfloat16"),
    variant(0.5, "fits", precision="bfloat16", optimizer="adamw8bit"),
    variant(0.9, checkpointing="on"),
]


def words(report: RenderableType) -> str:
    console = Console(width=80, record=True, file=StringIO())
    console.print(report)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    return " ".join(text.split())


def shown(**changed: Any) -> str:
    found: TrainingEstimate = msgspec.structs.replace(FOUND, **({"time": time(0.8), "horizon": AHEAD} | changed))
    return words(fits.training(found))


def test_step_epoch_training_and_cost() -> None:
    """With the band, how it is known, and what it is made of; nothing of a card without rates."""
    said = shown()
    assert "A step takes about 800 ms (estimated, 400 ms to 1.60 s): 10.0 samples/s." in said
    assert "An epoch of 1,024 samples: 102 s." in said
    assert "All 9,000 steps: 2 h 00 min, which costs 5.00 at 2.5 an hour of a GPU." in said
    assert "forward 40.0 %, backward 60.0 %" in said
    assert "no card was measured" in said
    assert "Time, estimated" not in words(fits.training(FOUND))


def test_what_is_not_known_says_why() -> None:
    unknown = Horizon(samples=8, epoch_from="no data there", steps_from="it is a number of epochs")
    said = words(fits.training(msgspec.structs.replace(FOUND, time=time(0.8), horizon=unknown)))
    assert "Epoch: n/a, because the number of samples is not known (no data there)." in said
    assert "Whole training: n/a, because it is a number of epochs." in said


def test_the_host_may_decide() -> None:
    slow_host = msgspec.structs.replace(time(0.8), host=0.9)
    said = words(fits.training(msgspec.structs.replace(FOUND, time=slow_host, horizon=AHEAD)))
    assert "the host, which has to launch every operator, takes longer and decides" in said


def test_the_fastest_setting_that_fits_is_marked() -> None:
    """A row for what differs in time; the one that fits in 8 bits alone says so."""
    said = shown(variants=VARIANTS)
    assert "off + bfloat16 fits in 8 bits 500 ms 16.0" in said
    assert "the fastest that fits: checkpointing off, bfloat16, adamw8bit, 1.60x the configured speed." in said
    assert fastest([VARIANTS[1]]) is None
    assert fastest(VARIANTS) is VARIANTS[2]
    assert "None of them fits" in shown(variants=[VARIANTS[1]])


def test_cards_by_their_time() -> None:
    """Those that it fits on, the fastest first."""
    cards = [
        CardFit(name=name, memory=GIB, verdict=verdict, largest=1, time=time(seconds))  # type: ignore[arg-type]
        for name, verdict, seconds in (("slow", "fits", 3.0), ("fast", "fits", 1.0), ("small", "does not fit", 0.1))
    ]
    said = shown(card=None, capacity=None, verdict=None, largest=None, time=None, cards=cards)
    assert said.index("2 h 30 min fast") < said.index("7 h 30 min slow")
    assert said.count("small") == 1
    assert "the host decides" not in said
    slow = [msgspec.structs.replace(card, time=msgspec.structs.replace(time(1.0), host=1.0)) for card in cards]
    assert "On 2 of these 2 cards the host decides" in shown(
        card=None, capacity=None, verdict=None, largest=None, time=None, cards=slow
    )


GAP = Gap(
    device="this machine's processor (A Processor)",
    on_gpu=False,
    step=6.0,
    steps=40,
    flops=90e9,
    model_flops=60e9,
    bytes=2e9,
    operators=1200,
    best_flops={"products in float32": 100e9},
    best_bandwidth=5e9,
    best_from="measured on this machine, 2026-01-02",
    arithmetic=0.9,
    model_arithmetic=0.6,
    moving=0.4,
    rows=[
        GapRow(name="backward", measured=2.0, at_best=0.8, expected=1.5),
        GapRow(name="data_wait", measured=4.0),
    ],
    counted="counted in a step of the run",
    unknown=["mine.op"],
)


def test_a_gap() -> None:
    """The step against what its work needs; the largest difference first."""
    said = words(gaps.gap(GAP))
    assert said.startswith(
        "This step takes 6.00 s. Its arithmetic needs 900 ms at this device's rate, its bytes 400 ms;"
    )
    assert "of which 30.0 computed again" in said
    assert said.index("data wait") < said.index("backward")
    assert "MFU 10.0 %" in said
    assert "mine.op" in said
    assert "100 GFLOP/s (products in float32), 5.00 GB/s" in said
    assert "it must have been busy then" in words(gaps.gap(msgspec.structs.replace(GAP, model_arithmetic=7.0)))
    assert "phases are told by the host" in words(gaps.gap(msgspec.structs.replace(GAP, on_gpu=True)))


def test_a_scaled_step() -> None:
    found = Scaled(
        run="profile-1",
        source="here",
        target="RTX 4090",
        measured=6.0,
        steps=40,
        step=Band(least=4.0, likely=4.1, most=4.4, known="derived"),
        parts=[
            ScaledPart(name="data_wait", measured=4.0, scaled=4.0, known="measured"),
            ScaledPart(name="backward", measured=2.0, scaled=0.1, known="derived"),
        ],
        modelled=(time(1.5).step, time(0.08).step),
        counted="counted in a step of the run",
        horizon=AHEAD,
    )
    said = words(scaled.scaled(found))
    assert said.startswith(
        "On RTX 4090 a step would take about 4.10 s (derived, 4.00 s to 4.40 s), and here it takes 6.00"
    )
    assert "4.00 s 4.00 s measured data wait 2.00 s 100 ms derived backward" in said
    assert "Estimated alone: 1.50 s here (-75 % of what was measured, waiting included)" in said
    assert "An epoch of 1,024 samples" in said


def test_a_calibration() -> None:
    """The ends of each rate; a busy machine is warned of."""
    rates = Rates(
        device="cpu",
        table=[
            Rate(kind="convolution_backward_last", dtype="bfloat16", points=[(3.0, 2e9), (32.0, 5e9)]),
            Rate(kind="elementwise", dtype="float32", points=[(1.0, 3e9)]),
        ],
        overhead=2e-5,
    )
    found = Calibration(
        cpu="A Processor", threads=2, torch="2", date="2026-01-02", seconds=22.0, pressure=0.3, rates=rates
    )
    said = words(calibrations.calibration(found, "/cache/calibration-2.json"))
    assert "2.00 5.00 GFLOP/s" in said
    assert "3.00 3.00 GB/s" in said
    assert "30.0 % of the minute before" in said

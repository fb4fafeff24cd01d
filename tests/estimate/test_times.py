"""Step times from published shares, how much there is to train, and runs that were measured; on made-up figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from hotlap.errors import UsageError
from hotlap.estimate import calibrated, calibration, from_run
from hotlap.estimate.cards import cards, find
from hotlap.estimate.epochs import horizon
from hotlap.estimate.published import SHARES, published
from hotlap.estimate.times import WRONG_BY, here, on_card
from hotlap.records import (
    Calibration,
    Calls,
    Environment,
    Facts,
    Rate,
    Rates,
    Run,
    RunInfo,
    Step,
    Trace,
    Work,
    write_record,
)
from hotlap.train.config import RestorationConfig, VrtSpikeConfig

WORK = Work(
    calls=[
        Calls(phase="forward", kind="product", dtype="float32", flops=2e9, bytes=1e7, width=512, count=10),
        Calls(phase="backward", kind="product", dtype="float32", flops=4e9, bytes=2e7, width=512, count=10),
        Calls(phase="recompute", kind="product", dtype="float32", flops=2e9, bytes=1e7, width=512, count=10),
        Calls(phase="optimizer", kind="elementwise", dtype="float32", bytes=1e8, count=1),
    ]
)
KNOWN = Calibration(
    cpu="A Processor",
    threads=1,
    torch=str(torch.__version__),
    date="2026-01-02T03:04:05+00:00",
    seconds=1.0,
    rates=Rates(
        device="cpu",
        table=[
            Rate(kind="product", dtype="float32", points=[(8.0, 10e9), (512.0, 100e9)]),
            Rate(kind="elementwise", dtype="float32", points=[(1e4, 10e9), (1e8, 5e9)]),
        ],
        overhead=1e-5,
    ),
)
#: Of these rates, without any factor.
EXPECTED = 10 * (2 + 4 + 2) / 100 + 1e8 / 5e9 + 31 * 1e-5


@pytest.fixture(autouse=True)
def measured_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's calibration is the made-up one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("hotlap.estimate.times.FACTORS", {})
    write_record(tmp_path / "hotlap" / "calibration-1.json", KNOWN)


def test_a_card_has_a_band() -> None:
    """Least, likely, most; a faster card is faster; half precision is, too."""
    timer = on_card(find("RTX 4090"))
    assert timer is not None
    found = timer(WORK)
    assert found.step.least < found.step.likely < found.step.most
    assert found.step.known == "estimated"
    slower = on_card(find("GTX 1080"))
    assert slower is not None
    assert slower(WORK).step.likely > 2 * found.step.likely
    half = Work(calls=[msgspec.structs.replace(call, dtype="bfloat16") for call in WORK.calls])
    assert timer(half).step.likely < found.step.likely


def test_a_large_product_reaches_the_published_share() -> None:
    card = find("A100-SXM4-80GB")
    call = Calls(phase="forward", kind="product", dtype="bfloat16", flops=1e15, width=4096)
    timer = on_card(card)
    assert timer is not None
    reached = 1e15 / timer(Work(calls=[call])).step.likely
    assert reached == pytest.approx(SHARES["product"].likely * (card.bf16 or 0) * 1e12, rel=1e-3)


def test_every_card_with_rates_has_times() -> None:
    """None is left out by mistake; every share has a source, in order."""
    for card in cards():
        assert (on_card(card) is None) == (card.flops("fp32") is None)
    for name, share in SHARES.items():
        better = sorted((share.least, share.likely, share.most), reverse=name in ("gap", "overhead"))
        assert [share.least, share.likely, share.most] == better
        assert share.source
    tf32 = published(find("A100-SXM4-80GB"), "likely", tf32_products=True)
    without = published(find("A100-SXM4-80GB"), "likely", tf32_products=False)
    assert tf32 is not None
    assert tf32 != without


def test_this_machine() -> None:
    """By its measured rates, with the error that such estimates had."""
    step = here(KNOWN)(WORK).step
    assert step.likely == pytest.approx(EXPECTED)
    assert (step.least, step.most) == (pytest.approx(EXPECTED / WRONG_BY), pytest.approx(EXPECTED * WRONG_BY))


def test_what_there_is_to_train(tmp_path: Path) -> None:
    """By the configuration's data, as given, or not known, with the reason."""
    found = horizon(RestorationConfig(batch_size=8, steps=0, epochs=3), price=2.0)
    assert (found.samples, found.epoch_samples, found.steps) == (8, 1024, 3 * 128)
    assert found.cost(3600.0) == pytest.approx(2.0 * 3 * 128)
    assert found.epoch(1.0) == pytest.approx(128)
    found = horizon(RestorationConfig(batch_size=8, steps=100), samples=800, ranks=2)
    assert (found.samples, found.epoch(1.0), found.whole(0.5), found.cost(1.0)) == (16, 50.0, 50.0, None)
    found = horizon(VrtSpikeConfig(data_dir=str(tmp_path / "none"), steps=0, epochs=2))
    assert (found.epoch_samples, found.steps, found.whole(1.0)) == (None, None, None)
    assert "not there yet" in found.epoch_from


def run(*, trace: Trace | None = None, cpu: str = "A Processor", **facts: Any) -> Run:
    phases = {"data_wait": 0.2, "forward": 0.5, "backward": 1.0, "recompute": 0.2, "optimizer": 0.1}
    return Run(
        info=RunInfo(
            name="profile-1",
            command=["python", "train.py"],
            cwd="/",
            environment=Environment(hotlap="1", python="3", cpu=cpu),
            started=0.0,
            ended=40.0,
            date="2026-01-02",
            outcome="finished",
        ),
        facts=Facts(device="cpu", threads=1, **facts),
        steps=[Step(i=i, t=2.0 * i, wall=2.0, phases=phases, samples=4, looked=i == 9) for i in range(20)],
        trace=trace,
    )


COUNTED = Trace(flops=WORK.flops, work=WORK)
#: With batches that the host puts together, which is no work of the device.
FETCHED = Trace(
    flops=WORK.flops,
    work=Work(
        calls=[*WORK.calls, Calls(phase="data_wait", kind="copy", dtype="float32", bytes=1e9, count=10)],
    ),
)


def test_the_gap_of_a_step() -> None:
    """The arithmetic at the best rate, the bytes, and rows that add up to the step."""
    found = from_run.gap_of(run(trace=COUNTED), None, "A Processor")
    assert (found.step, found.steps) == (pytest.approx(2.0), 10)
    assert found.arithmetic == pytest.approx(0.8)
    assert found.moving == pytest.approx(WORK.bytes / 10e9)
    assert found.mfu == pytest.approx(60e9 / 2.0 / 100e9)
    assert found.best_flops == {"products in float32": 100e9}
    assert sum(row.measured for row in found.rows) == pytest.approx(2.0)
    assert sum(row.expected for row in found.rows) == pytest.approx(EXPECTED)
    rows = {row.name: row for row in found.rows}
    assert rows["backward"].expected == pytest.approx(0.4, rel=1e-2)
    assert (rows["data_wait"].expected, rows["data_wait"].at_best) == (0, 0)


def test_a_step_on_another_device() -> None:
    """What computes is scaled by both estimates, and waiting is kept."""
    found = from_run.scale(run(trace=FETCHED), None, "RTX 4090", "A Processor", samples=400, price=1.0)
    timer = on_card(find("RTX 4090"))
    assert timer is not None
    ratio = timer(WORK).step.likely / EXPECTED
    assert found.step.likely == pytest.approx(0.2 + 1.8 * ratio)
    assert found.step.least < found.step.likely < found.step.most
    assert {part.name: part.known for part in found.parts}["data_wait"] == "measured"
    assert found.horizon is not None
    assert found.horizon.epoch(1.0) == 100.0


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "profile it with --trace"),
        ({"trace": Trace(uncounted="the model is compiled")}, "the model is compiled"),
        ({"trace": COUNTED, "cpu": "Another"}, "ran on Another"),
    ],
)
def test_what_is_not_known(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        from_run.gap_of(run(**changed), None, "A Processor")


def test_the_same_device_is_no_other() -> None:
    with pytest.raises(UsageError, match="name another device"):
        from_run.scale(run(trace=COUNTED), None, "cpu", "A Processor")


def test_a_calibration_is_of_its_machine() -> None:
    """Another processor, another torch or another number of threads has to be measured."""
    assert calibrated.calibration_here("A Processor", 1) == KNOWN
    with pytest.raises(UsageError, match="estimate --calibrate"):
        calibrated.calibration_here("Another", 1)
    with pytest.raises(UsageError, match="--threads 7"):
        calibrated.calibration_here("A Processor", 7)


def test_calibrating_measures_and_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of its operators, shortly: what comes out are rates, and the file holds them."""
    products = list(calibration._products())[:1]
    moves = list(calibration._moves())[:1]
    monkeypatch.setattr(calibration, "_probes", lambda: iter([*products, *moves]))
    monkeypatch.setattr(calibration, "_BLOCK", 1e-4)
    before = torch.random.get_rng_state()
    found, path = calibrated.calibrate_here("A Processor", None, lambda _: None)
    assert torch.equal(before, torch.random.get_rng_state())
    assert {(rate.kind, rate.dtype) for rate in found.rates.table} == {
        ("product", "float32"),
        ("elementwise", "float32"),
    }
    assert all(value > 0 for rate in found.rates.table for _, value in rate.points)
    assert found.rates.overhead > 0
    assert path.is_file()
    assert calibrated.calibration_here("A Processor") == found

"""What follows from a log, what does not, and that a log says how it is to be read."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "read"))
from log_reading import read_text
from log_samples import SHORT_TIMING, TIMING

from hotlap.diagnose import diagnose_log, everything, explain
from hotlap.diagnose.rules import log_catalogue
from hotlap.records import Finding, LogDiagnosis, Reading

DOCUMENTS = "step 950/8880 | loss=0.0312 lr=9.80e-06 | GPU0_mem=1.3GB | 0.5 samples/s | data_time=0.1ms\n"
MMENGINE = (
    "03/25 {} - mmengine - INFO - Epoch(train) [1][{:4d}/9000]  lr: 5.9600e-05  eta: 12:14:32  time: {:.4f}  "
    "data_time: {:.4f}  memory: {}  loss: {}\n"
)


def found(reading: Reading, code: str) -> Finding | None:
    return {each.code: each for each in diagnose_log(reading).findings}.get(code)


def said(diagnosis: LogDiagnosis, code: str) -> str:
    return " ".join(next(each for each in diagnosis.findings if each.code == code).evidence)


def mmengine(
    folder: Path,
    count: int = 60,
    *,
    seconds: float = 0.5,
    growth: float = 0.0,
    data: float = 0.001,
    memory: float = 0.0,
    wall: float | None = None,
    loss: str = "0.5",
) -> Reading:
    """A line every 50 steps, with times at which they were written."""
    lines = ""
    for at in range(1, count + 1):
        now = int(50 * at * (seconds if wall is None else wall))
        clock = f"{now // 3600:02d}:{now // 60 % 60:02d}:{now % 60:02d}"
        step = seconds * (1 + growth * at / count)
        lines += MMENGINE.format(clock, 50 * at, step, data, 7000 + int(memory * at), loss)
    return read_text(folder, lines)


def test_parts_that_are_a_small_part_of_the_wall_clock(tmp_path: Path) -> None:
    """The bar's clock is the step, and what the printed parts leave out is said; parts that fill it say nothing."""
    bar = "Training:  12%|#2 | 18/150 [00:{:02d}<00:25, loss=3.2101, fw=12.3ms, bw=20.1ms]\n"
    parts = "[诊断 Batch 10] 数据加载: 10.0ms | 前向(APT): 30.0ms | 反向(DBC): 50.0ms | 更新: 10.0ms\n"
    reading = read_text(tmp_path, bar.format(9) + parts)
    assert reading.step_seconds.value == pytest.approx(0.5)
    evidence = said(diagnose_log(reading), "LOG12")
    assert "The parts that are printed are 100 ms of it: 20 %." in evidence
    assert "Where the other 400 ms go is in no line." in evidence
    whole = read_text(tmp_path, bar.format(2) + parts)
    assert found(whole, "LOG12") is None
    alone = read_text(tmp_path, parts)
    assert (alone.step_seconds.value, found(alone, "LOG12")) == (pytest.approx(0.1), None)


def test_the_documents_log(tmp_path: Path) -> None:
    """6 s a step and 1.8 s of it seen; the total counts 1805 ms twice; data loading is not ruled out."""
    reading = read_text(tmp_path, DOCUMENTS, SHORT_TIMING, batch_size=1, world_size=3)
    step = reading.step_seconds
    assert (step.value, step.origin) == (pytest.approx(6.0), "derived")
    assert (step.low, step.high) == (pytest.approx(3 / 0.55), pytest.approx(3 / 0.45))
    diagnosis = diagnose_log(reading)
    assert "sees 1.81 s of it (the forward pass): 30 %" in said(diagnosis, "LOG12")
    assert "backward" in said(diagnosis, "LOG12")
    assert "3610.53 ms counts 1805.25 ms twice" in said(diagnosis, "LOG11")
    copies = next(each for each in diagnosis.findings if each.code == "LOG13")
    assert "does not rule data loading out" in " ".join(copies.evidence)
    assert "up to 4.19 s of the 6 s" in " ".join(copies.evidence)
    assert "hotlap profile --data" in copies.remedy
    assert found(reading, "LOG14")
    remedies = {each.remedy for each in diagnosis.will_not_help}
    assert remedies == {"pinned memory or non-blocking copies", "a faster Spike模块"}
    assert not any("worker" in remedy for remedy in remedies)


def test_more_that_was_timed_than_a_step_takes_bounds_no_wait(tmp_path: Path) -> None:
    """The timing log is of another training, or of other steps: then nothing is left that could be subtracted."""
    reading = read_text(tmp_path, DOCUMENTS.replace("0.5 samples", "3.0 samples"), TIMING, batch_size=1, world_size=3)
    assert found(reading, "LOG13")
    assert "anything up to" not in said(diagnose_log(reading), "LOG13")


def test_without_batch_and_world_size(tmp_path: Path) -> None:
    """Nothing is assumed: the step time is missing, and what would give it is said."""
    reading = read_text(tmp_path, DOCUMENTS, TIMING)
    assert (reading.step_seconds.value, reading.step_seconds.origin) == (None, "missing")
    assert "--batch-size and --world-size" in reading.step_seconds.how
    assert found(reading, "LOG12") is None


def test_a_rate_of_micro_batches(tmp_path: Path) -> None:
    """With accumulation the wall clock and the rate are set side by side where they differ."""
    log = (
        "[train] Gradient accumulation steps: 6\n"
        "[progress] 940/8880 [##....]  10.6% | elapsed=1:33:59 | eta=13:14:00\n" + DOCUMENTS
    )
    reading = read_text(tmp_path, log, batch_size=1, world_size=3)
    assert reading.step_seconds.value == pytest.approx(5639 / 940)
    evidence = said(diagnose_log(reading), "LOG03")
    assert "6 s a step by the clock" in evidence
    assert "36 s by the rate" in evidence
    same = read_text(tmp_path, log.replace("steps: 6", "steps: 1"), batch_size=1, world_size=3)
    assert found(same, "LOG03") is None


def test_waiting_that_is_printed(tmp_path: Path) -> None:
    """A data time that holds the wait is at stake with its bound, or says what will not help."""
    waits = found(mmengine(tmp_path, data=0.2), "LOG01")
    assert waits is not None
    assert (waits.share, waits.bound) == (pytest.approx(0.4), pytest.approx(1 / 0.6))
    calm = mmengine(tmp_path)
    assert found(calm, "LOG01") is None
    (item,) = diagnose_log(calm).will_not_help
    assert item.remedy.startswith("more workers")
    assert item.bound == pytest.approx(1 / (1 - 0.001 / 0.5), rel=0.01)


def test_waits_between_the_printed_steps(tmp_path: Path) -> None:
    """Single steps that show no wait do not hide the mean that is printed beside them."""
    line = (
        "INFO Train: [0/300][{}/2859]\teta 1:28:53 lr 0.000872\t wd 0.0500\ttime 0.4177 (1.8785)\t"
        "data time 0.0007 (1.4406)\tmem 16138MB\n"
    )
    reading = read_text(tmp_path, "".join(line.format(at) for at in range(0, 400, 20)))
    waits = found(reading, "LOG01")
    assert waits is not None
    assert waits.share == pytest.approx(1.4406 / 1.8785)
    assert "in bursts" in " ".join(waits.evidence)


def test_time_between_steps(tmp_path: Path) -> None:
    """What passes by the wall clock and is in no printed step."""
    lost = found(mmengine(tmp_path, wall=0.8), "LOG02")
    assert lost is not None
    assert lost.share == pytest.approx(0.3 / 0.8, rel=0.02)
    assert found(mmengine(tmp_path), "LOG02") is None


def test_evaluations_inside_of_steps(tmp_path: Path) -> None:
    """The iteration after an evaluation is no step to judge by."""
    text = ""
    for at in range(100):
        text += f"step {at}: train loss 4.0, val loss 4.1\n" if at % 25 == 0 else ""
        text += f"iter {at}: loss 3.98, time {20000 if at % 25 == 0 else 1000 + at % 7}.00ms, mfu 15.34%\n"
    reading = read_text(tmp_path, text)
    assert reading.step_seconds.value == pytest.approx(1.003)
    assert "4 of 100 printed step times" in said(diagnose_log(reading), "LOG02")


def test_slower_and_slower(tmp_path: Path) -> None:
    """A step time that grows all along; one that only scatters does not."""
    slower = found(mmengine(tmp_path, growth=1.0), "LOG04")
    assert slower is not None
    assert 0.2 < slower.share < 0.4
    assert found(mmengine(tmp_path), "LOG04") is None
    falling = "".join(
        f"step {at}/900 | loss=0.1 lr=1 | {9 - at / 20:.2f} samples/s | data_time=0.1ms\n" for at in range(100)
    )
    assert found(read_text(tmp_path, falling), "LOG04")


def test_losses(tmp_path: Path) -> None:
    """A single NaN and losses that stay NaN are told apart."""
    text = "".join(f"step {at}/99 | loss={'nan' if at > 40 else 0.5} lr=1 | 0.5 samples/s\n" for at in range(60))
    lost = found(read_text(tmp_path, text), "LOG05")
    assert lost is not None
    assert lost.risk == "nothing is learnt any more"
    text = text.replace("nan", "0.5").replace("step 7/99 | loss=0.5", "step 7/99 | loss=inf")
    once = found(read_text(tmp_path, text), "LOG05")
    assert once is not None
    assert once.risk == "the training may diverge"


def test_memory(tmp_path: Path) -> None:
    """It grows, it is nearly full, it does neither."""
    grows = found(mmengine(tmp_path, memory=50), "LOG06")
    assert grows is not None
    assert "1.05 MB a step" in " ".join(grows.evidence)
    assert found(mmengine(tmp_path), "LOG06") is None
    line = "[Step {}] Memory - Process: 15678.9MB (6.1%), System: {}/256.0GB (49.0%)\n"
    full = "".join(line.format(at, 200 + at / 2) for at in range(80))
    assert found(read_text(tmp_path, full), "LOG07")
    left = found(read_text(tmp_path, full), "LOG06")
    assert left is not None
    assert left.risk == "out of memory in about 33 steps"
    assert found(read_text(tmp_path, full.replace("256.0", "900.0")), "LOG07") is None


@pytest.mark.parametrize(("hits", "code"), [(4520, "LOG08"), (8245, None), (20, None)])
def test_hit_rates(hits: int, code: str | None, tmp_path: Path) -> None:
    """Under 60 %, over it, and of too few readings."""
    misses = 10_000 - hits if hits > 100 else 30
    reading = read_text(tmp_path, f"Cache hit rate: 45.2% ({hits} hits / {misses} misses)\n")
    assert (found(reading, "LOG08") is not None) == (code is not None)


def test_an_idle_device(tmp_path: Path) -> None:
    """By its own count, as evidence and not as a gain."""
    idle = found(read_text(tmp_path, "🎯 GPU利用率:  17% | 显存使用:  78% (9.4GB)\n"), "LOG10")
    assert idle is not None
    assert (idle.seconds, idle.bound) == (0, 1)
    assert found(read_text(tmp_path, "🎯 GPU利用率:  87% | 显存使用:  78% (9.4GB)\n"), "LOG10") is None


def test_restarts(tmp_path: Path) -> None:
    """With the steps that were done twice."""
    line = "iter {}: loss 3.98, time {}.00ms, mfu 15.34%\n"
    text = "".join(line.format(step, 1000 + at) for at, step in enumerate([*range(500), *range(300, 600)]))
    assert "499 -> 300): about 199 steps were done twice" in said(diagnose_log(read_text(tmp_path, text)), "LOG09")


def test_every_rule_about_logs_is_explained() -> None:
    """In the catalogue with a text of its own, and only there once."""
    codes = [each.code for each in everything()]
    assert len(codes) == len(set(codes))
    for each in log_catalogue():
        assert each.code.startswith("LOG")
        assert all((each.title, each.meaning, each.evidence_needed, each.remedy, each.limits))
        assert explain(each.code).startswith(f"## {each.code}: ")


def test_findings_are_written_as_json(tmp_path: Path) -> None:
    """What is not finite is null."""
    import msgspec

    reading = read_text(tmp_path, "step 1/9 | loss=nan lr=1 | 0.5 samples/s\n")
    assert json.loads(msgspec.json.encode(reading))["series"]["loss"]["value"] == [None]

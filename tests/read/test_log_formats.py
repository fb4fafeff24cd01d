"""Every line of every format is understood, and each figure in it is what was printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from log_reading import read_text
from log_samples import CACHES, CONSOLE_TIMING, SAMPLES, SHORT_TIMING, TIMING, VERBOSE_TIMING, Sample

from hotlap.read.formats import FORMATS


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.format)
def test_each_line_is_understood(sample: Sample, tmp_path: Path) -> None:
    """A single line gives its figures, in seconds, bytes and shares."""
    found = read_text(tmp_path, sample.lines + "\n")
    assert found.sources[0].formats == {sample.format: 1}
    for name, value in sample.series.items():
        assert found.series[name].value == [pytest.approx(value)], name
    for figure, expected in (
        (found.step_seconds, sample.step),
        (found.steps, sample.steps),
        (found.data_seconds, sample.data),
    ):
        assert figure.value == (None if expected is None else pytest.approx(expected))
        assert (figure.origin == "missing") == (expected is None)


def test_every_format_has_a_sample() -> None:
    """No format is without a line that shows it."""
    assert {form.name for form in FORMATS} <= {sample.format for sample in SAMPLES}


def test_all_formats_in_one_log(tmp_path: Path) -> None:
    """Lines of all formats may be mixed, many times over."""
    lines = "".join(sample.lines + "\n" for sample in SAMPLES)
    found = read_text(tmp_path, lines * 3)
    expected: dict[str, int] = {}
    for sample in SAMPLES:
        expected[sample.format] = expected.get(sample.format, 0) + 3
    assert found.sources[0].formats == expected


def test_timing_with_means(tmp_path: Path) -> None:
    """Nested spans are not added to what contains them; the whole is known by its name."""
    timing = read_text(tmp_path, TIMING).timing
    assert timing is not None
    (whole,) = timing.roots
    assert (whole.name, timing.parent_known_by) == ("前向传播总耗时", "by its name")
    assert timing.seen == pytest.approx(1.80528)
    assert timing.total == pytest.approx(3.61053)
    assert timing.twice == pytest.approx(1.80525)
    assert [child.name for child in whole.children] == ["VRT处理", "Spike时间自注意力", "Spike编码器"]
    assert [child.name for child in whole.children[0].children] == ["Stage8", "Stage2"]
    assert whole.printed_mean == pytest.approx(1.78972)


def test_timing_in_its_short_form(tmp_path: Path) -> None:
    """Without a header, means, and dashes before the colon of the total."""
    timing = read_text(tmp_path, SHORT_TIMING).timing
    assert timing is not None
    assert (timing.seen, timing.total) == (pytest.approx(1.80528), pytest.approx(3.61053))


def test_timing_in_another_encoding(tmp_path: Path) -> None:
    """A log written in GB18030 has the same names and figures."""
    timing = read_text(tmp_path, SHORT_TIMING.encode("gb18030")).timing
    assert timing is not None
    assert timing.parent == "前向传播总耗时"
    assert timing.seen == pytest.approx(1.80528)


def test_parent_known_by_sums(tmp_path: Path) -> None:
    """A span of an unknown name that the others add up to contains them; without that none does."""
    nested = "all       : 100.00ms\nencoder   : 60.00ms\ndecoder   : 39.50ms\nTotal     : 199.50ms\n"
    flat = "data      : 100.00ms\nencoder   : 60.00ms\ndecoder   : 10.00ms\nTotal     : 170.00ms\n"
    timing = read_text(tmp_path, nested).timing
    assert timing is not None
    assert (timing.parent, timing.seen) == ("all", pytest.approx(0.1))
    timing = read_text(tmp_path, flat).timing
    assert timing is not None
    assert (timing.parent, timing.seen) == (None, pytest.approx(0.17))


def test_verbose_timing(tmp_path: Path) -> None:
    """Stages and fusion belong to the transformer; the encoder has its own."""
    timing = read_text(tmp_path, VERBOSE_TIMING).timing
    assert timing is not None
    spans = {span.name: span for span in timing.roots}
    assert spans["VRT处理"].seconds == pytest.approx(1.23456)
    assert {child.name: child.seconds for child in spans["VRT处理"].children} == {
        "融合 Stage 1": pytest.approx(0.24848),
        "Stage 1 (1x分辨率)": pytest.approx(0.23456),
    }
    assert spans["SpikeEncoder3D"].seconds == pytest.approx(0.04523)


def test_console_timing(tmp_path: Path) -> None:
    """The box drawn on a terminal."""
    timing = read_text(tmp_path, CONSOLE_TIMING).timing
    assert timing is not None
    assert {span.name: span.seconds for span in timing.roots} == {
        "VRT处理": pytest.approx(0.15),
        "Backward": pytest.approx(0.47),
    }
    assert (timing.total, timing.seen, timing.parent) == (pytest.approx(0.62), pytest.approx(0.62), None)


def test_many_timed_steps(tmp_path: Path) -> None:
    """Means are over all blocks."""
    blocks = "".join(TIMING.replace("1805.28", f"{1806 + step}.00") for step in range(111))
    timing = read_text(tmp_path, blocks).timing
    assert timing is not None
    assert timing.blocks == 111
    assert timing.seen == pytest.approx(1.861)


@pytest.mark.parametrize(
    ("text", "expected"),
    list(
        zip(CACHES, ((0.8245, 374, 51200), (0.452, None, None), (0.85, None, 4096), (None, None, 30720)), strict=True)
    ),
    ids=["block", "rate", "of all", "preloaded"],
)
def test_caches(text: str, expected: tuple[float | None, int | None, float | None], tmp_path: Path) -> None:
    """Each of the four forms."""
    cache = read_text(tmp_path, text).cache
    rate, items, megabytes = expected
    assert cache is not None
    assert (cache.hit_rate, cache.items) == (rate and pytest.approx(rate), items)
    assert cache.limit == (None if megabytes is None else megabytes * 2**20)
    assert cache.preloaded == (0 if "preloaded" in text else None)


def test_remarks(tmp_path: Path) -> None:
    """Settings, evaluations, alarms and the end of a training."""
    found = read_text(
        tmp_path,
        "[train] Using EPOCHS mode: 20 epochs × 444 steps/epoch = 8880 total steps\n"
        "[train] Gradient accumulation steps: 6\n"
        "[val] step 1000 | PSNR_RGB=28.10 PSNR_Y=29.60 SSIM_Y=0.8900 LPIPS=0.1500\n"
        "[epoch] 1 | last_val@step 1000 -> PSNR_RGB=28.10 PSNR_Y=29.60 SSIM_Y=0.8900 LPIPS=0.1500\n"
        "step 3000: train loss 4.0390, val loss 4.0427\n"
        "Epoch 3: PSNR=27.45, SSIM=0.8123, Loss=0.001234\n"
        "⚠️  WARNING: System memory usage is critically high (91.2%)!\n"
        "   Consider reducing CACHE_SIZE_GB or TOTAL_WORKERS in config.\n"
        "🚨 [Memory Ceiling] 201.0GB/200.0GB - FORCING CLEANUP\n"
        "[WARNING] Step 60: NaN/Inf detected in loss! loss=nan, l_charb=nan, l_vgg=nan\n"
        "Batch size 32: GPU util 82.0%, throughput 210.5 samples/sec, score 66.9\n"
        "{'train_runtime': 2219.0, 'train_samples_per_second': 1.474, 'train_steps_per_second': 0.2, "
        "'train_loss': 1.1, 'epoch': 3.0}\n",
    )
    assert (found.total_steps.value, found.accumulation.value) == (8880, 6)
    assert found.evaluations == 3
    assert found.series["evaluation: PSNR_RGB"].value == [28.1]
    assert found.series["evaluation: val loss"].value == [4.0427]
    assert len(found.alarms) == 2
    assert found.series["NaN warnings"].step == [60]
    assert found.batch_search == [(32, 0.82, 210.5)]
    assert (found.throughput.value, found.step_seconds.value) == (1.474, pytest.approx(5.0))
    assert found.step_seconds.origin == "derived"


def test_settings_of_the_hugging_face_trainer(tmp_path: Path) -> None:
    """What it prints before the training."""
    found = read_text(
        tmp_path,
        "  Instantaneous batch size per device = 8\n"
        "  Total train batch size (w. parallel, distributed & accumulation) = 64\n"
        "  Gradient Accumulation steps = 4\n"
        " 98%|█████████▊| 2086/2120 [26:01<00:22,  1.49it/s]\n",
    )
    assert (found.batch_size.value, found.accumulation.value) == (8, 4)
    assert found.throughput.value == pytest.approx(64 / (1561 / 2086))

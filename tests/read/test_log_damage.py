"""Logs as they really are: cut, coloured, in turns, mixed with junk. No crash, and no number that nobody printed."""

from __future__ import annotations

import gzip
import io
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from log_reading import read_text
from log_samples import CACHES, CONSOLE_TIMING, SAMPLES, SHORT_TIMING, TIMING, VERBOSE_TIMING, Sample

from hotlap.diagnose import diagnose_log
from hotlap.errors import RunError, UsageError
from hotlap.read import kind, read
from hotlap.read.assemble import assemble
from hotlap.read.lines import Text
from hotlap.read.state import State
from hotlap.records import Reading

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
BLOCKS = [TIMING, SHORT_TIMING, VERBOSE_TIMING, CONSOLE_TIMING, *CACHES]
ANY_LINE = st.sampled_from([*(sample.lines for sample in SAMPLES), *BLOCKS])
SAMPLE = st.sampled_from(SAMPLES)
RATE = "step {}/8880 | loss=0.0312 lr=9.80e-06 | {} samples/s | data_time=0.1ms\n"


def read_bytes(data: bytes) -> Reading:
    """Read, go through the rules, and hold the figures to what any log must keep to."""
    state = State()
    state.read(Text(io.BytesIO(data), "log"), "log")
    found = assemble(state, 1, 3)
    diagnose_log(found)
    assert found.step_seconds.value is None or found.step_seconds.value > 0
    return found


def figures(found: Reading) -> dict[str, list[float]]:
    return {name: series.value for name, series in found.series.items()}


@QUICK
@given(
    st.lists(st.one_of(ANY_LINE.map(str.encode), st.binary(max_size=80)), max_size=12),
    st.sampled_from([b"\n", b"\r", b"\r\n"]),
)
def test_junk_never_crashes(parts: list[bytes], end: bytes) -> None:
    """Whatever stands between lines, and however they end."""
    read_bytes(end.join(parts))


@QUICK
@given(SAMPLE, st.data())
def test_a_line_cut_at_the_end_of_the_file(sample: Sample, data: st.DataObject) -> None:
    """What is left gives each figure as it was printed, or none."""
    line = sample.lines.encode()
    cut = line[: data.draw(st.integers(0, len(line)))]
    whole = figures(read_bytes(line + b"\n"))
    for name, values in figures(read_bytes(cut)).items():
        assert values == whole[name], (cut, name)


@QUICK
@given(SAMPLE, st.data())
def test_a_line_cut_within_the_file(sample: Sample, data: st.DataObject) -> None:
    """Where two processes wrote at once: figures other than the loss are as printed, or missing.

    A loss may stand at the end of its line, and one that was cut there cannot be told from a shorter one.
    """
    line = sample.lines.encode()
    cut = line[: data.draw(st.integers(0, len(line)))]
    whole = figures(read_bytes(line + b"\n"))
    for name, values in figures(read_bytes(cut + b"\n")).items():
        # Counts and memory at the very end of a line, too.
        if name not in ("loss", "tokens per second") and not (name == "device memory" and cut[-1:].isdigit()):
            assert values == whole[name], (cut, name)


@QUICK
@given(
    st.lists(SAMPLE, min_size=1, max_size=5),
    st.sampled_from(["\x1b[32m{}\x1b[0m", "\x1b[2K\r{}", "{}\x08", "\x1b]0;title\x07{}"]),
)
def test_colours_and_cursor_moves(samples: list[Sample], around: str) -> None:
    """What a terminal was told besides changes nothing."""
    plain = "".join(sample.lines + "\n" for sample in samples).encode()
    coloured = "".join(around.format(sample.lines) + "\n" for sample in samples).encode()
    assert figures(read_bytes(coloured)) == figures(read_bytes(plain))


@QUICK
@given(SAMPLE, st.integers(2, 8))
def test_the_same_line_once_per_rank(sample: Sample, ranks: int) -> None:
    """Counts once."""
    line = sample.lines.encode() + b"\n"
    if sample.format in ("progress bar", "memory"):
        return
    assert figures(read_bytes(line * ranks)) == figures(read_bytes(line))


@QUICK
@given(SAMPLE, st.data())
def test_missing_fields(sample: Sample, data: st.DataObject) -> None:
    """Without any of its words a line gives the other figures as they were, or none."""
    words = sample.lines.split(" ")
    gone = data.draw(st.integers(0, len(words) - 1))
    left = " ".join(words[:gone] + words[gone + 1 :])
    whole = figures(read_bytes(sample.lines.encode() + b"\n"))
    for name, values in figures(read_bytes(left.encode() + b"\n")).items():
        assert name not in whole or values == whole[name], (left, name)


def test_ranks_in_turns(tmp_path: Path) -> None:
    """Ranks that print different figures, one behind the other, are one training without restarts."""
    lines = ""
    for step in range(10, 400, 10):
        lines += RATE.format(step, 0.5)
        lines += RATE.format(max(10, step - 10), 0.4)
    found = read_text(tmp_path, lines)
    assert (found.restarts, found.steps.value) == ([], 390)
    assert found.series["throughput"].lines == 39


def test_statistics_without_their_figures(tmp_path: Path) -> None:
    """The beginning of a cache's lines, without what may follow, is no error."""
    found = read_text(tmp_path, "[Set] Cache Stats:\nCache stats: hits=850/1000 (85.0%)\n")
    assert found.cache is not None
    assert found.cache.hit_rate == 0.85


@pytest.mark.parametrize(
    "keys", ['"mode": "train", "epoch": 1, "iter": {}', '"iter": {}, "epoch": 1', '"lr": 0.1, "iter": {}']
)
def test_json_in_any_order(keys: str, tmp_path: Path) -> None:
    """Of the keys; lines of an evaluation are left out."""
    lines = [f'{{{keys.format(at)}, "time": 0.{at}}}' for at in (1, 2, 3)]
    lines.insert(2, '{"mode": "val", "epoch": 1, "iter": 9, "time": 0.9}')
    found = read_text(tmp_path, "\n".join(lines) + "\n").series["step time"]
    assert (found.step, found.value) == ([1, 2, 3], [0.1, 0.2, 0.3])


def test_layouts_in_turns(tmp_path: Path) -> None:
    """Lines with and without a field keep their order: nothing looks like a restart."""
    line = "iter {}: loss 3.98, time {}.00ms\n"
    text = "".join(
        line.format(step, 1000) if step % 3 else f"iter {step}: loss 3.98, mfu 15.34%\n" for step in range(1, 300)
    )
    found = read_text(tmp_path, text)
    assert (found.restarts, found.sources[0].repeated, found.notes) == ([], 0, [])
    assert (found.series["loss"].lines, found.series["step time"].lines) == (299, 200)


def test_named_ranks(tmp_path: Path) -> None:
    """Of ranks that a launcher names one is read, and they say how many there are at the least."""
    line = "[rank{}]:[titan] 2026-05-18 16:04:46,338 - root - INFO - step: {}  loss:  {}  tps: 7,282\n"
    text = "".join(line.format(rank, step, rank + 1.5) for step in range(1, 30) for rank in range(4))
    found = read_text(tmp_path, text)
    assert set(found.series["loss"].value) == {1.5}
    assert (found.world_size.value, found.world_size.origin) == (4, "derived")


def test_a_restart(tmp_path: Path) -> None:
    """Steps that go back and on from there are a restart, from a checkpoint near or far."""
    steps = [*range(10, 1000, 10), *range(910, 2000, 10), *range(10, 100, 10)]
    found = read_text(tmp_path, "".join(RATE.format(step, 0.5 + at / 1e5) for at, step in enumerate(steps)))
    assert [(each.before, each.after) for each in found.restarts] == [(990, 910), (1990, 10)]


def test_another_rank_s_file(tmp_path: Path) -> None:
    """A second file of the same steps is counted as repeated, one that goes on continues."""
    first = "".join(RATE.format(step, 0.5) for step in range(10, 100, 10))
    second = "".join(RATE.format(step, 0.25) for step in range(10, 100, 10))
    later = "".join(RATE.format(step, 0.5) for step in range(100, 200, 10))
    found = read_text(tmp_path, first, second)
    assert (found.sources[1].repeated, found.throughput.value) == (9, 0.5)
    found = read_text(tmp_path, first, later)
    assert (found.sources[1].repeated, found.steps.value) == (0, 190)


@pytest.mark.parametrize("printed", ["0,5", "1.2.3", "9.8e-", "--3", "0x5"])
def test_what_is_no_number_gives_none(printed: str, tmp_path: Path) -> None:
    """A decimal comma, a version or a torn exponent is not read as some other number."""
    found = read_text(tmp_path, RATE.format(10, printed))
    assert "throughput" not in found.series
    assert found.series["data time"].value == [pytest.approx(1e-4)]


def test_numbers_with_thousands(tmp_path: Path) -> None:
    """Commas between thousands are understood."""
    found = read_text(tmp_path, "step: 1,200  loss:  3.2  memory:  9.46GiB(64.99%)  tps: 1,007,282  mfu: 0.17%\n")
    assert (found.steps.value, found.series["tokens per second"].value) == (1200, [1007282])


def test_not_finite_losses(tmp_path: Path) -> None:
    """NaN and infinity are kept apart from the mean, and where they began is known."""
    values = ["0.5", "inf", "0.25", "nan", "nan", "nan"]
    text = "".join(f"step {at}/9 | loss={value} lr=1 | 0.5 samples/s\n" for at, value in enumerate(values, 1))
    loss = read_text(tmp_path, text).series["loss"]
    assert (loss.not_finite, loss.first_not_finite, loss.not_finite_at_end) == (4, 2, 3)
    assert loss.mean == 0.375
    assert math.isnan(loss.value[-1])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    """Marks of byte order, and what PowerShell writes."""
    found = read_text(tmp_path, (RATE.format(10, 0.5) + SHORT_TIMING).encode(encoding))
    assert found.throughput.value == 0.5
    assert found.timing is not None
    assert found.timing.seen == pytest.approx(1.80528)


def test_compressed_logs(tmp_path: Path) -> None:
    """Whole ones, and what is left of one that was cut."""
    whole = gzip.compress("".join(RATE.format(step, 0.5) for step in range(1, 5000)).encode())
    assert read_text(tmp_path, whole).steps.value == 4999
    found = read_text(tmp_path, whole[: len(whole) // 2])
    assert found.sources[0].notes
    assert found.steps.value is not None
    assert 1 < found.steps.value < 4999


def test_long_runs_are_thinned(tmp_path: Path) -> None:
    """Curves keep every n-th point; counts and means are of all lines."""
    count = 100_000
    text = "".join(f"iter {at}: loss {at % 7}.5, time {100 + at % 3}.00ms, mfu 15.34%\n" for at in range(count))
    series = read_text(tmp_path, text).series["step time"]
    assert series.lines == count
    assert len(series.value) <= 8192
    assert series.every > 1
    assert series.mean == pytest.approx(0.101, rel=1e-3)
    assert series.step[1] - series.step[0] == series.every


def test_a_line_without_end(tmp_path: Path) -> None:
    """Megabytes without a line's end are gone through in bounded pieces."""
    found = read_text(tmp_path, RATE.format(10, 0.5).encode() + b"time: 1 " * 1_000_000)
    assert found.throughput.value == 0.5


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"schemaVersion": 1, "traceEvents": []}', "trace"),
        (b'\n{ "deviceProperties": [], "traceEvents": [', "trace"),
        (gzip.compress(b'{"traceEvents": []}', mtime=0), "trace"),
        (SAMPLES[0].lines.encode(), "log"),
        (b'{"mode": "train", "epoch": 1, "iter": 50}', "log"),
        (b"", "log"),
        (b"\x1f\x8bnonsense", "log"),
    ],
)
def test_kind(content: bytes, expected: str, tmp_path: Path) -> None:
    """A trace is told by its content, not by its name."""
    path = tmp_path / "file"
    path.write_bytes(content)
    assert kind(path) == expected


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """Each in a sentence."""
    (tmp_path / "empty").touch()
    (tmp_path / "bad.gz").write_bytes(b"\x1f\x8b\x08\x00garbage")
    (tmp_path / "other").write_text("hello\n")
    for path, words in (
        (tmp_path / "absent", "No such file"),
        (tmp_path, "is a folder"),
        (tmp_path / "empty", "nothing in it"),
        (tmp_path / "bad.gz", "cut off or damaged.*copy it again"),
        (tmp_path / "other", "no line of it"),
    ):
        with pytest.raises(RunError, match=words):
            read([path])
    with pytest.raises(UsageError, match="twice"):
        read([tmp_path / "other", tmp_path / "other"])

"""What is shown fits the terminal, whatever its size, and what is missing is n/a."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_looks import GIB, gpu, machine, sample, steps, watched
from rich.console import Console, RenderableType

from hotlap.watch import closing, screen
from hotlap.watch.graph import ASCII, BLOCKS, graph
from hotlap.watch.history import History
from hotlap.watch.sample import Gpu, MigInstance, Processes
from hotlap.watch.summary import Tally

HEADER = screen.Header("profile-20260101-000000", 1234, ["python", "train.py", "--token=hf_abcdefghij0123456789"])


def lines(view: RenderableType, width: int, encoding: str = "utf-8") -> list[str]:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    Console(file=file, width=width).print(view)
    file.flush()
    return raw.getvalue().decode(encoding).split("\n")[:-1]


def busy() -> History:
    """Everything at once: eight cards, warnings, something missing."""
    cards = [gpu(i, utilization=30.0, throttled=["power limit"]) for i in range(8)]
    full = machine(memory_used=63 * GIB)
    history, _ = watched(100, lambda i: sample(float(i), gpus=cards, machine=full, missing=["Something is not read"]))
    return history


BUSY = busy()


@settings(max_examples=25, deadline=None)
@given(width=st.integers(1, 200), height=st.integers(1, 80), blocks=st.booleans())
def test_it_fits_any_terminal(width: int, height: int, blocks: bool) -> None:
    """No line is wider, and there are no more of them."""
    found = lines(screen.screen(HEADER, BUSY, width, height, blocks=blocks), width)
    assert len(found) <= height
    assert all(len(each) <= width for each in found)


def test_a_usual_training_at_80_by_24_shows_everything() -> None:
    """All figures, a curve each, and how to end."""
    history, _ = watched(30)
    found = lines(screen.screen(HEADER, history, 80, 24, blocks=True), 80)
    starts = [each[:9].strip() for each in found]
    for label in ("Step", "time", "GPU 0", "used", "CPU", "busy", "Memory", "Workers", "Disk", "Network"):
        assert label in starts
    text = "\n".join(found)
    for part in ("1,000 done", "100 ms a step", "80.0 samples/s", "loss 0.5000", "95 % used", "64.4 of 85.9 GB"):
        assert part in text
    assert "650 W of 700 W" in text
    assert "2: 50 %, n/a of a core" in text
    assert found[-1] == "Ctrl-C ends the watch and prints its summary"
    assert "hf_abcdefghij0123456789" not in text


def test_on_a_low_terminal_curves_go_before_figures_and_warnings_stay() -> None:
    """By weight."""
    found = lines(screen.screen(HEADER, BUSY, 80, 20, blocks=True), 80)
    assert not any(character in "".join(found) for character in BLOCKS[1:])
    assert any(each.startswith("! 98 % of the machine's memory") for each in found)


def test_a_high_terminal_gets_higher_curves() -> None:
    """The room is used."""
    history, _ = watched(30)
    low, high = (lines(screen.screen(HEADER, history, 80, height, blocks=True), 80) for height in (24, 50))
    assert sum("█" in each for each in high) > sum("█" in each for each in low)


def test_without_utf8_it_is_ascii() -> None:
    """Nothing else is written, so nothing fails; the curves are still there."""
    history, tally = watched(30)
    for view in (
        screen.screen(HEADER, history, 80, 24, blocks=False),
        screen.glance(HEADER, history, 80),
        closing.report(tally.summary(name="x", pid=1, command=[], ended="time", outcome=None, steps=None)),
    ):
        lines(view, 80, "ascii")
    assert any(
        set("*#") & set(each) for each in lines(screen.screen(HEADER, history, 80, 24, blocks=False), 80, "ascii")
    )


def test_what_is_missing_is_never_0() -> None:
    """A driver that tells nothing, processes that may not be looked at."""
    blind = sample(gpus=[Gpu(index=0)], processes=Processes(count=1), machine=machine(cpu=None, disk_wait=None))
    history, _ = watched(1, lambda _: blind)
    text = "\n".join(lines(screen.screen(HEADER, history, 200, 40, blocks=True), 200))
    assert "n/a used  n/a  n/a  n/a" in text
    assert "n/a of all cores  training n/a of 16 cores  its main thread n/a of one" in text
    assert "training n/a (PSS), of it n/a unshared (USS)" in text
    assert "read n/a, write n/a" in text


def test_parts_of_a_divided_card() -> None:
    """With their memory."""
    divided = gpu(
        utilization=None, processes=[], mig=[MigInstance(index=2, memory_used=5 * GIB, memory_total=10 * GIB)]
    )
    history, _ = watched(1, lambda _: sample(gpus=[divided]))
    assert any(
        each.startswith("  MIG 2  5.4 of 10.7 GB")
        for each in lines(screen.screen(HEADER, history, 80, 30, blocks=True), 80)
    )


@pytest.mark.parametrize("levels", [BLOCKS, ASCII])
def test_a_graph_has_gaps_where_nothing_was_known(levels: str) -> None:
    """Zero is drawn, a missing figure is not; the newest is at the right."""
    assert graph([0.0, None, 50.0, 100.0], 6, 1, 100.0, levels) == ["  " + levels[1] + " " + levels[4] + levels[8]]
    upper, lower = graph([25.0, 100.0], 2, 2, 100.0, levels)
    assert (upper, lower) == (" " + levels[8], levels[4] + levels[8])
    assert graph([], 3, 1, None, levels) == ["   "]
    assert graph([float("nan")], 1, 1, 100.0, levels) == [" "]


def test_a_line_for_where_nothing_can_be_drawn() -> None:
    """The same figures, without the record and the driver too."""
    whole = screen.row(sample(steps=steps(total=2000, printed=1000, seconds_left=100.0)))
    assert whole.endswith(
        "1,000 steps  100 ms  80.0 samples/s  loss 0.5000  data 1.00 ms  100 s left  GPU 0 95 % 64.4 GB  "
        "CPU 50 %  memory 17.2 of 68.7 GB  training 8.59 GB"
    )
    assert screen.row(sample(steps=None, gpus=[], processes=None)).endswith("  CPU 50 %  memory 17.2 of 68.7 GB")


def report(tally: Tally) -> str:
    return "\n".join(
        lines(
            closing.report(
                tally.summary(
                    name="run", pid=1, command=[], ended="training", outcome=("crashed", "exit code 1"), steps=None
                )
            ),
            80,
        )
    )


def test_the_summary_names_what_was_missed_and_how_it_ended() -> None:
    """Means, peaks, verdicts, warnings."""
    _, tally = watched(20, lambda i: sample(float(i), gpus=[gpu(utilization=40.0 + i)]))
    text = report(tally)
    assert "Missed: GPU utilization. 1 warning, see below." in text
    assert "run, watched for 0:19 (20 looks); the training is over: crashed" in text
    assert re.search(r"GPU 0 utilization +50 % +59 %  NVIDIA Fake 80GB", text)
    assert "judge a change by samples/s" in text


def test_a_summary_without_anything_to_judge_says_so() -> None:
    """n/a is no success."""
    _, tally = watched(1, lambda i: sample(float(i), gpus=[], steps=None, processes=None))
    text = report(tally)
    assert "n/a     data time" in text
    assert "n/a     GPU utilization" in text
    assert "utilization  " not in text.split("Goals")[0]

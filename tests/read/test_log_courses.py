"""Logs of a whole training: several files, epochs, pauses and ranks in one, and what a step takes by all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from log_reading import read_text
from log_samples import SHORT_TIMING, TIMING

from hotlap.diagnose import diagnose_log
from hotlap.records import Reading

RATE = "step {}/8880 | loss=0.0312 lr=9.80e-06 | 0.5 samples/s | data_time=0.1ms\n"
START = datetime(2025, 3, 25, 8)


def codes(reading: Reading) -> set[str]:
    return {each.code for each in diagnose_log(reading).findings}


def mmengine(steps: Iterable[int], start: datetime, first: int = 0, seconds: float = 0.6) -> str:
    return "".join(
        f"{start + timedelta(seconds=seconds * (step - first)):%Y/%m/%d %H:%M:%S} - mmengine - INFO - Iter(train) "
        f"[{step:5d}/9000]  lr: 5.9600e-05  eta: 12:14:32  time: {seconds:.4f}  data_time: 0.0010  loss: 0.5\n"
        for step in steps
    )


def kair(steps: Iterable[int], start: datetime, first: int = 0, seconds: float = 0.6) -> str:
    return "".join(
        f"{start + timedelta(seconds=seconds * (step - first)):%y-%m-%d %H:%M:%S}.000 : <epoch:  3, iter: "
        f"{step:7,d}, lr:4.000e-04> G_loss: 1.230e-02\n"
        for step in steps
    )


def test_files_in_any_order(tmp_path: Path) -> None:
    """A step's time follows from whichever log has the throughput; lines that are not there are no format."""
    training = "".join(RATE.format(step) for step in range(10, 100, 10))
    timing = SHORT_TIMING + "a line (with brackets)\n"
    one = read_text(tmp_path, timing, training, batch_size=1, world_size=3)
    other = read_text(tmp_path, training, timing, batch_size=1, world_size=3)
    assert one.step_seconds.value == other.step_seconds.value == pytest.approx(6.0)


def test_the_first_track_with_a_rate_is_asked(tmp_path: Path) -> None:
    """Also where another training format, without any time, stands before it."""
    untimed = "step: 14  loss:  3.24405\n"
    found = read_text(tmp_path, untimed, RATE.format(10), batch_size=1, world_size=3)
    assert found.step_seconds.value == pytest.approx(6.0)


def test_the_start_of_an_epoch_that_breaks_off_is_no_step(tmp_path: Path) -> None:
    """21 steps, of which the first waited 2.9 s for the workers: the others took 0.35 s, and waited 12.5 ms."""
    line = "Train: 0 [{:4d}/{} (  0%)]  Loss: 6.9 (6.9)  Time: {}s, 292.00/s  ({}s, {}/s)  LR: 1.0e-04  Data: {} ({})\n"
    lines = [(0, 3.5, 3.5, 58.57, 2.9, 2.9), (20, 0.33, 0.5, 410.0, 0.01, 0.15)]
    of_many = "".join(line.format(step, 1251, *rest) for step, *rest in lines)
    found = read_text(tmp_path, of_many)
    assert found.step_seconds.value == found.mean_seconds == pytest.approx(0.35)
    assert found.step_seconds.origin == found.data_seconds.origin == "derived"
    assert "without the first step of an epoch" in found.step_seconds.how
    assert found.data_seconds.value == pytest.approx(0.0125)
    assert found.throughput.value == pytest.approx(410 * 0.5 / 0.35)
    # A whole epoch has its start.
    whole = read_text(tmp_path, "".join(line.format(step, 21, *rest) for step, *rest in lines))
    assert whole.step_seconds.value == pytest.approx(0.5)
    assert whole.data_seconds.value == pytest.approx(0.15)
    assert whole.throughput.value == pytest.approx(410)
    alone = read_text(tmp_path, of_many.splitlines(keepends=True)[1])
    assert alone.step_seconds.value == pytest.approx(0.5)


def test_running_means_count_by_their_steps(tmp_path: Path) -> None:
    """An epoch that has just begun is a step of it, and not a third of the training."""
    line = "INFO Train: [{}/300][{}/1000]\teta 1:28:53 lr 0.1\t wd 0.05\ttime {} ({})\tdata time {} ({})\tmem 100MB\n"
    text = "".join(
        line.format(epoch, at, 0.5, 0.515, 0.001, 0.02) for epoch in range(2) for at in [*range(0, 1000, 10), 999]
    )
    found = read_text(tmp_path, text + line.format(2, 0, 15.5, 15.5, 15.0, 15.0))
    assert found.step_seconds.value == pytest.approx((2000 * 0.515 + 15.5) / 2001)
    assert found.data_seconds.value == pytest.approx((2000 * 0.02 + 15.0) / 2001)


def test_a_day_between_two_files(tmp_path: Path) -> None:
    """In which nothing ran is not a part of any step."""
    first = mmengine(range(50, 2001, 50), START)
    later = mmengine(range(2050, 4001, 50), START + timedelta(days=1), first=2000)
    found = read_text(tmp_path, first, later)
    assert found.wall_seconds == pytest.approx(0.6, rel=0.02)
    assert (found.steps.value, codes(found) & {"LOG02", "LOG09"}) == (4000, set())


def test_a_day_within_one_file(tmp_path: Path) -> None:
    """Where the clock is all that tells a step's time, a long pause neither is in it nor makes its stretches long."""
    text = kair(range(50, 2001, 50), START) + kair(range(2050, 4001, 50), START + timedelta(days=1), first=2000)
    found = read_text(tmp_path, text)
    assert found.step_seconds.value == pytest.approx(0.6, rel=0.02)
    assert found.wall_seconds == pytest.approx(0.6, rel=0.02)


def test_pauses_that_recur_are_of_the_training(tmp_path: Path) -> None:
    """Evaluations between the lines stay in the time by the clock."""
    text, now = "", START
    for part in range(5):
        text += mmengine(range(500 * part + 50, 500 * part + 501, 50), now, first=500 * part)
        now += timedelta(seconds=300 + 1500)
    found = read_text(tmp_path, text)
    assert found.wall_seconds == pytest.approx((2450 * 0.6 + 4 * 1500) / 2450, rel=0.01)
    assert "LOG02" in codes(found)


def test_epochs_whose_iterations_count_anew(tmp_path: Path) -> None:
    """Go on from one to the next; going back to an earlier epoch is a restart all the same."""

    def line(epoch: int, at: int, seconds: float = 0.5) -> str:
        return json.dumps({"mode": "train", "epoch": epoch, "iter": at, "data_time": 0.01, "time": seconds}) + "\n"

    text = "".join(line(epoch, at) for epoch in (1, 2, 3) for at in range(50, 1001, 50))
    found = read_text(tmp_path, text)
    assert (found.restarts, found.steps.value, found.sources[0].repeated) == ([], 3000, 0)
    again = read_text(tmp_path, text + "".join(line(2, at, 0.6) for at in range(50, 1001, 50)))
    assert [(each.before, each.after) for each in again.restarts] == [(3000, 1050)]
    on = "".join(line(1 + at // 1000, at) for at in range(50, 3001, 50))
    assert read_text(tmp_path, on).steps.value == 3000


@pytest.mark.parametrize("between", ["", "Epoch {}/50 - Loss: 3.1234\n"])
def test_batches_that_count_anew_without_an_epoch(between: str, tmp_path: Path) -> None:
    """Are further epochs, and no restarts."""
    line = "[诊断 Batch {}] 数据加载: {}ms | 前向(APT): 3.1ms | 反向(DBC): 5.0ms | 更新: 1.0ms\n"
    text = "".join(
        "".join(line.format(at, 1 + epoch) for at in range(10, 151, 10)) + between.format(epoch) for epoch in range(3)
    )
    found = read_text(tmp_path, text)
    assert (found.restarts, found.steps.value, found.sources[0].repeated) == ([], 450, 0)
    assert found.series["data time"].lines == 45


@pytest.mark.parametrize(
    "line",
    [
        "    {0}/100      6.73G      1.081     0.4706      10        640: 100%|#####| 16/16 [00:05<00:00,  2.78it/s]\n",
        "Epoch {0}: 100%|#####| 16/16 [00:05<00:00,  2.78it/s]\n",
        "Training: 100%|#####| 16/16 [00:0{1}<00:00,  2.78it/s]\n",
    ],
    ids=["ultralytics", "Lightning", "no epoch"],
)
def test_a_line_for_each_epoch_s_bar(line: str, tmp_path: Path) -> None:
    """Where only the end of a bar is in the log, each epoch's counts."""
    text = "".join(line.format(epoch, 4 + epoch % 3) for epoch in range(1, 101))
    assert read_text(tmp_path, text).steps.value == 1600


@pytest.mark.parametrize("name", ["Epoch {}: ", "Training: "])
def test_a_bar_that_is_drawn_again(name: str, tmp_path: Path) -> None:
    """At the same position, while something else goes on, is still the same bar."""
    line = name + "{}%|#####| {}/100 [00:{:02d}<00:00,  2.00it/s]\n"
    text = "".join(
        "".join(line.format(*[epoch] * ("{}" in name), at, at, min(59, at // 2)) for at in (0, 50, 99, 100))
        + line.format(*[epoch] * ("{}" in name), 100, 100, 59) * 2
        for epoch in range(3)
    )
    found = read_text(tmp_path, text)
    assert (found.steps.value, found.step_seconds.value) == (300, pytest.approx(0.5, rel=0.01))


@pytest.mark.parametrize("name", ["Epoch 1: ", "Training: "])
def test_ranks_that_draw_one_bar_in_turns(name: str, tmp_path: Path) -> None:
    """The one that is behind does not make it begin anew."""
    line = name + "{0}%|#####| {0}/100 [00:{1:02d}<00:50,  2.00it/s]\n"
    text = "".join(line.format(at, at // 2) + line.format(max(0, at - 1), at // 2) for at in range(1, 101))
    assert read_text(tmp_path, text).steps.value == 100


def test_what_a_script_adds_to_its_bar(tmp_path: Path) -> None:
    """Is read line by line where its words change, and where two of them are the same figure."""
    bar = "Epoch 0: 10%|#  | {}/100 [00:{:02d}<00:50, {}{}]\n"
    rates = ["?it/s", "2.00it/s", "4.00s/it", "0.00it/s", *["2.00it/s"] * 6]
    plain = "".join(bar.format(at, at, rate, f", loss=0.{at}, fw=3.0ms") for at, rate in enumerate(rates, 1))
    changing = plain.replace(", loss=0.4,", ", eta=1:20, loss=0.4,").replace(", loss=0.7", "")
    twice = plain.replace("fw=3.0ms", "train_loss=2.0")
    series = [read_text(tmp_path, text).series for text in (plain, changing, twice)]
    losses = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.10]
    assert series[0]["loss"].value == losses
    assert series[0]["steps per second"].value == [2.0, 0.25, *[2.0] * 6]
    assert series[0]["steps per second"].step == [2, 3, *range(5, 11)]
    assert series[1]["loss"].value == losses[:6] + losses[7:]
    assert series[2]["loss"].value == [value for loss in losses for value in (loss, 2.0)]


def test_steps_within_a_bar_of_epochs(tmp_path: Path) -> None:
    """Are the training's steps, and not the epochs."""
    text = ""
    for epoch in range(10):
        text += f"{{}}: {10 * epoch}%|#####| {epoch}/10 [{3 * epoch:02d}:00<09:00, 180.00s/it]\n"
        text += "".join(
            f"batches: {at}%|###| {at}/100 [0{at // 60}:{at % 60:02d}<00:50,  1.0it/s]\n" for at in range(101)
        )
    for name in ("Epochs", "Epoch 3"):
        found = read_text(tmp_path, text.replace("{}", name))
        assert (found.steps.value, found.step_seconds.value) == (1000, pytest.approx(1.0))


@pytest.mark.parametrize(("name", "seen"), [("Training latest", True), ("train_loader", True), ("Testing", False)])
def test_bars_that_count_something_else(name: str, seen: bool, tmp_path: Path) -> None:
    """Are known by words, and not by parts of words."""
    text = f"{name}:  50%|###  | 8/16 [00:04<00:04,  2.00it/s]\n"
    assert read_text(tmp_path, text).steps.value == (8 if seen else None)


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("bursts", [(80, 80, 80), (80, 79, 79), (83, 80, 81), (80, 40, 80), (50, 50, 50)], ids=str)
def test_ranks_that_write_many_lines_at_once(bursts: tuple[int, int, int], ranks: int, tmp_path: Path) -> None:
    """Are no restarts, and hardly any of their lines counts twice."""
    waiting = [
        [RATE.format(10 * at).replace("0.0312", f"{rank}.{at}") for at in range(1, 1001)] for rank in range(ranks)
    ]
    text = ""
    while any(waiting):
        for rank, lines in enumerate(waiting):
            size = bursts[0] if not rank else bursts[1 + (len(lines) < 1000)]
            text += "".join(lines[:size])
            del lines[:size]
    found = read_text(tmp_path, text)
    assert (found.restarts, found.notes, found.steps.value) == ([], [], 10_000)
    assert found.series["loss"].lines < 1300


@pytest.mark.parametrize(
    "runs",
    [
        [(0, 5000), (0, 9000), (5010, 12000)],
        [(0, 5200), (4010, 9200), (8010, 12000)],
        [(0, 990), (910, 2000), (1010, 3000)],
        [(0, 990), (500, 700), (600, 3000)],
    ],
    ids=str,
)
def test_restarts_that_are_no_ranks(runs: list[tuple[int, int]], tmp_path: Path) -> None:
    """Each is one, wherever it goes back to."""
    text = "".join(
        RATE.format(step).replace("0.0312", f"{at}.{step}") for at, run in enumerate(runs) for step in range(*run, 10)
    )
    expected = [(before[1] - 10, after[0]) for before, after in pairwise(runs)]
    assert [(each.before, each.after) for each in read_text(tmp_path, text).restarts] == expected


def test_spans_outside_of_blocks(tmp_path: Path) -> None:
    """What a training says in milliseconds between its timing blocks is not a part of a step."""
    saving = "Saving checkpoint: 3500.20 ms\n"
    training = RATE.format(10) + saving + RATE.format(20)
    for texts in ([SHORT_TIMING, training], [TIMING + training + SHORT_TIMING]):
        timing = read_text(tmp_path, *texts).timing
        assert timing is not None
        assert [root.name for root in timing.roots] == ["前向传播总耗时"]
        assert "Saving checkpoint" not in str(timing)
    cut = read_text(tmp_path, TIMING.split("Total")[0]).timing
    assert cut is not None
    assert cut.seen == pytest.approx(1.80528)


def test_sums_that_hold_by_chance(tmp_path: Path) -> None:
    """A span contains the others only where they add up to it in every block, and never where it is a phase."""
    block = "encode : {}.00ms\ndecode : {}.00ms\nhead : {}.00ms\nTotal : 400.00ms\n"
    mixed = read_text(tmp_path, block.format(100, 200, 100) + block.format(100, 190, 110) + block.format(90, 210, 100))
    assert mixed.timing is not None
    assert (mixed.timing.parent, mixed.timing.seen) == (None, pytest.approx(0.4))
    phases = "forward : 100.00ms\nbackward : 200.00ms\noptimizer : 100.00ms\nTotal : 400.00ms\n"
    found = read_text(tmp_path, phases)
    assert found.timing is not None
    assert (found.timing.parent, "LOG11" in codes(found)) == (None, False)


def test_nothing_that_was_timed_is_a_candidate_for_the_rest(tmp_path: Path) -> None:
    """What spans of other names leave out is not known."""
    phases = "forward : 100.00ms\nbackward : 230.00ms\noptimizer : 60.00ms\nTotal : 390.00ms\n"
    found = read_text(tmp_path, RATE.format(10), phases, batch_size=1, world_size=3)
    (part,) = [each for each in diagnose_log(found).findings if each.code == "LOG12"]
    assert "is in neither log." in part.evidence[-1]
    assert "andidates" not in part.evidence[-1]
    assert "forward pass" not in " ".join(part.evidence)


@pytest.mark.parametrize(
    ("line", "where"),
    [
        ("{{'loss': {}, 'epoch': {}}}\n", "line 3"),
        ("Epoch {1}/50 - Loss: {0}\n", "epoch 3"),
        ("step {1}/99 | loss={0} lr=1 | 0.5 samples/s\n", "step 3"),
    ],
)
def test_where_a_loss_is_not_finite(line: str, where: str, tmp_path: Path) -> None:
    """Is said in what its lines count."""
    text = "".join(line.format("nan" if at > 2 else 0.5, at) for at in range(1, 9))
    (lost,) = [each for each in diagnose_log(read_text(tmp_path, text)).findings if each.code == "LOG05"]
    assert f"the first at {where}." in lost.evidence[0]

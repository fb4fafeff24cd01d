"""How a training goes on, from a record that grows while it is read."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hotlap.launch.decoding import Decoder
from hotlap.launch.following import Lines
from hotlap.watch.record import Record, sums_of

PLAN = {"k": "plan", "id": 0, "phases": ["data_wait", "forward"], "slots": [0, 1], "micro_batches": 1}


def line(kind: str, **fields: Any) -> str:
    return json.dumps({"k": kind, **fields}) + "\n"


def steps(first: int, count: int, start: float, seconds: float = 0.1, **fields: Any) -> str:
    """A tenth of each step waits for data."""
    times: list[int] = []
    for i in range(count):
        begun = start + i * seconds
        times += [round(1e9 * begun), round(1e9 * (begun + 0.1 * seconds))]
    times.append(round(1e9 * (start + count * seconds)))
    usual = {"i": first, "plan": 0, "times": times, "samples": [8] * count, "losses": [0.5] * count}
    return json.dumps({"k": "steps", **usual, **fields}, separators=(",", ":")) + "\n"


class Growing:
    """A run directory that somebody writes to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def append(self, *lines: str) -> None:
        with (self.folder / "steps.jsonl").open("a") as file:
            file.write("".join(lines))

    def begin(self) -> None:
        self.append(line("start", t=0.0, imported=1.0, pid=7, rank=0), json.dumps(PLAN) + "\n")

    def say(self, words: str) -> None:
        with (self.folder / "output.log").open("a") as file:
            file.write(words)


@pytest.fixture
def run(tmp_path: Path) -> Growing:
    return Growing(tmp_path)


def test_before_anything_trains_nothing_is_known(run: Growing) -> None:
    """Not zero steps: none."""
    record = Record(run.folder, began=0.0)
    assert record.look(1.0) is None
    run.begin()
    found = record.look(2.0)
    assert found is not None
    assert (found.done, found.step_seconds, found.phases, found.loss, found.silence) == (0, None, {}, None, None)
    assert record.trainers == [7]


def test_means_of_the_last_steps(run: Growing) -> None:
    """Seconds of a step and its phases, throughput, loss, and how long ago the last one ended."""
    run.begin()
    record = Record(run.folder, began=0.0)
    run.append(steps(0, 20, 10.0, looked=[3]))
    found = record.look(12.5)
    assert found is not None
    assert (found.done, found.steps) == (20, 20)
    assert found.step_seconds == pytest.approx(0.1)
    assert found.phases == {"data_wait": pytest.approx(0.01), "forward": pytest.approx(0.09)}
    assert found.data_wait == pytest.approx(0.01)
    assert found.samples_per_second == pytest.approx(80.0)
    assert (found.loss, found.silence) == (0.5, pytest.approx(0.5))


def test_only_what_was_appended_is_read(run: Growing) -> None:
    """A line may come in two parts; old steps leave the means."""
    run.begin()
    record = Record(run.folder, began=0.0)
    run.append(steps(0, 100, 0.0, seconds=0.1))
    record.look(10.0)
    late = steps(100, 5, 60.0, seconds=0.2)
    run.append(late[:40])
    before = record.look(61.0)
    assert before is not None
    assert before.done == 100
    run.append(late[40:])
    found = record.look(61.0)
    assert found is not None
    assert (found.done, found.steps, found.step_seconds) == (105, 5, pytest.approx(0.2))
    assert record.totals.steps == 105


def test_slow_steps_keep_some_to_take_a_mean_of(run: Growing) -> None:
    """Steps of a minute: the last few count, however old."""
    run.begin()
    record = Record(run.folder, began=0.0)
    for i in range(20):
        run.append(steps(i, 1, 60.0 * i, seconds=60.0))
    found = record.look(1200.0)
    assert found is not None
    assert (found.steps, found.step_seconds) == (5, pytest.approx(60.0))


def test_steps_from_before_the_watch_are_no_part_of_its_sums(run: Growing) -> None:
    """They are part of the first means alone."""
    run.begin()
    run.append(steps(0, 50, 0.0), steps(50, 10, 5.0))
    record = Record(run.folder, began=5.0)
    found = record.look(6.0)
    assert found is not None
    assert found.steps == 60
    assert (record.totals.steps, record.totals.samples_per_second) == (10, pytest.approx(80.0))


def test_losses_that_are_no_numbers(run: Growing) -> None:
    """Since a step, until one is a number again."""
    run.begin()
    record = Record(run.folder, began=0.0)
    run.append(steps(0, 4, 0.0, losses=[0.5, "nan", "inf", "-inf"]))
    found = record.look(1.0)
    assert found is not None
    assert (found.not_finite_since, found.not_finite_before) == (1, False)
    assert found.loss is not None
    assert math.isinf(found.loss)
    run.append(steps(4, 1, 0.4))
    found = record.look(1.0)
    assert found is not None
    assert (found.not_finite_since, record.totals.not_finite) == (None, 3)


def test_the_first_step_without_a_finite_loss_stays_the_first(run: Growing) -> None:
    """Though the window of the means goes on; a step of which no loss is known is neither good nor bad."""
    run.begin()
    record = Record(run.folder, began=0.0)
    run.append(steps(0, 200, 0.0))
    for first in range(200, 500, 10):
        run.append(steps(first, 10, first / 10, losses=["nan"] + [None] * 9))
        found = record.look(first / 10 + 1)
        assert found is not None
        assert (found.not_finite_since, found.not_finite_before) == (200, False)
    assert found is not None
    assert found.steps < 150
    run.append(steps(500, 10, 50.0, losses=[None] * 3 + [0.5] + [None] * 6))
    found = record.look(51.0)
    assert found is not None
    assert found.not_finite_since is None


def test_what_came_before_the_end_that_is_read_may_have_been_no_number_either(run: Growing) -> None:
    """Where no loss is a number in all that was read, and that is not all."""
    run.begin()
    record = Record(run.folder, began=0.0)
    run.append(steps(1000, 10, 0.0, losses=["nan"] * 10))
    found = record.look(1.0)
    assert found is not None
    assert (found.not_finite_since, found.not_finite_before) == (1000, True)
    run.append(steps(1010, 2, 1.0, losses=[0.5, "nan"]))
    found = record.look(1.0)
    assert found is not None
    assert (found.not_finite_since, found.not_finite_before) == (1011, False)


def test_missing_losses_and_sizes_stay_missing(run: Growing) -> None:
    """A training without a loss that could be seen."""
    run.begin()
    record = Record(run.folder, began=0.0)
    run.append(steps(0, 3, 0.0, losses=[None] * 3, samples=[8, None, 8]))
    found = record.look(1.0)
    assert found is not None
    assert (found.loss, found.samples_per_second, found.step_seconds) == (None, None, pytest.approx(0.1))


def test_the_time_that_is_left_of_planned_steps(run: Growing) -> None:
    """At the pace since the watch began."""
    run.begin()
    record = Record(run.folder, began=0.0, planned=1000)
    before = record.look(0.0)
    assert before is not None
    assert (before.total, before.seconds_left) == (1000, None)
    run.append(steps(0, 10, 0.0))
    assert record.look(1.0) is not None
    run.append(steps(10, 90, 1.0))
    found = record.look(10.0)
    assert found is not None
    assert (found.total, found.printed, found.seconds_left) == (1000, None, pytest.approx(90.0))


def test_the_time_that_is_left_by_what_the_training_prints(run: Growing) -> None:
    """In its own count, which may be one of micro-batches."""
    run.begin()
    record = Record(run.folder, began=0.0)
    run.append(steps(0, 10, 0.0))
    run.say("| step 100/8,880 | loss 0.5\r\nsaved\n")
    assert record.look(1.0) is not None
    run.say("Step [200/8880] loss 0.4\nstep 30")
    found = record.look(11.0)
    assert found is not None
    assert (found.printed, found.total, found.seconds_left) == (200, 8880, pytest.approx(868.0))


@pytest.mark.parametrize(
    "words",
    [
        "Epoch 2, step 5/100\n",
        "step 5/100\nstep 6/100\nstep 1/100\n",
        "stepping stones 1/2\n",
        "iter 7/5\n",
        "step 5\n",
    ],
)
def test_what_may_count_an_epoch_says_nothing_of_the_whole(run: Growing, words: str) -> None:
    """No time is better than a wrong one."""
    run.begin()
    record = Record(run.folder, began=0.0)
    run.append(steps(0, 10, 0.0))
    run.say(words)
    found = record.look(1.0)
    assert found is not None
    assert (found.printed, found.total, found.seconds_left) == (None, None, None)


def test_other_ranks_are_known_as_they_come(run: Growing) -> None:
    """By their own records; the figures are those of rank 0."""
    run.begin()
    record = Record(run.folder, began=0.0)
    record.look(0.5)
    (run.folder / "steps.rank1.jsonl").write_text(line("start", t=0.0, pid=8, rank=1) + json.dumps(PLAN) + "\n")
    (run.folder / "steps.rank2.jsonl").write_text("")
    found = record.look(1.0)
    assert found is not None
    assert (found.ranks, record.trainers) == (2, [7, 8])


def test_of_a_long_record_the_end_is_read(tmp_path: Path) -> None:
    """And what it needs: who trains, and what the marks mean."""
    run = Growing(tmp_path)
    run.begin()
    run.append(*(steps(i, 1, float(i)) for i in range(1000)))
    whole = Lines(tmp_path / "steps.jsonl").read()
    end = Lines(tmp_path / "steps.jsonl", last=2000).read()
    assert [each["k"] for each in whole[:2]] == ["start", "step"]
    assert end[0]["pid"] == 7
    assert 5 < len(end) < 30
    assert end[1:] == whole[-len(end) + 1 :]


def test_a_plan_across_the_border_of_what_is_read_is_kept(tmp_path: Path) -> None:
    """Else the steps behind it would mean nothing."""
    run = Growing(tmp_path)
    run.begin()
    second = json.dumps({**PLAN, "id": 1}) + "\n"
    after = [steps(i, 1, float(i), plan=1) for i in range(4)]
    run.append(steps(0, 1, 0.0), second, *after)
    behind = sum(map(len, after))
    for last in range(behind, behind + len(second) + 1):
        found = Lines(tmp_path / "steps.jsonl", last=last).read()
        assert [each.get("i") for each in found] == [None, 0, 1, 2, 3]


def numbers(step: dict[str, Any]) -> tuple[float | None, bool]:
    loss = None if step["loss"] is None else float(step["loss"])
    return loss, loss is not None and not math.isfinite(loss)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_sums_are_those_of_the_decoded_steps(data: st.DataObject) -> None:
    """Whatever the plan, the looks, the pauses and the losses: as the decoder has them, one by one."""
    names = ["data_wait", "forward", "paused", "backward"]
    slots = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=6))
    plan = {"k": "plan", "id": 3, "phases": names, "slots": slots, "micro_batches": 1}
    count = data.draw(st.integers(1, 6))
    spans = data.draw(st.lists(st.integers(0, 10**9), min_size=count * len(slots), max_size=count * len(slots)))
    line = {
        "k": "steps",
        "i": 5,
        "plan": 3,
        "times": [sum(spans[:i]) for i in range(len(spans) + 1)],
        "samples": data.draw(st.lists(st.sampled_from([4, 8, None]), min_size=count, max_size=count)),
        "losses": data.draw(st.lists(st.sampled_from([0.5, None, "nan", "inf"]), min_size=count, max_size=count)),
        "looked": sorted(data.draw(st.sets(st.integers(5, 4 + count)))),
    }
    decoded = Decoder().decode([plan, line])
    usual = [step for step in decoded if not step["looked"]]
    found = sums_of(line, plan)
    assert (found.steps, found.usual) == (count, len(usual))
    assert found.wall == pytest.approx(sum(step["wall"] for step in usual))
    assert found.paused == pytest.approx(sum(step["paused"] for step in decoded))
    for name in names:
        assert found.phases.get(name, 0.0) == pytest.approx(sum(step["phases"].get(name, 0.0) for step in usual))
    sizes = [step["samples"] for step in decoded]
    assert found.samples == (None if None in sizes else sum(sizes))
    losses, bad = zip(*map(numbers, decoded), strict=True)
    assert repr(found.loss) == repr(next((loss for loss in reversed(losses) if loss is not None), None))
    assert found.not_finite == sum(bad)
    known = [(5 + i, wrong) for i, (loss, wrong) in enumerate(map(numbers, decoded)) if loss is not None]
    last_good = max((i for i, wrong in known if not wrong), default=4)
    assert found.finite == (last_good > 4)
    assert found.not_finite_since == next((i for i, wrong in known if wrong and i > last_good), None)

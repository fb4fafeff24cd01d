"""Every moment is in exactly one phase, whatever happens in whatever order."""

from __future__ import annotations

import json
import os
import tempfile
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotlap.launch.decoding import Decoder, nanoseconds
from hotlap.probe.arrivals import Arrivals
from hotlap.probe.attribution import Plan
from hotlap.probe.facts import Facts
from hotlap.probe.fetching import Fetches
from hotlap.probe.record import Record
from hotlap.probe.timeline import BATCH, DATA, GAP, OPAQUE, PAUSED, Timeline
from hotlap.probe.writer import Writer
from hotlap.records import PHASES

KINDS = ["forward", "evaluation", "backward", "grad", "recompute", "optimizer", "tidy", "validation", "loss"]
KINDS += ["logging", "checkpoint", "gradient_clip", "host_to_device", "data 1", "data 2", "data 0", "pause"]

#: What happens, and after how long: a span begins, the innermost ends, or a loader hands a batch over.
happenings = st.lists(
    st.tuples(
        st.sampled_from([*KINDS, "pop", "pop", "pop", "pop batch", "batch 1"]), st.integers(min_value=0, max_value=5)
    ),
    max_size=60,
)


def play(script: list[tuple[str, int]]) -> tuple[Timeline, int, dict[str, int]]:
    """Return the timeline, its last moment, and the time inside each kind of opaque span, counted another way."""
    timeline, now = Timeline(0), 0
    open_spans: list[tuple[str, bool, int]] = []
    opaque: dict[str, int] = {}
    for what, wait in script:
        now += wait
        if what == "pop":
            if open_spans:
                kind, counts, since = open_spans.pop()
                if counts:
                    timeline.pop(now)
                    if kind in OPAQUE:
                        opaque[kind] = opaque.get(kind, 0) + now - since
        elif what == "batch 1":
            timeline.batch(now, "data 1", 4)
        elif what == "pop batch":
            if open_spans and open_spans[-1][:2] == (DATA, True):
                _, _, since = open_spans.pop()
                timeline.pop_batch(now, 4)
                opaque[DATA] = opaque.get(DATA, 0) + now - since
        elif what == "pause":
            if not timeline.opaque():
                timeline.pause(now)
                open_spans.append((PAUSED, True, now))
        else:
            data = what.startswith(DATA)
            counts = timeline.push_data(now, what) if data else timeline.push(now, what)
            open_spans.append((DATA if data else what, counts, now))
    while open_spans:
        now += 1
        kind, counts, since = open_spans.pop()
        if counts:
            timeline.pop(now)
            if kind in OPAQUE:
                opaque[kind] = opaque.get(kind, 0) + now - since
    return timeline, now, opaque


@given(happenings)
def test_leaves_add_up(script: list[tuple[str, int]]) -> None:
    """The phases of a stretch are known ones, none is negative, and together they are its length."""
    timeline, now, _ = play(script)
    plan = Plan(timeline.kinds, {})
    spent = nanoseconds([*timeline.times, now], plan.slots, len(plan.phases))
    assert set(plan.phases) <= {*PHASES, PAUSED}
    assert min(spent) >= 0
    assert sum(spent) == now


@given(happenings)
def test_nothing_is_counted_twice(script: list[tuple[str, int]]) -> None:
    """A span takes its time once, and what happens inside one that is not told apart adds nothing to others."""
    timeline, now, opaque = play(script)
    inside: dict[str, int] = {}
    for kind, (start, end) in zip(timeline.kinds, pairwise([*timeline.times, now]), strict=True):
        name = DATA if kind.startswith(DATA) else kind
        inside[name] = inside.get(name, 0) + end - start
    assert {kind: spent for kind, spent in inside.items() if kind in OPAQUE and spent} == {
        kind: spent for kind, spent in opaque.items() if spent
    }


@given(happenings, st.integers(min_value=0, max_value=150))
def test_a_cut_leaves_the_rest(script: list[tuple[str, int]], place: int) -> None:
    """Wherever a timeline is cut, what comes after is as it was; where nothing does, it goes on from now."""
    timeline, now, _ = play(script)
    kinds, times, samples = list(timeline.kinds), list(timeline.times), list(timeline.samples)
    place = min(place, len(kinds))
    timeline.cut(place, now)
    assert timeline.kinds == (kinds[place:] or [GAP])
    assert timeline.times == (times[place:] or [now])
    assert timeline.samples == samples[kinds[:place].count(BATCH) :]


@given(happenings, st.lists(st.integers(min_value=1, max_value=150), max_size=4))
def test_steps_lose_nothing(script: list[tuple[str, int]], places: list[int]) -> None:
    """Wherever steps end, the record has all of their time and all of their marks, and the timeline has the rest."""
    timeline, now, _ = play(script)
    ends = sorted({min(place, timeline.mark(now)) for place in places})
    kinds, times = list(timeline.kinds), list(timeline.times)
    record = Record(Facts(None), Fetches("."), Arrivals())
    with tempfile.TemporaryDirectory() as folder:
        writer = record.writer = Writer(os.path.join(folder, "steps.jsonl"))
        os.close(writer.descriptor)
    assert record.steps_over(timeline, [(end, [0.5], []) for end in ends]) == (ends[-1] if ends else 0)
    steps = Decoder().decode([json.loads(line) for line in writer.lines])
    assert [step["i"] for step in steps] == list(range(len(ends)))
    for step, (start, end) in zip(steps, pairwise([0, *ends]), strict=True):
        assert step["t"] == times[start] / 1e9
        assert step["wall"] + step["paused"] == pytest.approx((times[end] - times[start]) / 1e9)
        assert sum(step["phases"].values()) == pytest.approx(step["wall"])
        assert step["loss"] == 0.5
    assert timeline.kinds == kinds[ends[-1] if ends else 0 :]
    assert timeline.times == times[ends[-1] if ends else 0 :]


def test_batches_inside_a_marked_wait_belong_to_their_loaders() -> None:
    """A script that marks its wait for data hides neither the loaders nor the batches."""
    timeline = Timeline(0)
    timeline.push_data(1, "data 0")
    for loader in ("data 7", "data 8"):
        assert not timeline.push_data(2, loader)
        timeline.batch(3, loader, 4)
    timeline.pop(5)
    assert timeline.kinds == [GAP, "data 7", BATCH, "data 8", BATCH, "data 0", GAP]
    assert timeline.times == [0, 1, 3, 3, 3, 3, 5]
    assert timeline.samples == [4, 4]


def test_spans_left_by_an_exception_are_ended() -> None:
    """What comes after is not inside them."""
    timeline = Timeline(0)
    timeline.push(1, "backward")
    timeline.push(2, "recompute")
    timeline.unwind(0, 3)
    assert timeline.kinds[-1] == GAP
    assert timeline.push(4, "forward")


@pytest.mark.parametrize("stack", [[], ["forward"]])
def test_a_name_that_is_known_later(stack: list[str]) -> None:
    """The span that has just ended can be renamed, one that went on inside another too."""
    timeline = Timeline(0)
    for kind in stack:
        timeline.push(0, kind)
    timeline.push(1, "forward")
    timeline.pop(2)
    timeline.rename_last("forward", "loss")
    assert timeline.kinds[-2] == "loss"

"""Every moment is in exactly one phase, whatever happens in whatever order."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hotlap.probe.attribution import Plan
from hotlap.probe.timeline import BATCH, DATA, GAP, OPAQUE, PAUSED, Stretch, Timeline
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


def by_phase(stretch: Stretch) -> dict[str, int]:
    plan = Plan(stretch.kinds, {})
    return dict(zip(plan.phases, plan.nanoseconds(stretch.times), strict=True))


@given(happenings)
def test_leaves_add_up(script: list[tuple[str, int]]) -> None:
    """The phases of a stretch are known ones, none is negative, and together they are its length."""
    timeline, now, _ = play(script)
    phases = by_phase(timeline.cut(len(timeline.kinds), now))
    assert set(phases) <= {*PHASES, PAUSED}
    assert min(phases.values()) >= 0
    assert sum(phases.values()) == now


@given(happenings)
def test_nothing_is_counted_twice(script: list[tuple[str, int]]) -> None:
    """A span takes its time once, and what happens inside one that is not told apart adds nothing to others."""
    timeline, now, opaque = play(script)
    stretch = timeline.cut(len(timeline.kinds), now)
    inside: dict[str, int] = {}
    for kind, (start, end) in zip(stretch.kinds, pairwise(stretch.times), strict=True):
        name = DATA if kind.startswith(DATA) else kind
        inside[name] = inside.get(name, 0) + int(end - start)
    assert {kind: spent for kind, spent in inside.items() if kind in OPAQUE and spent} == {
        kind: spent for kind, spent in opaque.items() if spent
    }


@given(happenings, st.lists(st.integers(min_value=0, max_value=150), max_size=4))
def test_cuts_lose_nothing(script: list[tuple[str, int]], places: list[int]) -> None:
    """Wherever a timeline is cut, its pieces follow each other and hold all of its time and all of its batches."""
    timeline, now, _ = play(script)
    marks, batches = list(timeline.kinds), list(timeline.samples)
    indexes = sorted(min(place, len(marks)) for place in places)
    pieces = timeline.cut_all(indexes, now)
    rest = timeline.cut(len(timeline.kinds), now)
    everything = [*pieces, rest]
    assert everything[0].times[0] == 0
    assert all(before.times[-1] == after.times[0] for before, after in pairwise(everything))
    assert rest.times[-1] == now
    assert [size for piece in everything for size in piece.samples] == batches
    kinds = [kind for piece in everything for kind in piece.kinds]
    # Where everything was taken, what goes on from there has a mark of its own.
    assert kinds[: len(marks)] == marks
    assert set(kinds[len(marks) :]) <= {GAP}


@given(happenings)
def test_the_text_is_what_was_counted(script: list[tuple[str, int]]) -> None:
    """The line of a step holds its phases, without the time that it was held back."""
    timeline, now, _ = play(script)
    stretch = timeline.cut(len(timeline.kinds), now)
    plan = Plan(stretch.kinds, {})
    text = plan.text(plan.nanoseconds(stretch.times))
    assert PAUSED not in text
    assert text.count(":") == len([phase for phase in plan.phases if phase != PAUSED])


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

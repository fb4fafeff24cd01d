"""Charts of memory, of a step as it went and of the data side."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import full
import made_up
from made_up import replace

from hotlap.diagnose import diagnose
from hotlap.records import Facts, MemoryAccount, Timeline, TimelineSpan
from hotlap.report import data_side, memory_charts, pareto, timelines

RUN = full.run()


def labels(chart: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(chart).iter("text")]


def test_memory_is_shown_through_a_step() -> None:
    """A bar for each moment in the order of a step, with what came to the memory before it."""
    chart = memory_charts.moments(RUN.memory.account)
    assert labels(chart)[:4] == [
        "before the step: 180 MB",
        "after forward: 930 MB (+750 MB)",
        "after backward: 260 MB (+80.0 MB)",
        "after the optimizer: 225 MB (+45.0 MB)",
    ]


def test_memory_that_was_not_looked_at_has_no_chart() -> None:
    """No account, no moments, or one moment alone: nothing to draw."""
    account = RUN.memory.account
    assert account is not None
    assert memory_charts.moments(None) == ""
    assert memory_charts.moments(replace(account, moments={"before": 7})) == ""
    assert memory_charts.parts(made_up.diagnosis()) == ""
    assert memory_charts.course(made_up.run(20)) == ""


def test_less_memory_is_said_with_a_minus() -> None:
    """A step that gives memory back says so."""
    account = MemoryAccount(
        step=1, device="cpu", parameters=1, buffers=0, gradients=1, optimizer=1, moments={"before": 9, "backward": 4}
    )
    assert labels(memory_charts.moments(account))[1] == "after backward: 4 B (−5 B)"


def test_the_peak_is_made_of_its_categories() -> None:
    """The parts of the bar are the categories, each in the colour of its class."""
    chart = memory_charts.parts(diagnose(RUN))
    assert 'class="phase-optimizer_state"' in chart
    assert "activations 700 MB" in chart.replace("700.0", "700")


def test_memory_over_the_steps_begins_at_nothing() -> None:
    """The axis begins at 0, so that a little growth looks like a little, and the GPU has a line of its own."""
    chart = memory_charts.course(RUN)
    assert "0" in labels(chart)
    assert "process from 900 MB to 955 MB; GPU from 180 MB to 180 MB" in chart.replace(".0 MB", " MB")


def test_speed_against_memory_numbers_its_dots() -> None:
    """Each set is a dot with the number that it has in the table; the front has the colour of what was kept."""
    points = pareto.points(made_up.tuning())
    chart = memory_charts.speed_and_memory(points)
    assert {str(number) for number in range(1, len(points) + 1)} <= set(labels(chart))
    dots = re.findall(r'<circle cx="[\d.]+%" cy="[\d.]+" r="[\d.]+" class="(\w+)"', chart)
    assert dots == ["kept" if point.front else "quiet" for point in points]
    assert memory_charts.speed_and_memory([]) == ""


def test_a_step_has_a_lane_for_each_phase() -> None:
    """Lanes are in the order of a step and say the phase's time; a span that nobody could see is widened."""
    chart = timelines.chart(RUN.timeline)
    assert labels(chart)[-4:] == [
        "data_wait: 18.10 ms",
        "forward: 8.20 ms",
        "backward: 20.10 ms",
        "blocks.0: 0.10 ms",
    ]
    assert 'width="0.25%"' in chart


def test_a_step_of_thousands_of_spans_is_thinned() -> None:
    """What is drawn stays light, and what was left out is said."""
    spans = [
        TimelineSpan(phase="forward" if i % 2 else "backward", start=i * 1e-5, seconds=1e-5 + i * 1e-9)
        for i in range(5000)
    ]
    timeline = Timeline(step=3, seconds=0.06, spans=spans)
    assert len(timelines.chart(timeline)) < 150_000
    assert "4,500 spans are too short to be drawn" in timelines.caption(timeline)
    assert "forward: 31" in timelines.chart(timeline)
    assert timelines.chart(None) == ""
    assert timelines.chart(Timeline(step=0, seconds=0.0, spans=[])) == ""


def test_the_data_side_says_where_batches_are_fetched() -> None:
    """The fetch of a batch stands beside the step, with its parts where they are known."""
    found = diagnose(RUN)
    assert data_side.waits(found).startswith("A step waits 17.9 ms for its data, 38.9 % of")
    for workers, where in ((None, "training loop"), (1, "in the worker"), (3, "one of 3 workers")):
        assert where in data_side.chart(found, replace(RUN.facts, workers=workers))
    assert "samples 16.0" in data_side.chart(found, RUN.facts)
    assert "fetching 17.6" in data_side.chart(found, Facts(fetch_seconds=0.0176))
    assert data_side.chart(found, Facts()) == ""

"""Charts: what is drawn, and that nothing undefined ever is."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import made_up
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up import replace
from markupsafe import Markup

from hotlap.diagnose import diagnose
from hotlap.records import Effect
from hotlap.report import charts, figures, memory_charts, text, view
from hotlap.tune.statistics import UNBOUNDED

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


def parsed(chart: Markup) -> ElementTree.Element:
    """Return the chart as XML, having seen that no place in it is undefined."""
    assert not re.search(r'="[^"]*\b(nan|inf)\b[^"]*"', chart)
    return ElementTree.fromstring(chart)


def of_class(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [element for element in root.iter() if name in element.get("class", "").split()]


@given(NUMBERS, NUMBERS)
def test_ticks_lie_between_their_ends(low: float, high: float) -> None:
    """Whatever the ends, ticks are few, in order and inside, and each has a short label."""
    values = figures.ticks(low, high)
    assert len(values) <= 20
    assert values == sorted(values)
    labels = figures.tick_labels(values)
    assert len(labels) == len(values)
    assert all(len(label) <= 10 for label in labels)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 46.5, ["0", "10", "20", "30", "40"]),
        (0.95, 2.1, ["1.00", "1.25", "1.50", "1.75", "2.00"]),
        (0, 4e-12, ["0", "1e-12", "2e-12", "3e-12", "4e-12"]),
    ],
)
def test_ticks_are_round(low: float, high: float, labels: list[str]) -> None:
    """Ticks are round numbers, with as many decimals as tell them apart."""
    assert figures.tick_labels(figures.ticks(low, high)) == labels


def test_attributes_and_words_are_escaped() -> None:
    """No name can leave its place in a chart, and control characters do not come through."""
    root = parsed(figures.svg(10, "<b>", "&", figures.bar(0, 0, 50, 10, '"><script>', "<i>\x1b", "</svg>")))
    assert root.findtext("title") == "<b>"
    assert not list(root.iter("script"))


def test_a_chart_says_what_it_shows_to_who_cannot_see_it() -> None:
    """Every chart has a title and a description with its figures."""
    bars = charts.phase_bars([("baseline", made_up.diagnosis()), ("with the changes", made_up.tuning().optimized)])  # type: ignore[list-item]
    for chart in (bars, charts.tuning_pairs(made_up.tuning()), memory_charts.peaks(made_up.tuning())):
        root = parsed(chart)
        assert root.get("role") == "img"
        assert root.findtext("title")
        assert re.search(r"\d", root.findtext("desc") or "")
    assert "baseline 46.50 ms, data_wait 18.10 ms" in (parsed(bars).findtext("desc") or "")


def test_the_parts_of_a_bar_fill_it() -> None:
    """The leaves of the longest step together are as wide as the chart."""
    root = parsed(charts.phase_bars([("", made_up.diagnosis())]))
    spans = [(part.get("x", ""), part.get("width", "")) for part in root.findall("svg")]
    x, width = (float(place.rstrip("%")) for place in spans[-1])
    assert x + width == pytest.approx(100, abs=0.3)


def test_nothing_is_drawn_of_nothing() -> None:
    """A chart without a figure is no chart."""
    assert charts.phase_bars([("", made_up.diagnosis(phases={}))]) == ""
    assert charts.pairs([]) == ""
    none = Effect(ratio=1.0, low=0.0, high=UNBOUNDED, n=0, confidence=0.99, pairs=[])
    assert charts.comparison_pairs(made_up.comparison(effect=none)) == ""
    assert charts.loss_curves(made_up.same_training(baseline_losses=[[None] * 9], candidate_losses=[])) == []
    assert memory_charts.peaks(made_up.nothing_to_gain()) == ""
    assert charts.losses(made_up.run(0)) == ""
    assert charts.step_times(made_up.run(0), made_up.diagnosis()) == ""


def test_an_unknown_end_does_not_stretch_the_axis() -> None:
    """An interval whose end is not known reaches the edge of a plot that is still about the pairs."""
    open_ended = made_up.effect(1.2, high=UNBOUNDED)
    root = parsed(charts.comparison_pairs(made_up.comparison(effect=open_ended)))
    assert len(of_class(root, "pair")) == open_ended.n
    ticks = [float(tick.text or "nan") for tick in of_class(root, "tick") if re.fullmatch(r"[\d.]+", tick.text or "")]
    assert max(ticks) < 2


def test_a_pair_that_a_stall_spoilt_is_drawn_at_the_edge() -> None:
    """A pair far from the others is a triangle at the edge, and the others keep their room."""
    spoilt = made_up.effect(1.2, n=6, pairs=[1.19, 1.2, 1.21, 1.2, 50.0, math.inf])
    root = parsed(charts.comparison_pairs(made_up.comparison(effect=spoilt)))
    assert len(of_class(root, "pair")) == 4
    assert len(of_class(root, "beyond")) == 1


@given(st.lists(NUMBERS, min_size=1, max_size=9), NUMBERS, NUMBERS, NUMBERS)
def test_pairs_of_any_numbers_can_be_drawn(pairs: list[float], ratio: float, low: float, high: float) -> None:
    """No effect, however odd, puts an undefined place into the chart."""
    odd = Effect(ratio=ratio, low=low, high=high, n=len(pairs), confidence=0.99, pairs=pairs)
    chart = charts.comparison_pairs(made_up.comparison(effect=odd))
    if chart:
        parsed(chart)


@given(st.lists(st.none() | NUMBERS, max_size=30), st.lists(st.none() | NUMBERS, max_size=30))
def test_losses_of_any_numbers_can_be_drawn(baseline: list[float | None], candidate: list[float | None]) -> None:
    """NaN, infinity and missing losses break the curve and nothing else."""
    same = made_up.same_training(baseline_losses=[baseline], candidate_losses=[candidate])
    for title, chart in charts.loss_curves(same):
        assert title == "Seed 1"
        parsed(chart)


def test_a_gap_in_the_losses_is_said() -> None:
    """Losses that are not finite are counted in the description."""
    same = made_up.same_training(baseline_losses=[[1.0, math.nan, None, 0.5]], candidate_losses=[])
    ((_, chart),) = charts.loss_curves(same)
    assert "2 of 4 not finite or not known" in (parsed(chart).findtext("desc") or "")
    assert "L" not in (next(parsed(chart).iter("path")).get("d") or "")


@pytest.mark.parametrize("n", [1, 2, 5, 400])
def test_each_step_of_a_short_run_is_drawn(n: int) -> None:
    """Steps, warm-up and outliers are all there, and the outliers have their own mark."""
    run = made_up.run(n)
    diagnosis = diagnose(run)
    root = parsed(charts.step_times(run, diagnosis))
    marks, dots = of_class(root, "mark"), of_class(root, "step")
    assert len(marks) + len(dots) == n
    assert len(of_class(root, "outlier")) == len(diagnosis.outliers)


def test_a_long_run_stays_light() -> None:
    """A hundred thousand steps do not make a page that nobody can open."""
    run = made_up.run(400)
    run = replace(run, steps=run.steps * 250)
    diagnosis = made_up.diagnosis(steady_from=50_000, outliers=list(range(60_000, 70_000)))
    assert len(charts.step_times(run, diagnosis)) < 200_000
    assert len(charts.losses(run)) < 50_000


def test_memory_compares_like_with_like() -> None:
    """Of the GPU where there is one, in every arm."""
    root = parsed(memory_charts.peaks(made_up.tuning()))
    assert f"baseline {text.size(view.peak(made_up.FACTS))}" in (root.findtext("desc") or "")

"""Sets of intervals, against counting whole units one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hotlap.read.traces.intervals import covered, difference, holds, intersection, length, union

Spans = list[tuple[int, int]]

spans = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)).map(lambda each: (each[0], each[0] + each[1])))


def array(of: Spans) -> NDArray[np.float64]:
    return np.array(of, dtype=float).reshape(-1, 2)


def units(of: Spans | NDArray[np.float64]) -> set[int]:
    """The units of time that spans with whole ends cover."""
    return {unit for start, end in np.asarray(of, dtype=int).reshape(-1, 2) for unit in range(start, end)}


def sound(intervals: NDArray[np.float64]) -> bool:
    flat = intervals.ravel()
    return bool((np.diff(flat) > 0).all())


@given(spans)
@settings(max_examples=60, deadline=None)
def test_union(a: Spans) -> None:
    """The same units are covered, by intervals in order that do not touch."""
    found = union(array(a))
    assert units(found) == units(a)
    assert sound(found)
    assert length(found) == len(units(a))


@given(spans, spans)
@settings(max_examples=100, deadline=None)
def test_intersection_and_difference(a: Spans, b: Spans) -> None:
    """Both are what sets of units say, and together they are the first."""
    first, second = union(array(a)), union(array(b))
    both, rest = intersection(first, second), difference(first, second)
    assert units(both) == units(a) & units(b)
    assert units(rest) == units(a) - units(b)
    assert sound(both)
    assert sound(rest)


@given(spans, spans)
@settings(max_examples=60, deadline=None)
def test_covered(a: Spans, b: Spans) -> None:
    """Each span by itself, whatever their order."""
    intervals = union(array(b))
    assert covered(array(a), intervals).tolist() == [len(units([span]) & units(b)) for span in a]


@given(spans, st.lists(st.integers(0, 40)))
@settings(max_examples=60, deadline=None)
def test_holds(a: Spans, moments: list[int]) -> None:
    """A moment at an end is inside."""
    intervals = union(array(a))
    for moment, index in zip(moments, holds(intervals, np.array(moments, float)), strict=True):
        inside = [n for n, (start, end) in enumerate(intervals) if start <= moment <= end]
        assert index == (inside[0] if inside else -1)

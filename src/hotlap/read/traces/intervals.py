"""Arithmetic with sets of intervals: arrays of shape (n, 2), in order, apart from one another, none empty."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

NONE: Array = np.empty((0, 2))


def union(spans: Array) -> Array:
    """Return what spans cover together, be they in any order, overlapping, touching or empty."""
    spans = spans[spans[:, 1] > spans[:, 0]]
    if not len(spans):
        return NONE
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    reached = np.maximum.accumulate(spans[:, 1])
    first = np.concatenate(([True], spans[1:, 0] > reached[:-1]))
    last = np.concatenate((first[1:], [True]))
    return np.column_stack((spans[first, 0], reached[last]))


def length(intervals: Array) -> float:
    return float((intervals[:, 1] - intervals[:, 0]).sum())


def intersection(a: Array, b: Array) -> Array:
    """Return what is in both."""
    return _where(a, b, inside=True)


def difference(a: Array, b: Array) -> Array:
    """Return what is in ``a`` alone."""
    return _where(a, b, inside=False)


def covered(spans: Array, intervals: Array) -> Array:
    """Return how much of each span, in any order, is in the intervals."""
    if not len(intervals):
        return np.zeros(len(spans))
    return _until(spans[:, 1], intervals) - _until(spans[:, 0], intervals)


def holds(intervals: Array, moments: Array) -> Array:
    """Return for each moment the index of the interval that it is in, its ends included, or -1."""
    if not len(intervals):
        return np.full(len(moments), -1)
    index = np.searchsorted(intervals[:, 0], moments, side="right") - 1
    return np.where((index >= 0) & (moments <= intervals[index, 1]), index, -1)


def _until(moments: Array, intervals: Array) -> Array:
    """How much of the intervals lies before each moment."""
    before = np.concatenate(([0.0], np.cumsum(intervals[:, 1] - intervals[:, 0])))
    index = np.searchsorted(intervals[:, 0], moments, side="right")
    beyond = np.where(index > 0, np.maximum(intervals[np.maximum(index - 1, 0), 1] - moments, 0.0), 0.0)
    return before[index] - beyond


def _where(a: Array, b: Array, *, inside: bool) -> Array:
    if not len(a) or not len(b):
        return NONE if inside or not len(a) else a
    moments = np.concatenate((a.ravel(), b.ravel()))
    of_a = np.concatenate((np.tile([1, -1], len(a)), np.zeros(2 * len(b), int)))
    of_b = np.concatenate((np.zeros(2 * len(a), int), np.tile([1, -1], len(b))))
    order = np.argsort(moments, kind="stable")
    moments = moments[order]
    in_a, in_b = np.cumsum(of_a[order])[:-1] > 0, np.cumsum(of_b[order])[:-1] > 0
    wanted = in_a & (in_b if inside else ~in_b)
    return union(np.column_stack((moments[:-1], moments[1:]))[wanted])

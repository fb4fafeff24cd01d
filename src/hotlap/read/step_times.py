"""Every way in which a log tells how long a step takes, the best first.

A clock on the wall counts everything. What a training times itself may leave out waits, evaluations, or all but one
micro-batch. So both are kept, to be set side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from hotlap.read.bars import Bar
from hotlap.read.formats import HEALTH
from hotlap.read.points import Points
from hotlap.read.state import State
from hotlap.read.tracks import Track
from hotlap.records import DataTime, Figure, WallStep

#: Stamps of loggers without a fraction: so many seconds between two make their rounding small.
_STRETCH = 30.0
_STRETCHES = 64
#: A pair of lines that takes so many times what its steps take by the median is a pause of the training; of so many
#: such pairs only those that are so many times as long as their median.
_PAUSE = 30.0
_RECURRING = 3
_RECURS = 10.0
#: How a figure begins that the log prints as it is.
PRINTED = ("median of", "running mean that")
#: Lines from which the first, in which workers start and kernels are chosen, is left out of a mean.
_ENOUGH = 5
WAIT_SAID = "It is the wait for the loader, as the training says itself."


def main_track(state: State) -> Track | None:
    """The lines that say the most of the training's steps."""
    training = [track for track in state.tracks.values() if track.format.training and track.order.accepted]
    timed = [track for track in training if {"step_seconds", "rate", "forward"} & track.points.keys()]
    return max(timed or training, key=lambda track: track.order.accepted, default=None)


def step_times(state: State, samples: float | None, accumulation: float | None) -> list[WallStep]:
    """``samples`` are those of a micro-batch on all ranks, None where a step's are not known.

    A log without any of it gives none.
    """
    main, bar = main_track(state), state.bars.main()
    found = [
        _epochs(state.tracks.get("VRT-Spike epoch")),
        _progress(state.tracks.get("VRT-Spike progress")),
        _health(state.tracks.get(HEALTH)),
    ]
    if main is not None:
        found += [_running_mean(main), _printed(main), by_clock(main)]
    if _has_no_time(main):
        tracks = sorted(state.tracks.values(), key=lambda track: not track.format.training)
        rates = (_rate(track, samples, accumulation) for track in tracks)
        found.append(next((rate for rate in rates if rate is not None), None))
    if bar is not None:
        found += [_bar(bar), _bar_rate(bar)]
    if main is not None:
        # What no part was timed of is missing in it, so whatever else there is comes first.
        found.append(_sum_of_parts(main))
    found.append(_runtime(state.remarks.runtime))
    return [each for each in found if each is not None and each.seconds > 0 and math.isfinite(each.seconds)]


def data_seconds(state: State, main: Track | None) -> tuple[Figure, str, DataTime | None]:
    """The printed data time, what it holds in a sentence, and whether the wait for the loader is in it."""
    if main is None or main.format.data_time is None:
        return Figure(how="no line prints it"), "", None
    form = main.format
    kind, holds = ("wait", WAIT_SAID) if state.remarks.says_wait else (form.data_time, form.holds)
    mean = running_mean(main, "data")
    points = main.points.get("data")
    if mean is not None:
        how = _of_means(main, "data")
        return Figure(value=mean, origin="printed" if how.startswith(PRINTED) else "derived", how=how), holds, kind
    if points is None or not points.finite:
        return Figure(how="no line prints it"), holds, kind
    half = 0.5 * 10.0**-points.decimals * (1e-3 if form.name in ("VRT-Spike", "APT diagnosis", "hotlap train") else 1.0)
    value = mean_after_first(points)
    figure = Figure(
        value=value,
        origin="printed",
        how=f"mean of {points.counted}",
        low=max(0.0, value - half),
        high=value + half,
    )
    return figure, holds, kind


def mean_after_first(points: Points) -> float:
    """The mean, without the first line where there are enough others."""
    first = points.y[0]
    if points.finite < _ENOUGH or not math.isfinite(first):
        return points.mean
    return (points.sum - first) / (points.finite - 1)


def running_mean(track: Track, figure: str) -> float | None:
    """The mean that the training prints itself, at the ends of its epochs and of the log."""
    ends = track.means(f"{figure}_mean")
    return sum(mean * steps for mean, steps in ends) / sum(steps for _, steps in ends) if ends else None


def by_clock(track: Track) -> WallStep | None:
    """By the times that the logger puts before its lines: the median over stretches of half a minute or more."""
    slopes = clock_slopes(track.points.get("clock"), track.pauses)
    if not slopes:
        return None
    middle = median(slopes)
    return WallStep(seconds=middle, how="times at which the lines were written", wall=True)


def clock_slopes(points: Points | None, pauses: Sequence[float] = ()) -> list[float]:
    """Seconds a step over stretches of the log; none where it is too short for its clock."""
    pairs = _while_running(points, pauses)
    whole = sum(seconds for _, seconds in pairs)
    if whole < _STRETCH:
        return []
    least = max(_STRETCH, whole / _STRETCHES)
    slopes, steps, seconds = [], 0.0, 0.0
    for more, longer in pairs:
        steps, seconds = steps + more, seconds + longer
        if seconds >= least:
            slopes.append(seconds / steps)
            steps, seconds = 0.0, 0.0
    return slopes


def _while_running(points: Points | None, pauses: Sequence[float]) -> list[tuple[float, float]]:
    """Steps and seconds from line to line, without the time in which no training ran.

    That is from one file to the next, which begins at a step of ``pauses``; and what takes very much longer than
    its steps do, unless it recurs with about the same length, as evaluations do.
    """
    if points is None:
        return []
    pairs = [
        (x2 - x1, y2 - y1)
        for (x1, y1), (x2, y2) in pairwise(zip(points.x, points.y, strict=True))
        if x2 > x1 and y2 >= y1 and not any(x1 < pause <= x2 for pause in pauses)
    ]
    if not pairs:
        return []
    pace = median(seconds / steps for steps, seconds in pairs)
    long = [seconds for steps, seconds in pairs if seconds > max(_STRETCH, _PAUSE * pace * steps)]
    most = _RECURS * median(long) if len(long) >= _RECURRING else min(long, default=math.inf)
    return [
        (steps, seconds)
        for steps, seconds in pairs
        if seconds < most or seconds <= max(_STRETCH, _PAUSE * pace * steps)
    ]


def mean_step(main: Track | None) -> float | None:
    """Of the same lines as the data time: its running mean, or the mean of what is printed."""
    if main is None:
        return None
    mean = running_mean(main, "step_seconds")
    if mean is not None:
        return mean
    points = main.points.get("step_seconds")
    return mean_after_first(points) if points is not None and points.finite else None


def wall_step(state: State, main: Track | None) -> float | None:
    """Mean step by a clock on the wall, with everything that happens between steps."""
    points = None if main is None else main.points.get("clock")
    if main is not None and clock_slopes(points, main.pauses):
        pairs = _while_running(points, main.pauses)
        return sum(seconds for _, seconds in pairs) / sum(steps for steps, _ in pairs)
    mean = _mean_health(state.tracks.get(HEALTH))
    if mean is not None:
        return mean
    rate = state.remarks.runtime.get("train_steps_per_second")
    return 1 / rate if rate else None


def _has_no_time(main: Track | None) -> bool:
    return main is None or "step_seconds" not in main.points


def _epochs(track: Track | None) -> WallStep | None:
    if track is None or not {"epoch_seconds", "epoch_steps"} <= track.points.keys():
        return None
    seconds, steps = track.points["epoch_seconds"], track.points["epoch_steps"]
    if not steps.sum or seconds.finite != steps.finite:
        return None
    how = f"time / steps of {steps.finite:,} [epoch] line{'s' * (steps.finite != 1)}"
    return WallStep(seconds=seconds.sum / steps.sum, how=how, wall=True)


def _progress(track: Track | None) -> WallStep | None:
    points = None if track is None else track.points.get("elapsed")
    if points is None or not points.finite:
        return None
    slopes = clock_slopes(points, track.pauses if track is not None else ())
    if slopes:
        return WallStep(seconds=median(slopes), how="elapsed time of the [progress] lines", wall=True)
    step, elapsed = points.last_x, points.last
    if step <= 0:
        return None
    clock = f"{int(elapsed) // 3600}:{int(elapsed) // 60 % 60:02d}:{int(elapsed) % 60:02d}"
    how = f"elapsed={clock} / {step:,.0f} steps, if it began at step 0; the start is in it"
    return WallStep(seconds=elapsed / step, how=how, wall=True)


def _health(track: Track | None) -> WallStep | None:
    points = None if track is None else track.points.get("step_seconds")
    if points is None or not points.finite:
        return None
    # The start of the workers is in the first.
    more = points.lines - 1
    lines = f"{more:,} line{'s' * (more != 1)} after the first" if more else points.counted
    held = "what is between steps" if more else "the start and what is between steps"
    how = f"median of {lines} with step_ms, which has {held} in it"
    return WallStep(seconds=median(points.y[1:] or points.y), how=how, wall=True)


def _mean_health(track: Track | None) -> float | None:
    """Mean after the first line, by the steps that each is of."""
    points = None if track is None else track.points.get("step_seconds")
    if points is None:
        return None
    pairs = pairwise(zip(points.x, points.y, strict=True))
    parts = [(after - before, seconds) for (before, _), (after, seconds) in pairs if after > before]
    steps = sum(more for more, _ in parts)
    return sum(more * seconds for more, seconds in parts) / steps if steps else None


def _running_mean(track: Track) -> WallStep | None:
    value = running_mean(track, "step_seconds")
    if value is None:
        return None
    return WallStep(seconds=value, how=_of_means(track, "step_seconds"), wall=False)


def _of_means(track: Track, figure: str) -> str:
    name = f"{figure}_mean"
    epochs, begun = len(track.means(name)), track.broken_off(name)
    if begun:
        first = "the first step" if begun == 1 else f"the first {begun:,.0f} steps"
        return f"running means that the log prints, without {first} of an epoch"
    return "running mean that the log prints" + (f", of {epochs:,} epochs by their steps" if epochs > 1 else "")


def _printed(track: Track) -> WallStep | None:
    points = track.points.get("step_seconds")
    if points is None or not points.finite:
        return None
    return WallStep(seconds=points.median, how=f"median of {points.counted} with a step time", wall=False)


def _rate(track: Track, samples: float | None, accumulation: float | None) -> WallStep | None:
    points = track.points.get("rate")
    if points is None or not points.finite or samples is None:
        return None
    rate, half = points.median, 0.5 * 10.0**-points.decimals
    if rate <= 0:
        return None
    # The samples of a step over the rate, be that rate taken over a step or over one of its micro-batches.
    together = (accumulation or 1.0) * samples
    how = f"batch size x world size{' x accumulation' if together > samples else ''} / throughput"
    if track.format.whole_steps:
        # What a clock says besides holds more, which is no contradiction to it.
        how = "samples of a step / samples_per_second"
    return WallStep(
        seconds=together / rate,
        how=f"{how} ({together:,.0f} / {rate:.4g})",
        wall=False,
        low=together / (rate + half),
        high=together / (rate - half) if rate > half else None,
    )


def _sum_of_parts(track: Track) -> WallStep | None:
    names = [name for name in ("data", "forward", "backward", "optimizer") if name in track.points]
    if len(names) < 3 or "step_seconds" in track.points:
        return None
    how = f"sum of the printed parts ({', '.join(names)})"
    return WallStep(seconds=sum(track.points[name].mean for name in names), how=how, wall=False)


def _bar(bar: Bar) -> WallStep | None:
    if bar.done <= 0 or bar.spent <= 0:
        return None
    # A bar shows whole seconds.
    return WallStep(
        seconds=bar.spent / bar.done,
        how=f"elapsed time / position of the progress bar ({bar.spent:,.0f} s / {bar.done:,})",
        wall=True,
        low=bar.spent / bar.done,
        high=(bar.spent + bar.bars) / bar.done,
    )


def _bar_rate(bar: Bar) -> WallStep | None:
    points = bar.points.get("rate_steps")
    if points is None or not points.finite or points.median <= 0:
        return None
    how = f"rate of the progress bar, which is smoothed: median of {points.counted}"
    return WallStep(seconds=1 / points.median, how=how, wall=False)


def _runtime(ended: dict[str, float]) -> WallStep | None:
    rate = ended.get("train_steps_per_second")
    if not rate:
        return None
    half = 0.0005
    return WallStep(
        seconds=1 / rate,
        how="train_steps_per_second at the end, with evaluations and saving",
        wall=True,
        low=1 / (rate + half),
        high=1 / (rate - half) if rate > half else None,
    )

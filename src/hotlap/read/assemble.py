"""From what the lines say to one ``Reading``: which figure is taken where several are printed, and what follows."""

from __future__ import annotations

import math
from collections.abc import Iterable

from hotlap.read.points import Points
from hotlap.read.state import State
from hotlap.read.step_times import PRINTED, data_seconds, main_track, mean_step, step_times, wall_step
from hotlap.read.tracks import Track
from hotlap.records import Figure, Origin, Reading, Restart, Series, WallStep

#: More "restarts" than this share of the lines are several processes that write in turns.
_TOO_MANY = 0.05
_FEW = 3
#: Series of a track that a reading keeps, with the names that they have there.
_KEPT = {
    "step_seconds": "step time",
    "rate": "throughput",
    "rate_steps": "steps per second",
    "data": "data time",
    "memory": "device memory",
    "process_memory": "process memory",
    "system_memory": "system memory",
    "system_total": "memory of the machine",
    "memory_share": "share of device memory",
    "gpu_utilization": "GPU utilization",
    "tokens": "tokens per second",
    "mfu": "MFU",
    "loss": "loss",
    "elapsed": "elapsed",
}
_PARTS = ("forward", "backward", "optimizer")


def assemble(state: State, batch_size: int | None, world_size: int | None) -> Reading:
    """Return the reading. ``batch_size`` and ``world_size`` are what the user says, and win."""
    settings = state.remarks.settings
    batch = _setting(batch_size, settings.get("batch"), "give it with --batch-size")
    world = _setting(world_size, settings.get("world"), "give it with --world-size")
    if world.value is None and (ranks := _ranks(state)):
        world = Figure(value=max(ranks) + 1, origin="derived", how="the highest rank that a line names, and one")
    accumulation = _setting(None, settings.get("accumulation"), "no line says it")
    micro_batches = accumulation.value
    # The rate of most programs is of one micro-batch where they say nothing of more.
    if micro_batches is None and not any(track.format.whole_steps for track in state.tracks.values()):
        micro_batches = 1
    samples = batch.value * world.value if batch.value and world.value and micro_batches else None
    main = main_track(state)
    times = step_times(state, samples, micro_batches)
    step = _step_seconds(times, batch, world, micro_batches)
    restarts, notes = _restarts(main)
    data, holds, kind = data_seconds(state, main)
    series = _series(state, main)
    return Reading(
        sources=state.sources,
        format=_format(state, main),
        batch_size=batch,
        world_size=world,
        accumulation=accumulation,
        steps=_steps(state, main),
        total_steps=_total(state, main),
        step_seconds=step,
        throughput=_of_means(main, step)
        or _throughput(state, samples, micro_batches, settings.get("global batch"), step),
        data_seconds=data,
        data_time=kind,
        data_time_holds=holds,
        device_memory=_peak(series.get("device memory")),
        process_memory=_peak(series.get("process memory")),
        mean_seconds=mean_step(main),
        wall_seconds=wall_step(state, main),
        step_times=times,
        parts=_parts(main),
        timing=state.timings.timing(),
        cache=state.remarks.cache_use(),
        series=series,
        restarts=restarts,
        evaluations=state.remarks.evaluations,
        alarms=list(state.remarks.alarms.values()),
        batch_search=state.remarks.searched,
        notes=notes,
    )


def _setting(given: int | None, printed: tuple[int, str] | None, missing: str) -> Figure:
    if given is not None:
        return Figure(value=given, origin="given", how="on the command line")
    if printed is not None:
        return Figure(value=printed[0], origin="printed", how=printed[1][-100:])
    return Figure(how=missing)


def _ranks(state: State) -> set[int]:
    return {rank for track in state.tracks.values() for rank in track.ranks}


def _step_seconds(times: list[WallStep], batch: Figure, world: Figure, micro_batches: float | None) -> Figure:
    if times:
        first = times[0]
        origin: Origin = "printed" if first.how.startswith(PRINTED) else "derived"
        return Figure(value=first.seconds, origin=origin, how=first.how, low=first.low, high=first.high)
    if micro_batches is None:
        return Figure(how="would follow from the throughput with the micro-batches of a step, which no line says")
    lacking = [name for name, it in (("batch size", batch), ("world size", world)) if it.value is None]
    if lacking:
        options = " and ".join(f"--{name.replace(' ', '-')}" for name in lacking)
        return Figure(how=f"would follow from the throughput with {options}")
    return Figure(how="no line says how long steps take")


def _of_means(main: Track | None, step: Figure) -> Figure | None:
    """The throughput that goes with a step time from running means, where the log prints a mean of both."""
    if main is None or not step.value or not step.how.startswith("running mean"):
        return None
    rate, seconds = main.last_mean("rate_mean"), main.last_mean("step_seconds_mean")
    if not rate or not seconds:
        return None
    return Figure(
        value=rate * seconds / step.value, origin="derived", how="samples of a step, by the means / step time"
    )


def _throughput(
    state: State, samples: float | None, micro_batches: float | None, together: tuple[int, str] | None, step: Figure
) -> Figure:
    for track in _training_first(state):
        points = track.points.get("rate")
        if points is not None and points.finite:
            half = 0.5 * 10.0**-points.decimals
            value = points.median
            return Figure(
                value=value,
                origin="printed",
                how=f"median of {points.counted} ({track.format.name})",
                low=max(0.0, value - half),
                high=value + half,
            )
    printed = state.remarks.runtime.get("train_samples_per_second")
    if printed:
        return Figure(value=printed, origin="printed", how="the line at the end of the training")
    of_samples = samples * micro_batches if samples and micro_batches else None
    per_step = together[0] if together else of_samples
    if per_step and step.value:
        how = "samples of a step / step time" if together else "batch size x world size / step time"
        return Figure(value=per_step / step.value, origin="derived", how=how)
    return Figure(how="with --batch-size and --world-size it would follow from the step time")


def _steps(state: State, main: Track | None) -> Figure:
    progress = state.tracks.get("VRT-Spike progress")
    seen = [track.order.high for track in (main, progress) if track is not None and track.format.counted == "step"]
    if seen and main is not None and main.format.counts_anew:
        return Figure(value=max(seen), origin="derived", how="the steps of the epochs in the log")
    if seen:
        return Figure(value=max(seen), origin="printed", how="the last step that a line names")
    bar = state.bars.main()
    if bar is not None:
        return Figure(value=bar.done, origin="printed", how="the position of the progress bar")
    return Figure(how="no line names one")


def _total(state: State, main: Track | None) -> Figure:
    if "total steps" in state.remarks.settings:
        return Figure(value=state.remarks.settings["total steps"][0], origin="printed", how="at the start")
    tracks = [track for track in (main, state.tracks.get("VRT-Spike progress")) if track is not None]
    for track in tracks:
        if track.total and track.format.first_epoch is None:
            return Figure(value=track.total, origin="printed", how="beside each step")
        if track.total and track.epochs:
            return Figure(value=track.total * track.epochs, origin="derived", how="epochs x steps of an epoch")
    return Figure(how="no line names it")


def _format(state: State, main: Track | None) -> str | None:
    if main is not None:
        return main.format.name
    if state.bars.main() is not None:
        return "progress bar"
    return "timing" if state.timings.lines else None


def _training_first(state: State) -> list[Track]:
    return sorted(state.tracks.values(), key=lambda track: not track.format.training)


def _series(state: State, main: Track | None) -> dict[str, Series]:
    found: dict[str, Series] = {}
    bar = state.bars.main()
    tracks: Iterable[dict[str, Points]] = [
        *([main.points] if main is not None else []),
        *([bar.points] if bar is not None else []),
        *(track.points for track in _training_first(state)),
    ]
    for points in tracks:
        for figure, name in _KEPT.items():
            if name not in found and figure in points and points[figure].finite + points[figure].bad:
                found[name] = points[figure].series()
    remarks = state.remarks
    if remarks.hit_rate.lines:
        found["cache hit rate"] = remarks.hit_rate.series()
    if remarks.nan_steps.lines:
        found["NaN warnings"] = remarks.nan_steps.series()
    return found | {f"evaluation: {name}": points.series() for name, points in remarks.quality.items()}


def _parts(main: Track | None) -> dict[str, float]:
    points = {} if main is None else main.points
    return {name: points[name].mean for name in _PARTS if name in points and points[name].finite}


def _peak(series: Series | None) -> Figure:
    if series is None or not math.isfinite(series.high):
        return Figure(how="no line prints it")
    return Figure(value=series.high, origin="printed", how="the most that is printed")


def _restarts(main: Track | None) -> tuple[list[Restart], list[str]]:
    if main is None:
        return [], []
    order = main.order
    notes: list[str] = []
    if not main.tells_restarts:
        return [], notes
    if len(order.restarts) > max(_FEW, _TOO_MANY * order.accepted):
        notes.append(
            f"steps go back {len(order.restarts):,} times: several processes write them in turns, or several trainings "
            "are in this log, so figures may be of more than one"
        )
        return [], notes
    return [Restart(before=before, after=after) for before, after in order.restarts], notes

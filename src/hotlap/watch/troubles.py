"""What is wrong at the moment: pure functions from the last looks to warnings.

Each is said while it lasts. None is said of what was not seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from statistics import fmean

from hotlap.report import text
from hotlap.train.config.goals import CRITICAL_MEMORY, DATA_SHARE, GOALS
from hotlap.watch.history import History
from hotlap.watch.sample import Gpu, Processes, Sample, Steps, Trouble, in_use

#: What a warning is about, and its text.
Said = Iterator[tuple[str, str]]

#: Seconds of looks, and so many of them at the least, before a mean is worth a warning.
_RECENT, _LOOKS = 10.0, 5
#: A phase takes a part of a step that may be why the GPU idles.
_PART = 0.10
#: Per cent of a short step from which on waiting for data is worth a word, be it ever so few milliseconds.
_MUCH = 20.0
#: The main thread works all the time.
_BUSY = 0.95
#: A step takes this many times as long as usual, and so many seconds at the least: something stands still.
_SILENT, _SILENT_LEAST = 20, 30.0
#: How what is said of cards begins, for which it matters whose they are.
_OF_CARDS = re.compile(r"gpu \d+ growth|clocks:|idle")
#: In the host's phases a GPU gets nothing to do.
_HOST = {
    "data_wait": "the training waits for its data",
    "host_to_device": "batches are copied to the device",
    "validation": "it validates",
    "checkpoint": "a checkpoint is saved",
    "logging": "it logs",
}


def warnings(history: History) -> list[Trouble]:
    """What the last looks say; most dangerous first."""
    if not history.samples:
        return []
    sample = history.samples[-1]
    return [
        Trouble(about=about, text=said, guess=bool(sample.guessed) and _OF_CARDS.match(about) is not None)
        for about, said in (
            *_lost(sample),
            *_loss(sample.steps),
            *_memory(sample, history),
            *_silent(sample.steps),
            *_throttled(sample),
            *_data(sample.steps),
            *_idle(history),
        )
    ]


def _lost(sample: Sample) -> Said:
    for gpu in sample.gpus:
        if gpu.lost:
            yield f"gpu {gpu.index} lost", f"GPU {gpu.index} is lost: the driver no longer reaches it"


def _loss(steps: Steps | None) -> Said:
    if steps is not None and steps.not_finite_since is not None:
        before = " or before" if steps.not_finite_before else ""
        yield "loss", f"the loss is no finite number since step {steps.not_finite_since}{before} (NaN or infinite)"


def _memory(sample: Sample, history: History) -> Said:
    machine, processes = sample.machine, sample.processes
    room = machine.memory_total - machine.memory_used
    if machine.memory_used > CRITICAL_MEMORY * machine.memory_total:
        yield (
            "memory",
            f"{_share(machine.memory_used, machine.memory_total)} of the machine's memory is in use "
            f"({text.size(machine.memory_used)} of {text.size(machine.memory_total)})",
        )
    limited = _limit(processes)
    if limited is not None:
        used, limit = limited
        room = min(room, limit - used)
        if used > CRITICAL_MEMORY * limit:
            yield (
                "memory of the group",
                f"{_share(used, limit)} of what the control group may hold is in use "
                f"({text.size(used)} of {text.size(limit)})",
            )
    left = history.processes.seconds_left(room)
    if left is not None:
        yield (
            "growth",
            f"the memory of the training grows by {_pace(history.processes.slope)}: out of memory in about "
            f"{text.seconds(_rounded(left))}",
        )
    for gpu in in_use(sample):
        yield from _gpu_memory(gpu, history)


def _gpu_memory(gpu: Gpu, history: History) -> Said:
    grows = history.gpus.get(gpu.index)
    if grows is None or gpu.memory_total is None or gpu.memory_used is None:
        return
    left = grows.seconds_left(gpu.memory_total - gpu.memory_used)
    if left is not None:
        yield (
            f"gpu {gpu.index} growth",
            f"the memory of GPU {gpu.index} grows by {_pace(grows.slope)}: out of memory in about "
            f"{text.seconds(_rounded(left))}",
        )


def _silent(steps: Steps | None) -> Said:
    if steps is None or steps.silence is None or steps.step_seconds is None:
        return
    if steps.silence > max(_SILENT_LEAST, _SILENT * steps.step_seconds):
        yield (
            "silence",
            f"no step has ended for {text.seconds(steps.silence)}; they took {text.seconds(steps.step_seconds)}",
        )


def _throttled(sample: Sample) -> Said:
    held: dict[str, list[int]] = {}
    for gpu in in_use(sample):
        if gpu.throttled:
            held.setdefault(", ".join(gpu.throttled), []).append(gpu.index)
    for reasons, cards in held.items():
        yield f"clocks: {reasons}", f"the clocks of {_cards(cards)} are held back: {reasons}"


def _data(steps: Steps | None) -> Said:
    """As ``hotlap verify``: a small share of a long step is no trouble."""
    if steps is None or steps.data_wait is None or not steps.step_seconds or steps.steps < _LOOKS:
        return
    share, goal = 100 * steps.data_wait / steps.step_seconds, GOALS["data_time_ms"]
    waits = f"a step waits {text.seconds(steps.data_wait)} for its data, {share:.0f} % of it"
    if 1e3 * steps.data_wait >= goal and share > DATA_SHARE:
        yield "data", f"{waits}; the goal is less than {goal:g} ms"
    elif share > _MUCH:
        yield "data", f"{waits}; that is less than {goal:g} ms, but much of so short a step"


def _idle(history: History) -> Said:
    recent = history.last(_RECENT)
    # What a card did while it was a guess, or was not the training's, is not the training's.
    recent = [sample for sample in recent if bool(sample.guessed) == bool(recent[-1].guessed)]
    if len(recent) < _LOOKS:
        return
    idle: dict[int, float] = {}
    for gpu in in_use(recent[-1]):
        known = [
            each.utilization
            for sample in recent
            for each in in_use(sample)
            if each.index == gpu.index and each.utilization is not None
        ]
        if len(known) >= _LOOKS and fmean(known) < GOALS["gpu_utilization"]:
            idle[gpu.index] = fmean(known)
    if idle:
        low, high = f"{min(idle.values()):.0f}", f"{max(idle.values()):.0f}"
        yield (
            "idle",
            f"{_cards(list(idle))} compute{'s' * (len(idle) == 1)} {low if low == high else f'{low} to {high}'} % of "
            f"the time, and the goal is {GOALS['gpu_utilization']:.0f} %: {_cause(recent[-1])}",
        )


def _cards(indices: list[int]) -> str:
    """``GPU 3``, ``GPUs 0 to 7`` or ``GPUs 0, 2``."""
    if len(indices) == 1:
        return f"GPU {indices[0]}"
    row = indices[-1] - indices[0] == len(indices) - 1
    return f"GPUs {indices[0]} to {indices[-1]}" if row else f"GPUs {', '.join(map(str, indices))}"


def _cause(sample: Sample) -> str:
    steps, processes = sample.steps, sample.processes
    if steps is not None and steps.step_seconds:
        parts = {name: steps.phases.get(name, 0.0) / steps.step_seconds for name in _HOST}
        name = max(parts, key=lambda name: parts[name])
        if parts[name] >= _PART:
            return f"{_HOST[name]} for {100 * parts[name]:.0f} % of a step"
    if processes is not None and (processes.main_thread or 0.0) >= _BUSY:
        return "the main thread keeps its core busy, so Python may be too slow to feed it"
    if steps is None:
        return "the training is not recorded, so why is not known (`hotlap profile` records it)"
    return "no phase of the host explains it (`hotlap profile` tells more)"


def _limit(processes: Processes | None) -> tuple[int, int] | None:
    if processes is None or processes.group_used is None or processes.group_limit is None:
        return None
    return processes.group_used, processes.group_limit


def _share(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %"


def _pace(slope: float | None) -> str:
    return f"{text.size(60 * (slope or 0.0))} a minute"


def _rounded(seconds: float) -> float:
    """To two digits: an extrapolation."""
    return float(f"{seconds:.2g}")

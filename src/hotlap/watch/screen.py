"""What a look is shown as: a screenful for a terminal, a line elsewhere. Nothing is measured here.

A screen has lines of different weight. Where it is too low, the lightest go first: graphs before figures, warnings
never. Where it is too narrow, figures go from the end of a line.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from itertools import islice
from typing import NamedTuple

from rich.cells import cell_len

from hotlap.report import text
from hotlap.report.blocks import Report, line
from hotlap.watch.graph import ASCII, BLOCKS, graph
from hotlap.watch.history import History
from hotlap.watch.sample import Gpu, Sample, Steps, in_use
from hotlap.watch.words import LABEL, clock, cut, elapsed, fields, of, percent, process_count, rate, shares

_MOST_ROWS = 4
#: From this many cards on there is one curve, of their mean.
_MANY = 3
#: The weight of a row of a curve.
_CURVE = 4


class Header(NamedTuple):
    name: str
    pid: int
    command: list[str]


class _Line(NamedTuple):
    #: 0 stays.
    weight: int
    content: str
    style: str = ""


#: Draws a figure of each look, up to a greatest value, with a label.
Curve = Callable[..., list[_Line]]


def screen(header: Header, history: History, width: int, height: int, *, blocks: bool) -> Report:
    """Return what fits into so many cells. ``blocks``: whether the terminal can show block characters."""
    levels = BLOCKS if blocks else ASCII
    lines = _lines(header, history, width, 1, levels)
    curves = sum(each.weight == _CURVE for each in lines)
    rows = min(_MOST_ROWS, 1 + (height - len(lines)) // curves) if curves else 1
    if rows > 1:
        lines = _lines(header, history, width, rows, levels)
    while len(lines) > height and (heaviest := max(each.weight for each in lines)):
        del lines[max(i for i, each in enumerate(lines) if each.weight == heaviest)]
    return Report([line(cut(each.content, width), each.style) for each in lines[:height]])


def glance(header: Header, history: History, width: int) -> Report:
    """Return one look, without curves."""
    lines = _lines(header, history, width, 0, ASCII)[:-1]
    return Report([line(cut(each.content, width), each.style) for each in lines])


def _lines(header: Header, history: History, width: int, rows: int, levels: str) -> list[_Line]:
    sample = history.samples[-1]
    warnings = [
        _Line(0, words, "bold yellow")
        for warning in sample.warnings
        for words in textwrap.wrap(warning.text, max(20, width - 2), initial_indent="! ", subsequent_indent="  ")
    ]
    notes = [_Line(6, words, "dim") for missing in sample.missing for words in textwrap.wrap(missing, max(20, width))]

    def curve(of: Callable[[Sample], float | None], top: float | None, unit: str = "") -> list[_Line]:
        cells = max(0, width - LABEL)
        recent = islice(history.samples, max(0, len(history.samples) - cells), None)
        drawn = graph([of(each) for each in recent], cells, rows, top, levels)
        labels = [unit, *[""] * rows][:rows]
        return [_Line(_CURVE, f"{label:{LABEL}}{row}", "cyan") for label, row in zip(labels, drawn, strict=True)]

    return [
        *_header(header, sample, width),
        _Line(3, ""),
        *_steps(sample, width),
        *(curve(_step_seconds, None, "  time") if sample.steps is not None else []),
        *_gpus(sample, width, curve),
        *_machine(sample, width, curve),
        *([_Line(3, "")] if warnings else []),
        *warnings,
        *([_Line(5, ""), *notes] if notes else []),
        _Line(2, "Ctrl-C ends the watch and prints its summary", "dim"),
    ]


def _step_seconds(sample: Sample) -> float | None:
    return None if sample.steps is None else sample.steps.step_seconds


def _header(header: Header, sample: Sample, width: int) -> list[_Line]:
    count = "" if sample.processes is None else f", {process_count(sample.processes.count)}"
    process = "" if header.name.endswith(f" {header.pid}") else f" (process {header.pid})"
    left = f"{header.name}{process}{count}"
    right = f"{clock(sample.time)}, {elapsed(sample.elapsed)}"
    gap = width - cell_len(left) - cell_len(right)
    return [
        _Line(0, f"{left}{' ' * gap}{right}" if gap > 1 else cut(left, width), "bold"),
        _Line(5, text.command(header.command), "dim"),
    ]


def _steps(sample: Sample, width: int) -> list[_Line]:
    steps = sample.steps
    if steps is None:
        return []
    rest = "" if steps.ranks == 1 else f"rank 0 of {steps.ranks}"
    parts = [_done(steps), f"{text.seconds(steps.step_seconds)} a step", text.rate(steps.samples_per_second)]
    parts += [_loss(steps), *_left(steps), rest]
    named = shares(steps.phases)
    return [_Line(0, fields("Step", parts, width)), *([_Line(2, fields("", named, width))] if named else [])]


def _done(steps: Steps) -> str:
    of = "" if steps.total is None or steps.printed is not None else f" of {steps.total:,}"
    return f"{steps.done:,}{of} done"


def _loss(steps: Steps) -> str:
    return f"loss {text.figure(steps.loss, 4)}" if steps.not_finite_since is None else "loss NaN"


def _left(steps: Steps) -> list[str]:
    if steps.seconds_left is None:
        return []
    left = f"{text.seconds(steps.seconds_left)} left"
    return [left] if steps.printed is None else [left, f"it prints {steps.printed:,}/{steps.total:,}"]


def _gpus(sample: Sample, width: int, curve: Curve) -> list[_Line]:
    found = []
    used = {gpu.index for gpu in in_use(sample)}
    few = len(sample.gpus) < _MANY
    for gpu in sample.gpus:
        found.append(_Line(0 if gpu.index in used else 2, fields(f"GPU {gpu.index}", _gpu(gpu, used), width)))
        for instance in gpu.mig:
            own = sum(process.watched for process in instance.processes or [])
            held = of(instance.memory_used, instance.memory_total)
            found.append(
                _Line(3, fields(f"  MIG {instance.index}", [held, f"* {process_count(own)}" * bool(own)], width))
            )
        if few:
            found += curve(lambda each, index=gpu.index: _utilization(each, {index}), 100.0, "  used")
    if not few:
        found += curve(lambda each: _utilization(each, {gpu.index for gpu in in_use(each)} or None), 100.0, "  mean")
    return found


def _gpu(gpu: Gpu, used: set[int]) -> list[str]:
    if gpu.lost:
        return ["lost: the driver no longer reaches it"]
    clock = text.NA if gpu.clock is None else f"{gpu.clock:,} MHz"
    power = text.NA if gpu.power is None else f"{gpu.power:.0f} W"
    limit = "" if gpu.power_limit is None else f" of {gpu.power_limit:.0f} W"
    return [
        f"{percent(gpu.utilization)} used",
        of(gpu.memory_used, gpu.memory_total),
        f"{power}{limit}",
        f"{clock}{' (held back)' if gpu.throttled else ''}",
        "" if gpu.temperature is None else f"{gpu.temperature} C",
        _shareof(gpu),
        (gpu.name or "") + (" *" if gpu.index in used else ""),
    ]


def _shareof(gpu: Gpu) -> str:
    """What the training has of a card, and who else is there."""
    own = [process for process in gpu.all_processes if process.watched]
    others = len(gpu.all_processes) - len(own)
    known = [process.memory for process in own if process.memory is not None]
    parts = [f"training {text.size(sum(known))}"] if known else []
    return ", ".join([*parts, *([f"{process_count(others)} of others"] if own and others else [])])


def _utilization(sample: Sample, indices: set[int] | None) -> float | None:
    known = [
        gpu.utilization
        for gpu in sample.gpus
        if gpu.utilization is not None and (indices is None or gpu.index in indices)
    ]
    return sum(known) / len(known) if known else None


def _machine(sample: Sample, width: int, curve: Curve) -> list[_Line]:
    machine, processes = sample.machine, sample.processes
    cpu = [f"{percent(machine.cpu)} of all cores"]
    memory = [of(machine.memory_used, machine.memory_total)]
    disk = [f"read {rate(machine.disk_read)}, write {rate(machine.disk_write)}"]
    lines = []
    if processes is not None:
        main = text.NA if processes.main_thread is None else f"{100 * processes.main_thread:.0f} %"
        cores = text.NA if processes.cpu is None else f"{processes.cpu:.2f}"
        cpu += [f"training {cores} of {machine.cores} cores", f"its main thread {main} of one"]
        memory += [f"training {text.size(processes.pss)} (PSS), of it {text.size(processes.uss)} unshared (USS)"]
        if processes.group_limit is not None:
            memory.append(f"group {of(processes.group_used, processes.group_limit)}")
        disk.append(f"training {rate(processes.disk_read)}, {rate(processes.disk_write)}")
        busy = ", ".join(percent(None if each.cpu is None else 100 * each.cpu) for each in processes.workers)
        words = f"{len(processes.workers)}: {busy} of a core" if processes.workers else "none"
        lines.append(_Line(3, fields("Workers", [words], width)))
    disk.append(f"waited for {percent(machine.disk_wait)} of the time")
    return [
        _Line(1, fields("CPU", cpu, width)),
        *curve(lambda each: each.machine.cpu, 100.0, "  busy"),
        _Line(1, fields("Memory", memory, width)),
        *curve(lambda each: float(each.machine.memory_used), float(machine.memory_total), "  used"),
        *lines,
        _Line(5, fields("Disk", disk, width)),
        _Line(5, fields("Network", [f"received {rate(machine.net_received)}, sent {rate(machine.net_sent)}"], width)),
    ]


def row(sample: Sample) -> str:
    """Return a look as one line, for where nothing can be drawn."""
    steps, machine, processes = sample.steps, sample.machine, sample.processes
    parts = [clock(sample.time)]
    if steps is not None:
        parts += [
            f"{steps.done:,} steps",
            text.seconds(steps.step_seconds),
            text.rate(steps.samples_per_second),
            _loss(steps),
            f"data {text.seconds(steps.data_wait)}",
            *_left(steps)[:1],
        ]
    for gpu in in_use(sample) or sample.gpus:
        parts.append(f"GPU {gpu.index} {'lost' if gpu.lost else percent(gpu.utilization)} {text.size(gpu.memory_used)}")
    parts.append(f"CPU {percent(machine.cpu)}")
    parts.append(f"memory {of(machine.memory_used, machine.memory_total)}")
    if processes is not None:
        parts.append(f"training {text.size(processes.pss)}")
    return "  ".join(part for part in parts if part)

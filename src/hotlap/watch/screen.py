"""What a watch shows: a screenful for a terminal, a line a look elsewhere, and the summary. Nothing is measured here.

A screen has lines of different weight. Where it is too low, the lightest go first: graphs before figures, warnings
never. Where it is too narrow, figures go from the end of a line.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.console import RenderableType

from hotlap.report import text
from hotlap.report.blocks import Report, blank, bullets, fit, heading, labelled, line, prose, table
from hotlap.watch.graph import ASCII, BLOCKS, graph
from hotlap.watch.history import History
from hotlap.watch.sample import Gpu, Sample, Steps, in_use
from hotlap.watch.summary import Figure, GpuSummary, Summary

_LABEL = 9
_MOST_ROWS = 4
#: From this many cards on there is one curve, of their mean.
_MANY = 3
_GAP = "  "
#: Phases that are named on a screen.
_PHASES = 6
#: ... and of these, in a line of the summary.
_A_LINE = 4
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
    return Report([line(_cut(each.content, width), each.style) for each in lines[:height]])


def glance(header: Header, history: History, width: int) -> Report:
    """Return one look, without curves."""
    lines = _lines(header, history, width, 0, ASCII)[:-1]
    return Report([line(_cut(each.content, width), each.style) for each in lines])


def _lines(header: Header, history: History, width: int, rows: int, levels: str) -> list[_Line]:
    sample = history.samples[-1]
    warnings = [
        _Line(0, words, "bold yellow")
        for warning in sample.warnings
        for words in textwrap.wrap(warning.text, max(20, width - 2), initial_indent="! ", subsequent_indent="  ")
    ]
    notes = [_Line(6, words, "dim") for missing in sample.missing for words in textwrap.wrap(missing, max(20, width))]

    def curve(of: Callable[[Sample], float | None], top: float | None, unit: str = "") -> list[_Line]:
        values = [of(each) for each in history.samples]
        drawn = graph(values, max(0, width - _LABEL), rows, top, levels)
        labels = [unit, *[""] * rows][:rows]
        return [_Line(_CURVE, f"{label:{_LABEL}}{cells}", "cyan") for label, cells in zip(labels, drawn, strict=True)]

    return [
        *_header(header, sample, width),
        _Line(3, ""),
        *_steps(sample, width),
        *(curve(_step_ms, None, "  time") if sample.steps is not None else []),
        *_gpus(sample, width, curve),
        *_machine(sample, width, curve),
        *([_Line(3, "")] if warnings else []),
        *warnings,
        *([_Line(5, ""), *notes] if notes else []),
        _Line(2, "Ctrl-C ends the watch and prints its summary", "dim"),
    ]


Curve = Callable[..., list[_Line]]


def _step_ms(sample: Sample) -> float | None:
    return None if sample.steps is None else sample.steps.step_seconds


def _header(header: Header, sample: Sample, width: int) -> list[_Line]:
    count = "" if sample.processes is None else f", {_processes(sample.processes.count)}"
    left = f"{header.name}{'' if str(header.pid) in header.name else f' (process {header.pid})'}{count}"
    right = f"{_clock(sample.time)}, {_elapsed(sample.elapsed)}"
    gap = width - cell_len(left) - cell_len(right)
    return [
        _Line(0, f"{left}{' ' * gap}{right}" if gap > 1 else _cut(left, width), "bold"),
        _Line(4, text.command(header.command), "dim"),
    ]


def _steps(sample: Sample, width: int) -> list[_Line]:
    steps = sample.steps
    if steps is None:
        return []
    rest = "" if steps.ranks == 1 else f"rank 0 of {steps.ranks}"
    parts = [_done(steps), f"{text.seconds(steps.step_seconds)} a step", text.rate(steps.samples_per_second)]
    parts += [f"loss {text.figure(steps.loss, 4)}" if not steps.not_finite else "loss NaN", *_left(steps), rest]
    shares = sorted(steps.phases.items(), key=lambda each: -each[1])[:_PHASES]
    whole = sum(steps.phases.values())
    named = [f"{name} {100 * seconds / whole:.0f} %" for name, seconds in shares if whole and seconds >= 0.005 * whole]
    return [_Line(0, _fields("Step", parts, width)), *([_Line(2, _fields("", named, width))] if named else [])]


def _done(steps: Steps) -> str:
    of = "" if steps.total is None or steps.printed is not None else f" of {steps.total:,}"
    return f"{steps.done:,}{of} done"


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
        found.append(_Line(0 if gpu.index in used else 2, _fields(f"GPU {gpu.index}", _gpu(gpu, used), width)))
        for instance in gpu.mig:
            own = sum(process.watched for process in instance.processes or [])
            held = _of(instance.memory_used, instance.memory_total)
            found.append(
                _Line(3, _fields(f"  MIG {instance.index}", [held, f"* {_processes(own)}" * bool(own)], width))
            )
        if few:
            found += curve(lambda each, index=gpu.index: _utilization(each, {index}), 100.0, "  used")
    if not few:
        found += curve(lambda each: _utilization(each, used or None), 100.0, "  mean")
    return found


def _gpu(gpu: Gpu, used: set[int]) -> list[str]:
    if gpu.lost:
        return ["lost: the driver no longer reaches it"]
    clock = text.NA if gpu.clock is None else f"{gpu.clock:,} MHz"
    power = text.NA if gpu.power is None else f"{gpu.power:.0f} W"
    limit = "" if gpu.power_limit is None else f" of {gpu.power_limit:.0f} W"
    return [
        f"{_percent(gpu.utilization)} used",
        _of(gpu.memory_used, gpu.memory_total),
        f"{power}{limit}",
        f"{clock}{' (held back)' if gpu.throttled else ''}",
        "" if gpu.temperature is None else f"{gpu.temperature} C",
        _share_of(gpu),
        (gpu.name or "") + (" *" if gpu.index in used else ""),
    ]


def _share_of(gpu: Gpu) -> str:
    """What the training has of a card, and who else is there."""
    own = [process for process in gpu.all_processes if process.watched]
    others = len(gpu.all_processes) - len(own)
    known = [process.memory for process in own if process.memory is not None]
    parts = [f"training {text.size(sum(known))}"] if known else []
    return ", ".join([*parts, *([f"{_processes(others)} of others"] if own and others else [])])


def _utilization(sample: Sample, indices: set[int] | None) -> float | None:
    known = [
        gpu.utilization
        for gpu in sample.gpus
        if gpu.utilization is not None and (indices is None or gpu.index in indices)
    ]
    return sum(known) / len(known) if known else None


def _machine(sample: Sample, width: int, curve: Curve) -> list[_Line]:
    machine, processes = sample.machine, sample.processes
    cpu = [f"{_percent(machine.cpu)} of all cores"]
    memory = [_of(machine.memory_used, machine.memory_total)]
    disk = [f"read {_rate(machine.disk_read)}, write {_rate(machine.disk_write)}"]
    lines = []
    if processes is not None:
        main = text.NA if processes.main_thread is None else f"{100 * processes.main_thread:.0f} %"
        cores = text.NA if processes.cpu is None else f"{processes.cpu:.2f}"
        cpu += [f"training {cores} of {machine.cores} cores", f"its main thread {main} of one"]
        memory += [f"training {text.size(processes.pss)} (PSS), of it {text.size(processes.uss)} unshared (USS)"]
        if processes.group_limit is not None:
            memory.append(f"group {_of(processes.group_used, processes.group_limit)}")
        disk.append(f"training {_rate(processes.disk_read)}, {_rate(processes.disk_write)}")
        busy = ", ".join(_percent(None if each.cpu is None else 100 * each.cpu) for each in processes.workers)
        words = f"{len(processes.workers)}: {busy} of a core" if processes.workers else "none"
        lines.append(_Line(4, _fields("Workers", [words], width)))
    disk.append(f"waited for {_percent(machine.disk_wait)} of the time")
    return [
        _Line(1, _fields("CPU", cpu, width)),
        *curve(lambda each: each.machine.cpu, 100.0, "  busy"),
        _Line(1, _fields("Memory", memory, width)),
        *curve(lambda each: float(each.machine.memory_used), float(machine.memory_total), "  used"),
        *lines,
        _Line(5, _fields("Disk", disk, width)),
        _Line(
            5, _fields("Network", [f"received {_rate(machine.net_received)}, sent {_rate(machine.net_sent)}"], width)
        ),
    ]


def row(sample: Sample) -> str:
    """Return a look as one line, for where nothing can be drawn."""
    steps, machine, processes = sample.steps, sample.machine, sample.processes
    parts = [_clock(sample.time)]
    if steps is not None:
        parts += [
            f"{steps.done:,} steps",
            text.seconds(steps.step_seconds),
            text.rate(steps.samples_per_second),
            "loss NaN" if steps.not_finite else f"loss {text.figure(steps.loss, 4)}",
            f"data {text.seconds(steps.data_wait)}",
            *_left(steps)[:1],
        ]
    for gpu in in_use(sample) or sample.gpus:
        parts.append(
            f"GPU {gpu.index} {'lost' if gpu.lost else _percent(gpu.utilization)} {text.size(gpu.memory_used)}"
        )
    parts.append(f"CPU {_percent(machine.cpu)}")
    parts.append(f"memory {_of(machine.memory_used, machine.memory_total)}")
    if processes is not None:
        parts.append(f"training {text.size(processes.pss)}")
    return "  ".join(part for part in parts if part)


_ENDED = {"training": "the training {}", "time": "the time is over", "stopped": "stopped"}


def summary(found: Summary) -> Report:
    """Return the means, the peaks and the verdicts."""
    outcome = found.outcome or "ended"
    how = "has ended" if outcome == "ended" else f"is over: {outcome}"
    ended = _ENDED[found.ended].format(how)
    why = f" ({found.reason})" if found.reason else ""
    failed = [each.name for each in found.verdicts if each.verdict == "failed"]
    told = [each for each in found.verdicts if each.verdict != "n/a"]
    said = "There is no verdict: nothing that a goal asks about was seen."
    if told:
        said = f"Missed: {', '.join(failed)}." if failed else "No goal was missed."
    if found.warnings:
        said += f" {text.plural(len(found.warnings), 'warning')}, see below."
    style = "bold red" if failed else "bold yellow" if found.warnings else "bold green" if told else "bold"
    parts = [
        blank(),
        prose(said, style=style),
        prose(
            f"{found.name}, watched for {_elapsed(found.seconds)} ({text.plural(found.looks, 'look')}); {ended}{why}.",
            style="dim",
        ),
        *heading("Means and peaks"),
        *table([("", "mean", "peak", ""), *_rows(found)], "<>><", header=True),
        *_recorded(found),
        *heading("Goals"),
    ]
    parts += [labelled(f"  {each.verdict:7} {each.name:22} ", each.evidence) for each in found.verdicts]
    if any(gpu.utilization for gpu in found.gpus if gpu.watched):
        parts += [
            blank(),
            prose(
                "Utilization is the share of the time in which anything ran on the card. It does not say how fast: "
                "judge a change by samples/s.",
                indent=2,
                style="dim",
            ),
        ]
    if found.warnings:
        parts += heading("Warnings")
        parts += bullets(
            f"{each.text} ({_span(each.first, each.last)})"
            for each in sorted(found.warnings, key=lambda one: one.first)
        )
    if found.missing:
        parts += [*heading("Not seen"), *bullets(found.missing)]
    return Report(parts)


def _rows(found: Summary) -> list[tuple[str, str, str, str]]:
    rows = [row for gpu in found.gpus for row in _gpu_rows(gpu)]
    rows.append(("CPU, all cores", *_figure(found.cpu, _percent), ""))
    rows.append(
        ("CPU, the training", *_figure(found.processes_cpu, lambda value: f"{value:.2f}"), f"of {found.cores} cores")
    )
    rows.append(
        ("memory of the machine", *_figure(found.memory_used, text.size), f"of {text.size(found.memory_total)}")
    )
    rows.append(("memory, training (PSS)", *_figure(found.pss, text.size), ""))
    return rows


def _gpu_rows(gpu: GpuSummary) -> list[tuple[str, str, str, str]]:
    name = f"GPU {gpu.index}"
    note = gpu.name or "" if gpu.watched else "not used by the training"
    held = [f"{reason} {100 * share:.0f} %" for reason, share in gpu.throttled.items()]
    return [
        (f"{name} utilization", *_figure(gpu.utilization, _percent), note),
        (f"{name} memory", *_figure(gpu.memory_used, text.size), f"of {text.size(gpu.memory_total)}"),
        (
            f"{name} power",
            *_figure(gpu.power, lambda value: f"{value:.0f} W"),
            f"clocks held back: {', '.join(held)}" if held else "",
        ),
    ]


def _figure(figure: Figure | None, show: Callable[[float], str]) -> tuple[str, str]:
    return (text.NA, text.NA) if figure is None else (show(figure.mean), show(figure.peak))


def _recorded(found: Summary) -> list[RenderableType]:
    if not found.steps:
        return []
    shares = sorted(found.phases.items(), key=lambda each: -each[1])
    whole = sum(found.phases.values())
    named = [f"{name} {100 * seconds / whole:.0f} %" for name, seconds in shares if seconds >= 0.005 * whole]
    return [
        blank(),
        prose(
            f"{text.plural(found.steps, 'step')}, {text.seconds(found.step_seconds)} each, "
            f"{text.rate(found.samples_per_second)}, loss {text.figure(found.loss, 4)} at the end",
            indent=2,
        ),
        prose(",\n".join(", ".join(named[i : i + _A_LINE]) for i in range(0, len(named), _A_LINE)), indent=2),
    ]


def _span(first: float, last: float) -> str:
    if last - first < 1:
        return f"after {_elapsed(first)}"
    return f"from {_elapsed(first)} to {_elapsed(last)}"


def _fields(label: str, parts: Sequence[str], width: int) -> str:
    """As many of the parts as fit, after the label."""
    content = f"{label:{_LABEL}}"
    for i, part in enumerate(filter(None, parts)):
        longer = content + (_GAP if i else "") + part
        if i and cell_len(longer) > width:
            break
        content = longer
    return content


def _cut(content: str, width: int) -> str:
    content = text.printable(content)
    return fit(content, width) if cell_len(content) > width else content


def _of(used: float | None, total: float | None) -> str:
    """Both in the unit of the whole."""
    if used is None or total is None:
        return f"{text.size(used)} of {text.size(total)}" if total is not None or used is not None else text.NA
    number, _, unit = text.size(total).partition(" ")
    factor = {"TB": 1e12, "GB": 1e9, "MB": 1e6, "kB": 1e3}.get(unit, 1.0)
    return f"{used / factor:.1f} of {number} {unit}"


def _percent(value: float | None) -> str:
    return text.NA if value is None else f"{value:.0f} %"


def _rate(value: float | None) -> str:
    return text.NA if value is None else f"{text.size(value)}/s"


def _elapsed(seconds: float) -> str:
    """As a stop watch shows it."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if minutes >= 60 else f"{minutes}:{rest:02d}"


def _processes(count: int) -> str:
    return f"{count:,} process{'' if count == 1 else 'es'}"


def _clock(now: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(now))

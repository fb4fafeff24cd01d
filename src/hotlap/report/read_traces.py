"""What traces of torch.profiler say, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType

from hotlap.records import TraceComparison, TracedDevice, TracedRank, TracedShift, TraceReading
from hotlap.report import terminal, text
from hotlap.report.blocks import Report, blank, bullets, filled, heading, labelled, prose, table

_SHOWN = 8
_STEPS = 12
_BAR = 16
#: Of a kernel's name: templates have names of hundreds of characters.
_NAME = 48
_NAMES = {
    "computing": "computing",
    "communication": "communication alone",
    "copies": "copies alone",
    "data_wait": "loading data",
    "synchronisation": "after a host sync",
    "copy": "the host copies",
    "profiler": "the profiler",
    "host": "launches late",
    "between_kernels": "between kernels",
    "unknown": "cause unknown",
}
_HOST = {
    "data_wait": "loading data",
    "synchronisation": "waiting for the device",
    "copy": "calls to copy",
    "optimizer": "optimizer",
    "backward": "backward",
    "operators": "other operators",
    "outside": "outside of operators",
}
_PHASES = {
    "forward": "forward and the rest",
    "backward": "backward",
    "recompute": "recompute",
    "optimizer": "optimizer",
    "communication": "communication",
    "copies": "copies",
    "unknown": "launched by no known call",
}
_MARKS = {
    "ProfilerStep": "marked by the profiler",
    "optimizer": "told by the ends of the optimizer's steps",
    "whole": "no step is marked, so the whole trace counts as one",
}


def reading(found: TraceReading) -> Report:
    """Return where the time of a step goes, and why; of several ranks in full for the first."""
    first = found.ranks[0]
    parts: list[RenderableType] = [
        prose(headline(first), style="bold"),
        blank(),
        *(prose(_about(rank), style="dim") for rank in found.ranks[:1]),
        *_device(first),
        *_host(first),
        *_ranks(found.ranks),
        *terminal.findings(found.findings),
        *terminal.will_not_help(found.will_not_help),
        *_steps(first),
        *_kernels(first),
        *_operators(first),
        *heading("Also"),
        *bullets(sentences(first)),
    ]
    return Report(parts)


def headline(rank: TracedRank) -> str:
    what = "The trace" if rank.marks == "whole" else "A step"
    device = rank.device
    if device is None:
        return f"{what} takes {text.seconds(rank.step_seconds)} on the host; the trace shows no device."
    share = sum(device.idle.values()) / rank.step_seconds
    cause, spent = max(device.idle.items(), key=lambda each: each[1])
    sentence = (
        f"{what} takes {text.seconds(rank.step_seconds)}; the device does nothing for {text.percent(share)} of it"
    )
    if spent >= 0.5 * share * rank.step_seconds and share >= 0.01:
        sentence += f", mostly {_IDLE[cause]}"
    if device.communication > device.computing:
        sentence += f", and waits in communication for {text.percent(device.communication / rank.step_seconds)}"
    return sentence + "."


_IDLE = {
    "data_wait": "while the host loads data",
    "synchronisation": "after the host has waited for it",
    "copy": "while the host copies",
    "profiler": "for the profiler's own work",
    "host": "because launches come late",
    "between_kernels": "between kernels that were launched in time",
    "unknown": "for a reason that the trace does not show",
}


def _about(rank: TracedRank) -> str:
    name = f"{rank.path}: {text.plural(rank.events, 'event')}, {text.size(rank.bytes)} unpacked"
    if rank.rank is not None:
        name += f", rank {rank.rank}" + (f" of {rank.ranks}" if rank.ranks else "")
    if rank.device:
        name += f", {rank.device.name or 'device'} ({rank.device.number})"
    steps = "" if rank.marks == "whole" else f"{text.plural(len(rank.steps), 'step')}, "
    return f"{name}; {steps}{_MARKS[rank.marks]}"


def _of_step(rank: TracedRank) -> str:
    return "(the whole trace)" if rank.marks == "whole" else f"(mean of {text.plural(len(rank.steps), 'step')})"


def _device(rank: TracedRank) -> list[RenderableType]:
    device = rank.device
    if device is None:
        return []
    shown = text.unit([rank.step_seconds])
    rows = [(_NAMES[name], getattr(device, name)) for name in ("computing", "communication", "copies")]
    rows += [(f"idle: {_NAMES[cause]}", spent) for cause, spent in device.idle.items()]
    cells = _shares([(name, spent) for name, spent in rows if spent > 0], rank.step_seconds, shown)
    title = "A step of the device" if rank.marks != "whole" else "The device"
    return [*heading(f"{title} {_of_step(rank)}"), *table(cells, "<>><")]


def _host(rank: TracedRank) -> list[RenderableType]:
    total = sum(rank.host.values())
    shown = text.unit([total])
    cells = _shares([(_HOST[name], spent) for name, spent in rank.host.items() if spent > 0], total, shown)
    return [*heading(f"The host's main thread {_of_step(rank)}"), *table(cells, "<>><")]


def _shares(rows: Sequence[tuple[str, float]], whole: float, shown: text.Unit) -> list[tuple[str, str, str, str]]:
    cells = [
        (name, shown(spent), text.percent(spent / whole), filled(spent / whole, _BAR)) for name, spent in rows if whole
    ]
    return [*cells, ("together", shown(whole), "100.0 %", "")]


def _ranks(ranks: Sequence[TracedRank]) -> list[RenderableType]:
    if len(ranks) < 2:
        return []
    shown = text.unit(rank.step_seconds for rank in ranks)
    cells: list[tuple[str, ...]] = [("rank", "step", "computing", "communication", "of it alone", "idle")]
    for rank in ranks:
        device = rank.device
        figures: tuple[float | None, ...] = (None,) * 4
        if device is not None:
            figures = (device.computing, device.communicating, device.communication, sum(device.idle.values()))
        cells.append((str(rank.rank), *(shown(each) for each in (rank.step_seconds, *figures))))
    return [*heading("The ranks"), *table(cells, ">>>>>>", header=True)]


def _steps(rank: TracedRank) -> list[RenderableType]:
    if rank.marks == "whole" or len(rank.steps) < 2:
        return []
    shown = text.unit(step.seconds for step in rank.steps)
    cells: list[tuple[str, ...]] = [("step", "takes", "on the host", "computing", "idle", "loading data")]
    for step in rank.steps[:_STEPS]:
        figures = (step.seconds, step.host, step.computing, step.idle, step.data_wait)
        cells.append((step.name, *(shown(each) for each in figures)))
    parts = [*heading("Step by step"), *table(cells, "<>>>>>", header=True)]
    if len(rank.steps) > _STEPS:
        parts.append(prose(f"and {len(rank.steps) - _STEPS} more", indent=2, style="dim"))
    return parts


def _kernels(rank: TracedRank) -> list[RenderableType]:
    if not rank.kernels:
        return []
    shown = text.unit(each.seconds for each in rank.kernels)
    cells = [("device", "calls", "kernel")]
    cells += [(shown(each.seconds), text.figure(each.calls), _short(each.name)) for each in rank.kernels[:_SHOWN]]
    return [*heading(f"Kernels {_of_step(rank)}"), *table(cells, ">><", header=True)]


def _operators(rank: TracedRank) -> list[RenderableType]:
    if not rank.operators:
        return []
    on_device = rank.device is not None
    order = sorted(rank.operators, key=lambda each: -(each.self_device if on_device else each.self_host))[:_SHOWN]
    shown = text.unit(max(each.total_host, each.total_device) for each in order)
    cells = [("self", "total", *(("self dev.", "total dev.") if on_device else ()), "calls", "operator")]
    for each in order:
        device = (shown.number(each.self_device), shown.number(each.total_device)) if on_device else ()
        host = (shown.number(each.self_host), shown.number(each.total_host))
        cells.append((*host, *device, text.figure(each.calls), _short(each.name)))
    title = f"Operators, in {shown.name} {_of_step(rank)}"
    return [*heading(title), *table(cells, ">" * (len(cells[0]) - 1) + "<", header=True)]


def _short(name: str, most: int = _NAME) -> str:
    """Return a name without what all of them have: namespaces of torch, and the parameters of kernels."""
    if name.endswith(")") and not name.startswith(("Memcpy", "Memset")):
        name = name.removeprefix("void ")
        end = name.rfind(">(")
        name = name[: end + 1] if end > 0 else name.partition("(")[0] or name
    for namespace in ("at::native::", "aten::", "at::detail::"):
        name = name.replace(namespace, "")
    return text.shorten(name, most)


def sentences(rank: TracedRank) -> list[str]:
    """Return what is known besides."""
    device, said = rank.device, []
    if device is None:
        said.append("The trace holds nothing of a device: operators are all that can be said, with the host's time.")
    else:
        said += _of_device(device)
    if rank.recompute_host is not None:
        on_device = "" if rank.recompute_device is None else f", {text.seconds(rank.recompute_device)} on the device"
        said.append(
            f"Activations are computed again (activation checkpointing): {text.seconds(rank.recompute_host)} on the "
            f"host{on_device}."
        )
    if rank.memory is None:
        said.append("Memory was not recorded (`profile_memory=True` does).")
    elif rank.memory.peak_allocated is None:
        said.append("Allocations were recorded without their total, so the peak of memory is not known.")
    else:
        peak, reserved = text.size(rank.memory.peak_allocated), text.size(rank.memory.peak_reserved)
        said.append(f"At most {peak} of the device were allocated, and {reserved} reserved.")
    if rank.loader is None:
        said.append("No DataLoader was seen: waiting for another kind of loader would show outside of operators.")
    return said + rank.notes


def _of_device(device: TracedDevice) -> list[str]:
    said = []
    launched = device.launches
    if launched is not None:
        said.append(
            f"From a launch to its kernel: {text.seconds(launched.median_delay)} (median), "
            f"{text.seconds(launched.p90_delay)} (9 of 10). {text.figure(launched.mean_queue)} are waiting on average, "
            f"{launched.most_queued:,} at most, and none for {text.percent(launched.empty_share)} of the time."
        )
    if device.overlap is not None:
        said.append(
            f"Communication takes {text.seconds(device.communicating)}, and {text.percent(device.overlap)} of it runs "
            "beside computing."
        )
    phases = sorted(device.by_phase.items(), key=lambda each: -each[1])
    told = ", ".join(f"{_PHASES[name]} {text.seconds(spent)}" for name, spent in phases)
    said.append(f"Kernels by what launched them: {told}.")
    if device.others:
        others = ", ".join(map(str, device.others))
        said.append(f"The process also used the devices {others}; all this is of device {device.number}.")
    return said


def comparison(found: TraceComparison) -> Report:
    """Return the parts of a step in A and in B, and what differs most."""
    a, b = found.a.ranks[0], found.b.ranks[0]
    on_device = a.device is not None and b.device is not None
    names = {name: f"idle: {label}" for name, label in (("idle_" + key, value) for key, value in _NAMES.items())}
    labels = {**_NAMES, **names} if on_device else _HOST
    step = TracedShift(name="step", a=a.step_seconds, b=b.step_seconds)
    parts: list[RenderableType] = [
        prose(_difference(a, b), style="bold"),
        blank(),
        labelled("A  ", _about(a), style="dim"),
        labelled("B  ", _about(b), style="dim"),
        *heading("A step of the device" if on_device else "A step of the host's main thread"),
        *_shifts([*(each for each in found.parts if each.a or each.b), step], {**labels, "step": "together"}, "part"),
        *heading("Kernels that differ most") * bool(found.kernels),
        *_shifts(found.kernels[:_SHOWN], {}, "kernel", calls=True),
        *heading(f"Operators that differ most ({'device' if on_device else 'host'}, self)") * bool(found.operators),
        *_shifts(found.operators[:_SHOWN], {}, "operator", calls=True),
        blank(),
        prose(
            "Two traces show where they differ, not that one is faster: tracing slows a training down, and both hold "
            "few steps. `hotlap compare` measures that.",
            indent=2,
            style="dim",
        ),
    ]
    return Report(parts)


def _difference(a: TracedRank, b: TracedRank) -> str:
    ratio = b.step_seconds / a.step_seconds
    how = (
        f"{text.percent(abs(1 - ratio))} {'shorter' if ratio < 1 else 'longer'}" if round(ratio, 3) != 1 else "as long"
    )
    return f"A step takes {text.seconds(a.step_seconds)} in A and {text.seconds(b.step_seconds)} in B: {how}."


def _shifts(
    rows: Sequence[TracedShift], labels: dict[str, str], what: str, *, calls: bool = False
) -> list[RenderableType]:
    if not rows:
        return []
    shown = text.unit(value for row in rows for value in (row.a or 0.0, row.b or 0.0))
    cells = [("A", "B", "difference", *(("calls A", "calls B") if calls else ()), what)]
    for row in rows:
        before, after = ("none" if value is None else shown(value) for value in (row.a, row.b))
        counted = tuple("none" if each is None else text.figure(each) for each in (row.a_calls, row.b_calls))
        name = labels.get(row.name, _short(row.name, 28))
        cells.append((before, after, shown.signed((row.b or 0.0) - (row.a or 0.0)), *(counted if calls else ()), name))
    return [*table(cells, ">" * (len(cells[0]) - 1) + "<", header=True)]

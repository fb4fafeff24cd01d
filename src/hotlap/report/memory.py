"""What the memory of a training is made of, for the terminal and the page."""

from __future__ import annotations

from rich.console import RenderableType

from hotlap.records import Diagnosis, Growth, MemoryReport
from hotlap.report import text
from hotlap.report.blocks import bullets, filled, heading, prose, table

_BAR = 24


def memory(diagnosis: Diagnosis) -> list[RenderableType]:
    """Return the section, or nothing where nothing is known."""
    report = diagnosis.memory
    if not report.parts and report.trainer is None and not report.dataset_said:
        return []
    lines: list[RenderableType] = []
    if report.parts:
        cells = [
            (part.name, text.size(part.bytes), text.percent(part.share), filled(part.share, _BAR))
            for part in report.parts
        ]
        lines += table([*cells, ("peak of a step", text.size(report.peak), "100.0 %", "")], "<>><")
        lines.append(prose(peak_note(report), indent=2, style="dim"))
    cells_of_processes = processes(report)
    if cells_of_processes:
        lines += table([PROCESSES, *cells_of_processes], "<>>>", header=True)
    lines += [prose(sentence, indent=2) for sentence in growths(report)]
    lines += bullets(report.dataset_said)
    return [*heading("Memory"), *lines]


PROCESSES = ("process", "resident", "proportional", "private")


def processes(report: MemoryReport) -> list[tuple[str, str, str, str]]:
    """Return what each kind of process holds, in the columns of ``PROCESSES``."""
    trainer = report.trainer
    if trainer is None:
        return []
    rows = [("training", text.size(trainer.rss), text.size(trainer.pss), text.size(trainer.uss))]
    if report.workers:
        held = (report.workers_rss, report.workers_pss, report.workers_uss)
        resident, proportional, private = map(text.size, held)
        rows.append((text.plural(report.workers, "worker"), resident, proportional, private))
    return rows


def growths(report: MemoryReport) -> list[str]:
    """Return what is in swap, and what grows over the steps, a sentence each."""
    said = [f"{text.size(report.swap)} of all are in swap."] if report.swap and report.trainer is not None else []
    for who, growth in (("The training process", report.growth), ("The GPU's memory", report.device_growth)):
        if growth is not None:
            said.append(_growth(who, growth))
    if report.workers_growth is not None:
        said.append(report.workers_growth)
    return said


def peak_note(report: MemoryReport) -> str:
    return _peak(report.device, report.peak_phase)


def _peak(device: str | None, phase: str | None) -> str:
    where = "allocated on the GPU" if device == "cuda" else "resident in the process, with its libraries"
    when = f"highest at the end of {phase}" if phase else "the same all through the step"
    return f"Of what is {where}: {when}."


def _growth(who: str, growth: Growth) -> str:
    why = ", as its inputs did" if growth.with_inputs else ""
    return f"{who} grew by {text.size(growth.bytes)} from step {growth.start} to step {growth.end}{why}."

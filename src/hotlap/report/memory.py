"""What the memory of a training is made of, for the terminal."""

from __future__ import annotations

from rich.console import RenderableType

from hotlap.records import Diagnosis, Growth
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
        lines.append(prose(_peak(report.device, report.peak_phase), indent=2, style="dim"))
    if report.trainer is not None:
        lines += _processes(diagnosis)
    for who, growth in (("The training process", report.growth), ("The GPU's memory", report.device_growth)):
        if growth is not None:
            lines.append(prose(_growth(who, growth), indent=2))
    if report.workers_growth is not None:
        lines.append(prose(report.workers_growth, indent=2))
    lines += bullets(report.dataset_said)
    return [*heading("Memory"), *lines]


def _peak(device: str | None, phase: str | None) -> str:
    where = "allocated on the GPU" if device == "cuda" else "resident in the process, with its libraries"
    when = f"highest at the end of {phase}" if phase else "the same all through the step"
    return f"Of what is {where}: {when}."


def _processes(diagnosis: Diagnosis) -> list[RenderableType]:
    report = diagnosis.memory
    trainer = report.trainer
    assert trainer is not None
    rows = [("process", "resident", "proportional", "private")]
    rows.append(("training", text.size(trainer.rss), text.size(trainer.pss), text.size(trainer.uss)))
    if report.workers:
        figures = (text.size(each) for each in (report.workers_rss, report.workers_pss, report.workers_uss))
        rows.append((text.plural(report.workers, "worker"), *figures))  # type: ignore[arg-type]
    lines: list[RenderableType] = list(table(rows, "<>>>", header=True))
    if report.swap:
        lines.append(prose(f"{text.size(report.swap)} of all are in swap.", indent=2))
    return lines


def _growth(who: str, growth: Growth) -> str:
    why = ", as its inputs did" if growth.with_inputs else ""
    return f"{who} grew by {text.size(growth.bytes)} from step {growth.start} to step {growth.end}{why}."

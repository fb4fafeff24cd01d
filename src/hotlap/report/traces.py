"""What a closer look at a few steps showed: the section of the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType

from hotlap.records import Diagnosis, Operator, Run, Trace
from hotlap.report import text
from hotlap.report.blocks import bullets, heading, table

_SHOWN = 8
#: Of a name: templates of kernels have names of hundreds of characters.
_NAME = 40


def closer_look(run: Run, diagnosis: Diagnosis) -> list[RenderableType]:
    """Return the section of a profile, nothing where no step was traced."""
    trace = run.trace
    if trace is None:
        return []
    parts = heading(f"A closer look ({text.plural(trace.steps, 'traced step')})")
    parts += _operators("operator", trace.operators)
    parts += _operators("kernel", trace.kernels)
    return [*parts, *bullets(sentences(trace, diagnosis))]


def sentences(trace: Trace, diagnosis: Diagnosis) -> list[str]:
    """Return what is known beside the operators: the device, the operations, the file."""
    said = []
    if trace.untraced:
        said.append(f"Nothing was traced, because {trace.untraced}.")
    if trace.device_busy is not None and trace.device_window:
        idle = max(0.0, 1 - trace.device_busy / trace.device_window)
        said.append(f"The device ran nothing for {text.percent(idle)} of the traced time.")
    if trace.flops:
        reached = trace.flops / diagnosis.step_seconds
        sentence = (
            f"A step has {_large(trace.flops, 'FLOP')} (2 for each multiply-add of matrix products, convolutions "
        )
        sentence += f"and attention, recomputing included), so the median step reaches {_large(reached, 'FLOP/s')}"
        if trace.peak:
            sentence += (
                f", {text.percent(reached / trace.peak)} of the {_large(trace.peak, 'FLOP/s')} that this machine "
            )
            sentence += f"reaches in a large {trace.peak_dtype} matrix product"
        else:
            sentence += "; what the machine could reach was not measured"
        said.append(f"{sentence}.")
    elif trace.flops is not None:
        said.append("No matrix product, convolution or attention was counted in a step.")
    elif trace.uncounted:
        said.append(f"Floating-point operations: {text.NA}, because {trace.uncounted}.")
    if trace.bytes is not None:
        said.append(f"trace.json.gz in the run directory ({text.size(trace.bytes)}) opens in https://ui.perfetto.dev.")
    elif trace.events:
        said.append(f"The trace of {trace.events:,} events is too large for a viewer, and was not saved.")
    return said


def _operators(kind: str, operators: Sequence[Operator]) -> list[RenderableType]:
    if not operators:
        return []
    shown = text.unit(each.seconds for each in operators)
    cells = [("self time", "calls", kind)]
    cells += [
        (shown(each.seconds), text.figure(each.calls), text.shorten(each.name, _NAME)) for each in operators[:_SHOWN]
    ]
    return [*table(cells, ">><", header=True)]


def _large(value: float, unit: str) -> str:
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{text.figure(value / factor)} {prefix}{unit}"
    return f"{text.figure(value)} {unit}"

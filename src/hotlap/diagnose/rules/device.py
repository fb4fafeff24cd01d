"""A device that could do more than it is given."""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.rules.base import Rule, part, percent, plural
from hotlap.diagnose.thresholds import DRY, WAITING_SHARE
from hotlap.records import COMPUTING, Finding

#: Phases in which work is handed over to the device.

_COMPILED = (
    "It is compiled already: `mode='reduce-overhead'` records its kernels as CUDA graphs, and what runs outside of the "
    "compiled part is handed over one by one. Else give the device more for each operation, with a larger batch (this "
    "is another training)."
)


class DeviceWaits(Rule):
    code = "HOST07"
    title = "The device waits for the host, which hands over many small operations"
    meaning = (
        "Python and the dispatch of operators take longer than the GPU takes to compute them. It has done what it was "
        "given before it is given more, so a faster GPU would not make the step shorter."
    )
    evidence_needed = (
        "Events of the GPU at the marks of single steps that are watched: it comes to most of those that end a phase "
        "of computing within 0.1 ms, so that hardly anything was waiting for it. And its own seconds in these phases, "
        "from a step for which it was held back until the host was ahead: less than the host's by a tenth of the step."
    )
    remedy = (
        "Give it more for each operation, with a larger batch (this is another training), or hand over fewer of them: "
        "`torch.compile`, with `mode='reduce-overhead'` as CUDA graphs, fused optimizers, and batched operations in "
        "place of Python loops over tensors."
    )
    limits = (
        "The bound takes the host's work away until the GPU's own is left. Only the stream of the training is seen; "
        "kernels that run beside it in others, and copies, are not."
    )
    changes = ("compile",)

    def check(self, context: Context) -> Finding | None:
        seen, device = context.run.device, context.device_seconds(*COMPUTING)
        if seen is None or device is None or seen.dry < DRY:
            return None
        host = context.seconds(*COMPUTING)
        evidence = [
            f"Handing work over takes the host {part(context, host)}, doing it the device {part(context, device)}.",
            f"At {percent(seen.dry)} of the marks the device had hardly anything left to do.",
            f"It works {_bounds(seen.busy_at_least, seen.busy_at_most)} of the step.",
        ]
        if context.facts.module_calls:
            evidence.append(f"The host calls {plural(context.facts.module_calls, 'module')} in a step.")
        remedy: str = self.remedy
        changes: tuple[str, ...] = self.changes
        if context.facts.compiled:
            remedy, changes = _COMPILED, ()
        return self.finding(context, host - device, evidence, least=WAITING_SHARE, remedy=remedy, changes=changes)


def _bounds(at_least: float, at_most: float) -> str:
    low, high = percent(at_least), percent(at_most)
    return low if low == high else f"{low} to {high}"

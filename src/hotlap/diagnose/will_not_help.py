"""Remedies that people try and that cannot pay in this training, with the most that they could give."""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.rules.base import bound, part, saved
from hotlap.diagnose.rules.conclusion import TooLittle
from hotlap.diagnose.rules.precision import bf16_speedup
from hotlap.diagnose.thresholds import FEW_STEPS_MARGIN, MACHINE_GAIN, WORTH_TRYING
from hotlap.records import WillNotHelp

#: Phase, remedy, what it does, and the codes of the findings that say the opposite.
_REMEDIES = (
    ("data_wait", "more workers, faster storage or a bigger cache", "waiting for data", "DATA"),
    ("optimizer", "a faster optimizer", "the optimizer", "OPTIMIZER"),
    ("recompute", "less activation checkpointing", "recomputing activations", "CHECKPOINT"),
    ("host_to_device", "pinned memory or non-blocking copies", "copying to the device", "COPY"),
    ("gradient_sync", "faster or rarer gradient synchronisation", "gradient synchronisation", "DISTRIBUTED"),
    ("loss", "a cheaper loss", "the loss", "LOSS"),
    ("validation", "validating less often", "validation", "LOOP01"),
    ("checkpoint", "writing checkpoints less often", "writing checkpoints", "LOOP02"),
    ("logging", "logging less", "logging", "LOOP03"),
)
#: What a GPU does while the host is elsewhere.
_ON_DEVICE = {"optimizer", "recompute", "gradient_sync", "loss"}


def will_not_help(context: Context) -> list[WillNotHelp]:
    """Return the remedies whose bound is under 1.05, for phases that were seen at all."""
    codes = [finding.code for finding in context.found]
    margin = FEW_STEPS_MARGIN if TooLittle.code in codes else 1.0
    items = []
    for phase, remedy, what, contrary in _REMEDIES:
        seconds = _seconds(context, phase)
        most = bound(context.share(seconds))
        small = seconds > 0 and bound(context.share(margin * seconds)) < WORTH_TRYING
        if small and not any(code.startswith(contrary) for code in codes):
            reason = f"{what[0].upper()}{what[1:]} takes {part(context, seconds)}."
            items.append(WillNotHelp(remedy=remedy, bound=most, reason=reason))
    return items + _by_calibration(context)


def _seconds(context: Context, phase: str) -> float:
    """The most that the phase may take; 0 where that is not known, so that nothing is said."""
    host = context.seconds(phase)
    if phase not in _ON_DEVICE or not context.on_cuda:
        return host
    # The host hands the work over and goes on.
    seen = context.run.device
    known = seen.phases.get(phase) if seen is not None else None
    return max(host, known.at_most) if known is not None else 0.0


def _by_calibration(context: Context) -> list[WillNotHelp]:
    facts = context.facts
    layout = context.machine.channels_last_conv_speedup if context.machine and facts.convolutions else None
    tried = []
    if facts.autocast is None and (facts.parameter_dtype or "").endswith("float32"):
        tried.append(("bfloat16", bf16_speedup(context)))
    if facts.channels_last is False:
        tried.append(("channels_last", layout))
    items = []
    for remedy, ratio in tried:
        if ratio is not None and ratio <= MACHINE_GAIN:
            reason = f"Calibration measured a ratio of {ratio:.2f} for it on this machine."
            most = bound(context.share(context.compute * saved(ratio)))
            items.append(WillNotHelp(remedy=remedy, bound=most, reason=reason))
    return items

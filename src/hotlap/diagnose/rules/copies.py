"""Copies between the host and the device."""

from __future__ import annotations

from hotlap.diagnose.context import Context
from hotlap.diagnose.rules.base import Rule, part
from hotlap.diagnose.thresholds import COPY_SHARE
from hotlap.records import Finding


class SlowCopy(Rule):
    code = "COPY01"
    title = "The step waits while its batch is copied to the GPU"
    meaning = (
        "From ordinary memory a copy goes through a buffer of the driver, and the program waits for it. From pinned "
        "memory with `non_blocking=True` it runs beside the computing."
    )
    evidence_needed = "The mean `host_to_device` of the steady steps on a GPU, and whether the loader pins memory."
    remedy = "Let the loader pin its batches (`pin_memory=True`) and copy with `non_blocking=True`."
    limits = (
        "The bound hides the whole copy behind the computing. A copy also waits for kernels still at work: that is the "
        "model's time, and left out only where the GPU is known to work nearly all the time. What is made on the CPU "
        "in the loop has to be pinned by the script."
    )
    changes = ("pin_memory", "non_blocking")

    def check(self, context: Context) -> Finding | None:
        seconds = context.exposed("host_to_device")
        if context.device_bound:  # the device copies between its kernels
            copying = context.device_seconds("host_to_device") or 0.0
            seconds = min(seconds + copying, context.seconds("host_to_device"))
        if not context.on_cuda or seconds <= 0:
            return None
        pinned = context.facts.pin_memory
        words = {True: "The loader pins memory already.", False: "The loader does not pin memory (pin_memory=False)."}
        evidence = [f"Copying takes {part(context, seconds)}."]
        evidence += [words[pinned]] if pinned is not None else []
        remedy, changes = self.remedy, [] if pinned is None else ["pin_memory"]
        if pinned:
            changes = ["non_blocking"]
            remedy = (
                "Copy with `non_blocking=True`, before the batch is needed; move less (uint8 pictures, for example)."
            )
        return self.finding(context, seconds, evidence, least=COPY_SHARE, remedy=remedy, changes=changes)

"""Precision and compilation against what the device can do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hotlap.diagnose.lint.base import ConfigRule, Setup
from hotlap.records import ConfigFinding

#: Compute capability that Triton, and so torch.compile, needs.
_TRITON = (7, 0)


def _half(setup: Setup) -> Any:
    return setup.get("mixed_precision_dtype") if setup.get("use_mixed_precision") else None


class HalfOnCpu(ConfigRule):
    code = "CONFIG11"
    title = "float16 on a CPU"
    meaning = "CPUs have no units for float16; a step takes many times as long as in float32."
    evidence_needed = "Mixed precision in float16, with `device: cpu` in the file or `--gpu none`."
    remedy = "bfloat16, which newer CPUs have units for, or float32."
    limits = "Whether bfloat16 is faster than float32 on this CPU has to be measured: `hotlap tune`."

    def check(self, setup: Setup) -> Iterator[ConfigFinding]:
        if setup.on_cpu and _half(setup) == "float16":
            yield self.finding(
                setup,
                [f"{setup.says('use_mixed_precision')}, {setup.says('mixed_precision_dtype')}, and no GPU."],
                "`hotlap train` refuses it." if setup.workload else "Steps take many times as long.",
                {"mixed_precision_dtype": "bfloat16"},
            )


class UnscaledHalf(ConfigRule):
    code = "CONFIG12"
    title = "float16 with gradients that are hardly scaled"
    meaning = (
        "Gradients below 6e-8 become 0 in float16. So the loss is multiplied by a large number before backward, and "
        "the gradients are divided by it afterwards. With a number about 1 it is as without a scaler until the scaler "
        "has doubled it often enough, once in 2000 steps without an infinite gradient."
    )
    evidence_needed = "Mixed precision in float16, and `grad_scale` below 16."
    remedy = "1024 is careful, 65536 is PyTorch's own."
    limits = "Gradients that are large by themselves need no scale."

    def check(self, setup: Setup) -> Iterator[ConfigFinding]:
        scale = setup.get("grad_scale")
        if _half(setup) == "float16" and scale is not None and scale < 16:
            yield self.finding(
                setup,
                [f"{setup.says('mixed_precision_dtype')}, and {setup.says('grad_scale')}."],
                "Small gradients become 0, and what they train stands still.",
                {"grad_scale": 1024.0},
            )


class WithoutUnits(ConfigRule):
    code = "CONFIG13"
    title = "The card has no units for it"
    meaning = (
        "Without units of its own a card computes a precision by detours, no faster than float32 and often slower. "
        "torch.compile needs Triton, which does not know cards below compute capability 7.0."
    )
    evidence_needed = (
        "The card of this machine or of `--gpu`, in the catalogue of docs/cards.md: its rate in bfloat16, float16 and "
        "TF32, and its compute capability."
    )
    remedy = "float16 where the card has it, else float32; eager mode where Triton is missing."
    limits = "Cards that the catalogue does not know are not judged."

    def check(self, setup: Setup) -> Iterator[ConfigFinding]:
        card = setup.device
        if card is None or card.kind == "cpu":
            return
        half = _half(setup)
        if (half == "bfloat16" and card.bfloat16 is False) or (half == "float16" and card.float16 is False):
            instead: dict[str, Any] = {"use_mixed_precision": False}
            if half == "bfloat16" and card.float16:
                instead = {"mixed_precision_dtype": "float16"}
            yield self.finding(
                setup,
                [f"{setup.says('use_mixed_precision')} in {half}, for which the {card.name} has no units."],
                "It is no faster than float32, and may be slower.",
                instead,
            )
        if setup.get("matmul_precision") == "high" and card.tensor_float is False:
            yield self.finding(
                setup,
                [f"{setup.says('matmul_precision')} is TF32, for which the {card.name} has no units."],
                "It has no effect.",
                {"matmul_precision": "highest"},
            )
        if setup.get("compile_model") and card.capability is not None and card.capability < _TRITON:
            of_card = ".".join(map(str, card.capability))
            yield self.finding(
                setup,
                [f"{setup.says('compile_model')}, and the {card.name} has compute capability {of_card}."],
                "torch.compile fails: Triton needs 7.0.",
                {"compile_model": False},
            )

"""Predicted against measured step times of trainings on this machine's processor.

    python benchmarks/estimate/time.py [--only WORD]

First the machine is calibrated, as ``hotlap estimate --calibrate`` does. Each training is counted with tensors that
have no memory, and then run: its step is the median of many. Four factors (convolutions, products, all else, calls) are
fitted on all trainings but those of one model, and judged on that one, for each model in turn. Writes
``results/estimate/time.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec
import torch
from counting import work_of
from machine import RESULTS, circumstances, sentence

from cases import BF16, Adam, AdamW, Fused, Sgd, apt, cnn, encoder, gan, lstm, perceptron, restoration, vrt_spike
from hotlap.estimate.calibration import calibrate
from hotlap.estimate.memory import Step
from hotlap.estimate.rates import PARTS, timed

#: By the model, and then by what is different.
CASES: dict[str, Callable[[], Step]] = {
    "cnn, SGD": partial(cnn, Sgd),
    "cnn, Adam, bf16": partial(cnn, Adam, autocast=BF16),
    "cnn, AdamW, channels last": partial(cnn, AdamW, channels_last=True),
    "restoration, Adam": partial(restoration, Adam),
    "restoration, Adam, bf16": partial(restoration, Adam, autocast=BF16),
    "restoration, Adam, checkpointing": partial(restoration, Adam, checkpoint=True),
    "vrt_spike, AdamW": partial(vrt_spike, AdamW),
    "vrt_spike, AdamW, bf16": partial(vrt_spike, AdamW, autocast=BF16),
    "apt, Adam": partial(apt, Adam),
    "apt, Adam, bf16, 2 micro-batches": partial(apt, Adam, autocast=BF16, accumulation_steps=2),
    "encoder, AdamW fused": partial(encoder, Fused),
    "encoder, AdamW fused, bf16": partial(encoder, Fused, autocast=BF16),
    "lstm, Adam, clipping": partial(lstm, Adam, clip=1.0),
    "perceptron, SGD": partial(perceptron, Sgd),
    "gan, two Adam": gan,
}
WARM, SECONDS, LEAST, MOST = 2, 4.0, 3, 60
#: What is tried for each: 0.38 to 2.67.
FACTORS = [1.04**n for n in range(-25, 26)]


def measured(build: Callable[[], Step]) -> dict[str, Any]:
    torch.manual_seed(0)
    step = build()
    for _ in range(WARM):
        step()
    found: list[float] = []
    began = time.perf_counter()
    while len(found) < LEAST or (time.perf_counter() - began < SECONDS and len(found) < MOST):
        start = time.perf_counter()
        step()
        found.append(time.perf_counter() - start)
    return {"seconds": statistics.median(found), "least": min(found), "most": max(found), "steps": len(found)}


def fitted(cases: list[dict[str, Any]]) -> dict[str, float]:
    """The factors with the least mean of squared logarithms of predicted over measured; each model weighs the same.

    One after another until none changes. Far from 1 costs a little, so that what no training shows stays there.
    """
    models = [case["model"] for case in cases]

    def badness(factors: dict[str, float]) -> float:
        wrong = sum(
            math.log(predicted(case, factors) / case["measured"]["seconds"]) ** 2 / models.count(case["model"])
            for case in cases
        )
        return wrong + 0.05 * sum(math.log(factor) ** 2 for factor in factors.values())

    best = dict.fromkeys(PARTS, 1.0)
    while True:
        before = badness(best)
        for part in PARTS:
            best = min((best | {part: factor} for factor in FACTORS), key=badness)
        if badness(best) >= before - 1e-9:
            return best


def predicted(case: dict[str, Any], factors: dict[str, float]) -> float:
    return sum(factors[part] * case["parts"][part] for part in PARTS)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    only = parser.parse_args().only
    about = circumstances()
    rates = calibrate(lambda text: print(text, file=sys.stderr))
    cases = []
    for name, build in CASES.items():
        if only not in name:
            continue
        work = work_of(build, "cpu")
        gc.collect()
        run = measured(build)
        parts = timed(work, rates).parts
        model = name.split(",")[0]
        case = {"name": name, "model": model, "measured": run, "parts": parts, "flops": work.flops, "bytes": work.bytes}
        cases.append(case | {"operators": work.operators, "unknown": work.unknown, "work": msgspec.to_builtins(work)})
        print(f"{name}: {run['seconds']:.4f} s, {sum(parts.values()):.4f} {parts}", file=sys.stderr)
        gc.collect()
    judge(cases)
    summary = {"factors": fitted(cases), **errors(cases)}
    about |= {"threads": torch.get_num_threads(), "rates": msgspec.to_builtins(rates), "summary": summary}
    if not only:
        write(about, cases)


def judge(cases: list[dict[str, Any]]) -> None:
    for case in cases:
        others = [each for each in cases if each["model"] != case["model"]]
        if others:
            case["factors"] = fitted(others)
            case["predicted"] = predicted(case, case["factors"])
            case["error"] = case["predicted"] / case["measured"]["seconds"] - 1


def errors(cases: list[dict[str, Any]]) -> dict[str, float]:
    ratios = [1 + case["error"] for case in cases if "error" in case]
    factors = sorted(max(ratio, 1 / ratio) for ratio in ratios)
    return {
        "median_error": statistics.median(abs(ratio - 1) for ratio in ratios),
        "worst_error": max(abs(ratio - 1) for ratio in ratios),
        "worst_factor": factors[-1],
    }


def write(about: dict[str, Any], cases: list[dict[str, Any]]) -> None:
    kept = [{key: value for key, value in case.items() if key != "work"} for case in cases]
    text = json.dumps(about | {"cases": kept}, indent=1)
    (RESULTS / "estimate" / "time.json").write_text(text + "\n")
    summary = about["summary"]
    lines = [
        "# Predicted and measured step times",
        "",
        sentence(about) + f" {about['threads']} threads.",
        "",
        "Judged on models that the four factors were not fitted on:",
        "",
        f"Median error {summary['median_error']:.0%}, worst {summary['worst_error']:.0%} "
        f"(a factor of {summary['worst_factor']:.2f}).",
        "",
        "| training | GFLOP | GB | operators | measured, ms | least to most | predicted, ms | error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        run = case["measured"]
        lines.append(
            f"| {case['name']} | {case['flops'] / 1e9:.2f} | {case['bytes'] / 1e9:.2f} | {case['operators']:.0f} "
            f"| {run['seconds'] * 1e3:.1f} | {run['least'] * 1e3:.1f} to {run['most'] * 1e3:.1f} "
            f"| {case['predicted'] * 1e3:.1f} | {case['error']:+.0%} |"
        )
    factors = ", ".join(f"{part} {value:.2f}" for part, value in summary["factors"].items())
    lines += ["", f"Factors, fitted on all of them, as `hotlap estimate` has them: {factors}.", ""]
    (RESULTS / "estimate" / "time.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()

"""What PyTorch may be expected to reach of a GPU's listed rates, by what others have published; no card was measured.

    listed rate (cards.yaml) x share that is reached = rate, each with the least, the likely and the most

Every share is an interval, because publications are of well tuned trainings, and yours need not be one. Narrow products
reach less: a tile of a matrix unit is 64 numbers wide or more, and what does not fill it is padding.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from hotlap.estimate.cards import Card, Precision
from hotlap.records import Rate, Rates

Case = Literal["least", "likely", "most", "listed"]
#: What may be reached; "listed" is all of it.
CASES: tuple[Case, ...] = ("least", "likely", "most")
#: Numbers that a tile of a matrix unit is wide. A convolution's is filled by its kernel's places, too.
_TILE, _NARROW = 64.0, 3.0
_DTYPES: dict[str, Precision] = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}


class Share(NamedTuple):
    """Of a listed rate, or seconds of a call."""

    least: float
    likely: float
    most: float
    #: The publication, or that there is none.
    source: str


SHARES = {
    "product": Share(
        0.30,
        0.55,
        0.80,
        "whole trainings of language models: 26 to 46 % of the listed rate on H100, up to 59 % with what is recomputed "
        "(llm-foundry, scripts/train/benchmarking/README.md), 61 % on A100 (flash-attention, README.md), up to 72 % "
        "(arXiv 2307.08691)",
    ),
    "convolution": Share(
        0.20,
        0.45,
        0.70,
        "chosen so that ResNet-50 comes out between what NVIDIA publishes for A100 and V100 "
        "(DeepLearningExamples, PyTorch/Classification/ConvNets/resnet50v1.5/README.md): 938 and 2470 images/s in TF32 "
        "and mixed precision, 367 and 1200 in float32 and mixed precision",
    ),
    "vector": Share(
        0.45,
        0.70,
        0.90,
        "without a matrix unit for the precision: ResNet-50 in float32 on V100 reaches 57 % as a whole training, by "
        "the same publication",
    ),
    "attention": Share(
        0.25,
        0.45,
        0.73,
        "of the listed rate on A100: FlashAttention 25 to 40 %, FlashAttention-2 50 to 73 % (arXiv 2307.08691)",
    ),
    "bandwidth": Share(
        0.60,
        0.80,
        0.94,
        "V100: scale 788, triad 844 of the listed 900 GB/s (gpu-benches, cuda-stream); PyTorch's kernels stay below",
    ),
    "gap": Share(5e-6, 2e-6, 1e-6, "seconds from a kernel to the next: no publication, an assumption"),
    "overhead": Share(
        12e-6,
        5e-6,
        2.5e-6,
        "seconds of the host for an operator, views included: an assumption; one of tiny tensors took 3.9 µs on a CPU "
        "(benchmarks/results/estimate/time.json), launching comes on top",
    ),
}


def published(card: Card, case: Case, *, tf32_products: bool) -> Rates | None:
    """The rates of a card, None where its vendor publishes none. ``tf32_products``: allowed for products of float32."""
    table = [
        Rate(kind="elementwise", dtype="float32", points=[(1.0, card.bandwidth * 1e9 * _share("bandwidth", case))])
    ]
    for kind, tile, narrow in (("product", 1.0, 1 / _TILE), ("convolution", _NARROW, 0.25), ("attention", 1.0, 0.25)):
        for dtype, precision in _DTYPES.items():
            if dtype == "float32" and (kind == "convolution" or tf32_products):
                precision = "tf32"
            units = card.flops(precision) if precision != "fp32" else None
            vector = card.flops("fp32")
            reached = [
                listed * _share(share, case)
                for listed, share in ((units, kind), (vector, "vector"))
                if listed is not None
            ]
            if not reached:
                return None
            rate = max(reached)
            table.append(Rate(kind=kind, dtype=dtype, points=[(tile, rate * narrow), (_TILE, rate)]))
    return Rates(device=card.name, table=table, overhead=_share("overhead", case), gap=_share("gap", case))


def _share(name: str, case: Case) -> float:
    if case == "listed":
        return 0.0 if name in ("gap", "overhead") else 1.0
    value: float = getattr(SHARES[name], case)
    return value

"""Step times as ``hotlap estimate`` gives them for GPUs, against throughputs that others have published.

    python benchmarks/estimate/published.py

No GPU is needed: the trainings are counted with tensors that have no memory. ResNet-50 (v1.5) is NVIDIA's
DeepLearningExamples, on one GPU; GPT is llm-foundry's MPT, on 8 H100, whose communication is not in the estimate.
Writes ``results/estimate/published.json`` and ``.md``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import torch.nn.functional as F
from counting import work_of
from machine import RESULTS, circumstances, sentence
from torch import Tensor, nn

from hotlap.estimate.cards import find
from hotlap.estimate.memory import Step, training
from hotlap.estimate.published import CASES, published
from hotlap.estimate.rates import timed


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.body = nn.Sequential(
            nn.Conv2d(inputs, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        same = stride == 1 and inputs == outputs
        project = [nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)]
        self.shortcut = nn.Identity() if same else nn.Sequential(*project)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def resnet50(batch: int, half: torch.dtype | None) -> Step:
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, 1))
    channels = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            layers.append(Bottleneck(channels, 64 << stage, 2 if stage and not block else 1))
            channels = 256 << stage
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))
    labels = torch.randint(0, 1000, (batch,))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    pictures = [torch.randn(batch, 3, 224, 224)]
    return training(model, optimizer, pictures, lambda out: F.cross_entropy(out.float(), labels), autocast=half)


class GptBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.one, self.two = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mixed, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.mixed(self.one(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.two(x))))


class Gpt(nn.Module):
    def __init__(self, width: int, heads: int, layers: int, words: int = 50432) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.blocks = nn.Sequential(*(GptBlock(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        return F.linear(self.norm(self.blocks(self.words(tokens))), self.words.weight)


def gpt(width: int, heads: int, layers: int, batch: int, length: int) -> Step:
    model = Gpt(width, heads, layers)
    tokens = torch.randint(0, 50000, (batch, length))

    def loss(out: Tensor) -> Tensor:
        return F.cross_entropy(out.flatten(0, 1).float(), tokens.flatten())

    return training(model, torch.optim.AdamW(model.parameters()), [tokens], loss, autocast=torch.bfloat16)


_BF16 = torch.bfloat16
NVIDIA = "DeepLearningExamples"
MOSAIC = "llm-foundry"
#: Name, card, training, its samples, samples/s as published, by whom. float16 counts as bfloat16 does: the same bytes.
POINTS: list[tuple[str, str, Callable[[], Step], int, float, str]] = [
    ("ResNet-50, TF32", "A100-SXM4-80GB", partial(resnet50, 256, None), 256, 938, NVIDIA),
    ("ResNet-50, mixed", "A100-SXM4-80GB", partial(resnet50, 256, _BF16), 256, 2470, NVIDIA),
    ("ResNet-50, float32", "V100-SXM2-16GB", partial(resnet50, 128, None), 128, 367, NVIDIA),
    ("ResNet-50, mixed", "V100-SXM2-16GB", partial(resnet50, 256, _BF16), 256, 1200, NVIDIA),
    ("GPT 760M, 1024 tokens", "H100 SXM", partial(gpt, 1536, 12, 24, 48, 1024), 48, 78581 / 1024, MOSAIC),
    ("GPT 1.3B, 2048 tokens", "H100 SXM", partial(gpt, 2048, 16, 24, 14, 2048), 14, 45455 / 2048, MOSAIC),
]


def main() -> None:
    rows: list[dict[str, Any]] = []
    for name, on, build, samples, rate, source in POINTS:
        card = find(on)
        work = work_of(build, "cuda")
        if card.bf16 is None:  # float16 is what such a card is mixed with
            card = type(card)(**{field: getattr(card, field) for field in card.__struct_fields__} | {"bf16": card.fp16})
        seconds = {}
        for case in CASES:
            rates = published(card, case, tf32_products=True)
            assert rates is not None
            found = timed(work, rates)
            seconds[case] = found.seconds
            if case == "likely":
                print(name, found, file=sys.stderr)
        row = {"name": name, "card": card.name, "flops": work.flops, "bytes": work.bytes, "seconds": seconds}
        rows.append(row | {"published": samples / rate, "samples": samples, "source": source})
    about = circumstances()
    (RESULTS / "estimate" / "published.json").write_text(json.dumps(about | {"points": rows}, indent=1) + "\n")
    lines = ["# Estimates for GPUs and published throughputs", "", sentence(about), ""]
    lines += ["Seconds of a step; no GPU was used.", ""]
    lines += [
        "| training | card | TFLOP | GB | published | estimated | least to most | by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        known = row["seconds"]
        lines.append(
            f"| {row['name']} | {row['card']} | {row['flops'] / 1e12:.2f} | {row['bytes'] / 1e9:.0f} "
            f"| {row['published']:.3f} | {known['likely']:.3f} ({known['likely'] / row['published'] - 1:+.0%}) "
            f"| {known['most']:.3f} to {known['least']:.3f} | {row['source']} |"
        )
    (RESULTS / "estimate" / "published.md").write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()

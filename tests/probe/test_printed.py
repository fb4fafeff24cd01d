"""A metric that is printed, and when."""

from __future__ import annotations

import math

import pytest
from recordings import Pull

from hotlap.probe.printed import pattern, values


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("epoch 2 PSNR: 29.02 dB", [29.02]),
        ("psnr=-3.5e-1", [-0.35]),
        ("val_psnr: 3", []),
        ("psnr_val: 3", []),
        ("# psnr: 30.1, # ssim: 0.9", [30.1]),
        ("nothing", []),
        ("psnr: \x1b[1m31.2\x1b[0m", [31.2]),
        ("psnr .5", [0.5]),
        ("psnr: 29.5dB, accuracy 31%", [29.5]),
        ("PSNR (dB): 31.2", [31.2]),
        ("PSNR [dB] = 31.", [31.0]),
        ("{'psnr': tensor(31.2500), 'ssim': tensor(0.9)}", [31.25]),
        ("psnr -> 30", [30.0]),
        ("| psnr | 28.5 | ssim | 0.8 |", [28.5]),
        ("psnr: 1 psnr: 2", [1.0, 2.0]),
        ("psnr after epoch 3: 2", []),
        ("psnr: inf", [math.inf]),
        ("psnr: -inf", [-math.inf]),
        ("psnr: 30.1.2", []),
        ("psnr: nancy", []),
    ],
)
def test_what_stands_behind_its_name(text: str, found: list[float]) -> None:
    assert values(text, pattern("psnr")) == found


def test_what_is_no_number_counts() -> None:
    """A training that diverged must not be judged by an older value."""
    (value,) = values("psnr: nan", pattern("psnr"))
    assert math.isnan(value)


_PRINTS = """
import logging, sys
logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.INFO)
print("before training psnr: 1.0", flush=True)
model = nn.Linear(4, 1); optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
for step in range(1, 13):
    model(torch.randn(2, 4)).sum().backward(); optimizer.step(); optimizer.zero_grad()
    if step == 3: print("psnr:", 3.0)
    if step == 6: print("psnr", end=" "); print(6.0, end=" dB\\r")
    if step == 9: logging.info("psnr: %.1f", 9.0)
    if step == 10: sys.stdout.write("psnr: nan\\npsnr: 10.5\\n")
    if step == 11: print("psnr: 11", end="")
"""


def test_values_have_the_steps_after_which_they_came(pull: Pull) -> None:
    """Whole lines, whoever writes them; what comes before training is none of it."""
    _, run = pull(_PRINTS, {}, metric="psnr")
    found = [(metric.name, metric.step, metric.value) for metric in run.metrics]
    assert [each for each in found if not math.isnan(each[2])] == [
        ("psnr", 3, 3.0),
        ("psnr", 6, 6.0),
        ("psnr", 9, 9.0),
        ("psnr", 10, 10.5),
    ]
    assert [step for _, step, value in found if math.isnan(value)] == [10]

"""The configurations for known cards: what they keep for backward fits, and all of them are the same training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hotlap.train.config import RestorationConfig, load_config
from hotlap.workloads import build

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
#: The card's gibibytes, and the gigabytes kept for backward that its file speaks of.
TIERS = {"rtx4090": (24, 10.2), "rtx4080": (16, 10.2), "rtx4070": (12, 5.1), "gtx1080": (8, 5.0)}
#: The rest is for gradients, workspaces, the context, and what else uses the card.
SHARE = 0.6


def tier(card: str) -> RestorationConfig:
    config = load_config(CONFIGS / f"restoration_{card}.yaml")
    assert isinstance(config, RestorationConfig)
    return config


def kept_for_backward(config: RestorationConfig) -> int:
    """Bytes of one patch between forward and backward; what casting weights makes is counted with it."""
    workload = build(config, torch.device("cpu"), 1)
    weights = {each.untyped_storage().data_ptr() for each in workload.model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    batch = tuple(part.unsqueeze(0) for part in workload.dataset[0])
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=config.use_mixed_precision),
    ):
        workload.loss(workload.model(*workload.inputs(batch)), batch, 1)
    return sum(each.untyped_storage().nbytes() for place, each in kept.items() if place not in weights)


@pytest.mark.parametrize("card", TIERS)
def test_it_fits(card: str) -> None:
    config, (memory, said) = tier(card), TIERS[card]
    kept = config.batch_size * kept_for_backward(config)
    assert kept == pytest.approx(said * 1e9, rel=0.02)
    assert kept <= SHARE * memory * 2**30
    # Twice as many at once, where that is still a step, do not.
    assert config.accumulation_steps == 1 or 2 * kept > SHARE * memory * 2**30


def test_the_same_training() -> None:
    """But for the precision of its arithmetic."""
    configs = [tier(card) for card in TIERS]
    of_the_card = {
        "output_dir", "batch_size", "accumulation_steps", "use_mixed_precision", "mixed_precision_dtype",
        "matmul_precision", "channels_last", "compile_model", "cudnn_benchmark",
    }  # fmt: skip
    for config in configs:
        assert config.batch_size * config.accumulation_steps == 64
        different = {key for key in config.__struct_fields__ if getattr(config, key) != getattr(configs[0], key)}
        assert different <= of_the_card

"""What larger network fits into the time that is left: on a made-up clock."""

from __future__ import annotations

import io

import msgspec
import pytest
import torch
from rich.console import Console

from hotlap.errors import UsageError
from hotlap.estimate import fill as module
from hotlap.estimate.fill import fill
from hotlap.report.optimized import filled
from hotlap.train.config import AptConfig, RestorationConfig

SMALL = RestorationConfig(base_channels=8, num_blocks=1, batch_size=1, patch_size=8)


@pytest.fixture(autouse=True)
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time goes with the weights, and bfloat16 is four times as fast."""

    def measure(self: module._Contender) -> float:
        self.seconds.append(self.parameters / (4 if self.step._autocast is not None else 1))
        return self.seconds[-1]

    monkeypatch.setattr(module._Contender, "measure", measure)


def test_what_was_won_is_spent() -> None:
    """Four times as fast leaves room for about twice the channels, or about four times the blocks."""
    state = torch.get_rng_state()
    better = RestorationConfig(base_channels=8, num_blocks=1, batch_size=1, patch_size=8, use_mixed_precision=True)
    found = fill(SMALL, better)
    assert found.better == pytest.approx(found.seconds_per_sample / 4)
    wider, deeper = found.larger
    assert (wider.key, wider.before, wider.after) == ("base_channels", 8, 16)
    assert "24 takes" in wider.limit
    assert (deeper.key, deeper.before) == ("num_blocks", 1)
    assert deeper.after in (4, 5)
    assert all(each.time[0] <= 1 for each in found.larger)
    assert torch.equal(state, torch.get_rng_state())


def test_nothing_won_is_nothing_to_spend() -> None:
    found = fill(SMALL, RestorationConfig(base_channels=16, num_blocks=1, batch_size=1, patch_size=8))
    assert [each.after for each in found.larger] == [16, 1]
    assert "takes longer than before" in found.larger[0].limit
    assert found.not_counted == []


def test_what_is_not_measured_is_named() -> None:
    """Of either configuration, in the record and in words."""
    compiled = RestorationConfig(base_channels=16, num_blocks=1, batch_size=1, patch_size=8, compile_model=True)
    found = fill(msgspec.structs.replace(SMALL, ema_decay=0.9), compiled)
    assert found.not_counted == ["compile_model", "ema_decay"]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(filled(found, "a.yaml", "b.yaml"))
    assert "not counted on either side: compile_model, ema_decay." in " ".join(console.export_text().split())


def test_other_networks_have_other_sizes() -> None:
    with pytest.raises(UsageError, match="for the restoration network"):
        fill(AptConfig(), AptConfig())
    with pytest.raises(UsageError, match="use_perceptual"):
        fill(RestorationConfig(use_perceptual=True), SMALL)

"""Optimizers of the reference trainer that keep their state in 8 bits."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hotlap.errors import ConfigError
from hotlap.train.config import RestorationConfig, load_config
from hotlap.train.loop import train

Make = Callable[..., RestorationConfig]

needs_one = pytest.mark.skipif(
    find_spec("bitsandbytes") is None and find_spec("torchao") is None, reason="no library with 8-bit states"
)


def losses(config: RestorationConfig) -> list[float]:
    train(config)
    found = [msgspec.json.decode(line) for line in (Path(config.output_dir) / "log.jsonl").read_bytes().splitlines()]
    return [line["loss"] for line in found if "loss" in line]


@needs_one
# torch and the libraries warn of one another's versions.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("optimizer", ["adam8bit", "adamw8bit"])
def test_it_trains_and_goes_on_from_a_checkpoint(small: Make, tmp_path: Path, optimizer: str) -> None:
    """About as its full twin; what is resumed is bit by bit what was not stopped."""
    same = {"base_channels": 32, "steps": 8, "save_every": 4}
    expected = losses(small(optimizer=optimizer.removesuffix("8bit"), output_dir=str(tmp_path / "twin"), **same))
    whole = losses(small(optimizer=optimizer, output_dir=str(tmp_path / "whole"), **same))
    assert whole == pytest.approx(expected, rel=0.05)
    assert whole != expected
    stopped = small(optimizer=optimizer, output_dir=str(tmp_path / "stopped"), schedule="constant", **same)
    checkpoint = tmp_path / "stopped" / "checkpoint.pt"
    first = losses(msgspec.structs.replace(stopped, steps=4))
    rest = losses(msgspec.structs.replace(stopped, resume=str(checkpoint)))
    unstopped = small(optimizer=optimizer, output_dir=str(tmp_path / "unstopped"), schedule="constant", **same)
    assert (first, rest[-4:]) == (losses(unstopped)[:4], losses(unstopped)[4:])


def test_without_a_library_the_configuration_is_refused(small: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install; weight decay that is added to the gradients has one of them alone."""
    real = importlib.import_module

    def missing(name: str, package: str | None = None) -> Any:
        if name.startswith(("bitsandbytes", "torchao")):
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ConfigError, match=r"adamw8bit, which needs bitsandbytes or torchao .* set it to adamw$"):
        train(small(optimizer="adamw8bit"))
    with pytest.raises(ConfigError, match="needs torchao, for a weight_decay above 0"):
        train(small(optimizer="adam8bit", weight_decay=0.1))


def test_an_implementation_besides_its_own_is_refused(tmp_path: Path) -> None:
    """There is no fused form to choose."""
    (tmp_path / "c.yaml").write_text("optimizer: adamw8bit\noptimizer_implementation: fused\n")
    with pytest.raises(ConfigError, match="optimizer_implementation is fused, and adamw8bit has only its own"):
        load_config(tmp_path / "c.yaml")

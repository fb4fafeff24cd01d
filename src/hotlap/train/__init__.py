"""The reference trainer: ``hotlap train CONFIG`` is ``main(CONFIG)``.

    config  ->  loop  ->  workload (network, data, loss, validation)
                  |-> data         the order of the samples, and the loader
                  |-> optimizers   optimizer, schedule
                  |-> state        checkpoints
                  |-> log          log.jsonl, the line on stderr

It is a plain PyTorch loop, without anything of hotlap in it but the report of its validation metrics.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hotlap.callable import make_callable
from hotlap.train.config import TrainConfig, load_config

make_callable(__name__)

__all__ = ["TrainConfig", "load_config", "main", "summary"]


def main(config_path: str | Path) -> dict[str, Any]:
    """Train what the file says and return the results (see ``loop.train``)."""
    config = load_config(config_path)
    from hotlap.train.loop import train  # imports torch, which a wrong configuration need not wait for

    return train(config)


def summary(result: dict[str, Any]) -> str:
    """One line: quality against the simple method, and speed."""
    quality = (
        f"PSNR {result['psnr']:.2f} dB ({result['psnr_gain_db']:+.2f} dB against {result['simple_method']}), "
        f"SSIM {result['ssim']:.4f} ({result['ssim'] - result['simple_ssim']:+.4f})"
    )
    rate = result["samples_per_second"]
    speed = "n/a" if rate is None else f"{rate:.1f}"
    return f"{quality}; {result['steps']} steps in {result['seconds']:.0f} s, {speed} samples/s on {result['device']}"

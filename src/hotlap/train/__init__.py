"""The reference trainer: ``hotlap train CONFIG`` is ``main(CONFIG)``.

    config  ->  loop  ->  workload (network, data, loss, validation)
                  |-> step         one optimizer step
                  |-> data         the order of the samples, and the loader
                  |-> ranks        the processes that train together
                  |-> optimizers   optimizer, schedule
                  |-> state        checkpoints
                  |-> log          log.jsonl, the lines on stderr
                  |-> health       memory, processor, GPU, disk meanwhile

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
    names = [name.removeprefix("simple_") for name in result if name.startswith("simple_") and name != "simple_method"]
    against = f" against {result['simple_method']}"
    quality = ", ".join(
        f"{_title(name)} {_figure(name, result[name])} "
        f"({_figure(name, result[name] - result[f'simple_{name}'], '+')}{against * (not i)})"
        for i, name in enumerate(names)
    )
    rate = result["samples_per_second"]
    speed = "n/a" if rate is None else f"{rate:.1f}"
    early = ", stopped early" if result["stopped_early"] else ""
    ranks = f", {result['ranks']} ranks" if result["ranks"] > 1 else ""
    return (
        f"{quality}; {result['steps']} steps in {result['seconds']:.0f} s{early}, {speed} samples/s on "
        f"{result['device']}{ranks}"
    )


def _title(name: str) -> str:
    return name.upper() if name.startswith(("psnr", "ssim", "lpips")) else name.replace("_", " ")


def _figure(name: str, value: float, sign: str = "") -> str:
    return f"{value:{sign}.2f} dB" if name.startswith("psnr") else f"{value:{sign}.4f}"

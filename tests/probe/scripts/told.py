"""What a script knows of its own training: printed at its end, compared with what the probe recorded."""

from __future__ import annotations

import json
import time
from typing import Any

import torch

torch.set_num_threads(1)


class Told:
    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self.began = 0.0

    def begin(self) -> None:
        """Directly before the loop."""
        self.began = time.perf_counter()

    def step(self, losses: list[torch.Tensor], samples: int | None, micro_batches: int = 1) -> None:
        """After each optimizer step. ``losses``: those that backward was called on."""
        values = [loss.item() for loss in losses]
        self.steps.append({"loss": sum(values), "samples": samples, "micro_batches": micro_batches})

    def end(self, **more: Any) -> None:
        """Directly after the last step."""
        seconds = time.perf_counter() - self.began
        print("TOLD " + json.dumps({"steps": self.steps, "began": self.began, "seconds": seconds, **more}), flush=True)


def network(inputs: int = 16, outputs: int = 1, seed: int = 0) -> torch.nn.Sequential:
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Linear(inputs, 128),
        torch.nn.ReLU(),
        torch.nn.Linear(128, 128),
        torch.nn.ReLU(),
        torch.nn.Linear(128, outputs),
    )


def samples(count: int, seed: int = 1) -> torch.utils.data.TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    return torch.utils.data.TensorDataset(
        torch.randn(count, 16, generator=generator), torch.randn(count, 1, generator=generator)
    )

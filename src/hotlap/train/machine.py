"""How the process computes: settings of torch and Python that hold for all of it, put back at the end."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from hotlap.errors import ConfigError
from hotlap.train.config import TrainConfig

#: Threads for each core: more only take turns, and with very many the process dies.
_MOST_THREADS = 4
#: Steps after which what is alive is there to stay.
_FIRST_STEPS = 3


@contextmanager
def machine(config: TrainConfig) -> Iterator[Callable[[int], None]]:
    """Set them; what comes out is to be called after each step that was trained here, with its number from 1 on."""
    cores = os.cpu_count() or 1
    if config.threads > _MOST_THREADS * cores:
        raise ConfigError(
            f"{config.path('threads')} is {config.threads}, and this machine has {cores} cores: set it to as many, or "
            "to 0"
        )
    precision, threads = torch.get_float32_matmul_precision(), torch.get_num_threads()
    benchmark, collects = torch.backends.cudnn.benchmark, gc.isenabled()
    if config.matmul_precision != "highest":
        torch.set_float32_matmul_precision(config.matmul_precision)
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.backends.cudnn.benchmark = benchmark or config.cudnn_benchmark

    def stepped(step: int) -> None:
        if not config.collect_every:
            return
        if step == _FIRST_STEPS:
            gc.collect()
            gc.freeze()
            gc.disable()
        elif step % config.collect_every == 0:
            gc.collect()

    try:
        yield stepped
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.set_num_threads(threads)
        torch.backends.cudnn.benchmark = benchmark
        if config.collect_every:
            gc.unfreeze()
            if collects:
                gc.enable()

"""The marks that a script may set itself. Without a probe in the process they do nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

#: Names under which a phase may be marked.
MARKABLE = (
    "data_wait",
    "host_to_device",
    "sampling",
    "forward",
    "loss",
    "backward",
    "gradient_sync",
    "gradient_clip",
    "optimizer",
    "validation",
    "checkpoint",
    "logging",
)


def _active() -> Any:
    probe = sys.modules.get("hotlap.probe")
    return getattr(probe, "active", None)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Mark a stretch of the training loop as one phase.

    Raises:
        ValueError: the name is not a phase.
    """
    if name not in MARKABLE:
        raise ValueError(f"{name!r} is not a phase; use one of {', '.join(MARKABLE)}")
    probe = _active()
    if probe is None:
        yield
        return
    with probe.span(name):
        yield


def step() -> None:
    """Mark the end of a step, for loops that update parameters without an optimizer."""
    probe = _active()
    if probe is not None:
        probe.end_of_step()


def metric(name: str, value: float) -> None:
    """Report a quality of the training (e.g. validation PSNR in dB), for comparing two trainings at equal samples."""
    probe = _active()
    if probe is not None:
        probe.metric(name, float(value))

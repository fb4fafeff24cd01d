"""What a training is told before it starts: the probe's settings, the limits, the environment."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_SITE = Path(__file__).parent.parent / "probe" / "site"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When a training is ended from outside."""

    #: Seconds without a new step, an ended process or a gate. A silent plan writes no steps: it has no such limit.
    silence: float = 300.0
    #: Resident bytes of all its processes together.
    memory: int | None = None
    #: Seconds that a training has to end by itself after Ctrl-C. A gated one has none: it is measured, not used.
    grace: float = 10.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the probe is told; see ``hotlap.probe.Settings``."""

    gated: bool = False
    stop_steps: int | None = None
    stop_seconds: float | None = None
    levers: dict[str, Any] = field(default_factory=dict)
    #: Whether the script's files are kept as they are; what it writes goes to the run directory.
    contained: bool = False
    #: What is taken away to see what it costs; see ``hotlap.probe.ablations``.
    without: str | None = None
    seed_offset: int = 0
    #: Trace a few steps; see ``hotlap.probe.tracing``.
    trace: bool = False
    #: Count what the datasets hold; see ``hotlap.probe.held``.
    memory: bool = False
    silent: bool = False
    #: A metric that is read from what the training prints; see ``hotlap.probe.printed``.
    metric: str | None = None
    #: Of the environment, set for the training.
    variables: dict[str, str] = field(default_factory=dict)
    #: Texts that run in the place of the script's files; see ``hotlap.probe.replaced``.
    copies: dict[str, str] = field(default_factory=dict)
    #: Goes through two steps with imitated tensors, and measures nothing: ``on_card``, with ``name``, ``memory`` and
    #: ``capability`` of that card, and ``batch_size`` for its loaders; see ``hotlap.estimate.script``.
    imitated: dict[str, Any] | None = None

    def settings(self, directory: Path) -> str:
        """The text of ``probe.json``."""
        return json.dumps(
            {
                "run_dir": str(directory),
                "cwd": os.getcwd(),
                "gated": self.gated,
                "stop_steps": self.stop_steps,
                "stop_seconds": self.stop_seconds,
                "levers": self.levers,
                "contain": str(directory / "files") if self.contained else None,
                "without": self.without,
                "seed_offset": self.seed_offset,
                "looks": not self.gated and not self.silent,
                "trace": self.trace,
                "memory": self.memory,
                "silent": self.silent,
                "metric": self.metric,
                "copies": self.copies,
                "imitated": self.imitated,
            }
        )

    def environ(self, directory: Path) -> dict[str, str]:
        """The environment of the training, in which Python starts the probe before anything else."""
        environ = dict(os.environ) | self.variables
        environ["HOTLAP_PROBE"] = str(directory / "probe.json")
        environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_SITE), environ.get("PYTHONPATH")]))
        if self.contained:
            environ.update(_trackers_at_home(directory))
        return environ


def _trackers_at_home(directory: Path) -> dict[str, str]:
    """Keep trackers from reporting a trial, and git from refreshing its index: the probe cannot redirect these."""
    return {
        "WANDB_MODE": "offline",
        "WANDB_DIR": str(directory),
        "MLFLOW_TRACKING_URI": (directory / "mlruns").as_uri(),
        "NEPTUNE_MODE": "debug",
        "CLEARML_OFFLINE_MODE": "1",
        "GIT_OPTIONAL_LOCKS": "0",
    }

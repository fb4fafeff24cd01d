"""hotlap: find out why a PyTorch training is slow, make it fast, and prove it.

The names of the command line, as functions::

    import hotlap
    run = hotlap.profile(["python", "train.py"])        # -> Run
    hotlap.diagnose(run)                                # -> Diagnosis
    tuning = hotlap.tune(["python", "train.py"])        # -> Tuning
    hotlap.run(tuning)                                  # trains with what was adopted
    comparison = hotlap.compare(a=[...], b=[...])       # -> Comparison
    hotlap.export_to(run, mlflow.log_metrics)           # hands every step to a tracker
    hotlap.estimate_memory(build)                       # -> MemoryEstimate, of a training that does not run

and marks for a training loop, which cost nothing when no probe is there::

    with hotlap.phase("loss"): ...
    hotlap.metric("psnr", 31.2)
    hotlap.step()

and the changes that a tuning found, for a script that is to have them by itself::

    hotlap.apply(workers=2, autocast="bfloat16")

and a search by real training steps for the batch that is large enough, of any model::

    size, tried = hotlap.find_optimal_batch_size(model, (inputs, targets), optimizer=optimizer)

This module imports nothing, because it is also loaded inside other people's training processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from hotlap.api import (
        auto_optimize_config,
        compare,
        diagnose,
        estimate_memory,
        explain,
        export_to,
        lint,
        optimize,
        profile,
        report,
        run,
        train,
        tune,
    )
    from hotlap.estimate.batch_size import BatchSizeOptimizer, find_optimal_batch_size
    from hotlap.probe.applying import apply
    from hotlap.probe.marks import metric, phase, step

__all__ = [
    "BatchSizeOptimizer",
    "apply",
    "auto_optimize_config",
    "compare",
    "diagnose",
    "estimate_memory",
    "explain",
    "export_to",
    "find_optimal_batch_size",
    "lint",
    "metric",
    "optimize",
    "phase",
    "profile",
    "report",
    "run",
    "step",
    "train",
    "tune",
]

_MARKS = {"metric", "phase", "step"}
_BATCH_SIZES = {"BatchSizeOptimizer", "find_optimal_batch_size"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'hotlap' has no attribute {name!r}")
    from importlib import import_module

    if name == "apply":
        return getattr(import_module("hotlap.probe.applying"), name)
    if name in _BATCH_SIZES:
        return getattr(import_module("hotlap.estimate.batch_size"), name)
    return getattr(import_module("hotlap.probe.marks" if name in _MARKS else "hotlap.api"), name)

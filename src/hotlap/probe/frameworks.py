"""Phases that trainers, loggers and progress bars have functions of their own for.

What a trainer does between two steps is code of the trainer: a checkpoint is more than its ``torch.save``, an
evaluation more than its forwards. Each of the functions below runs seldom, or only when something is really written
or drawn, and is one phase as a whole. A module is touched when the script has imported it, never sooner.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from hotlap import probe

_TENSORBOARD = (
    ("SummaryWriter.add_scalar", "logging"),
    ("SummaryWriter.add_scalars", "logging"),
    ("SummaryWriter.add_image", "logging"),
    ("SummaryWriter.add_images", "logging"),
    ("SummaryWriter.add_histogram", "logging"),
    ("SummaryWriter.add_figure", "logging"),
    ("SummaryWriter.add_text", "logging"),
    ("SummaryWriter.add_video", "logging"),
    ("SummaryWriter.flush", "logging"),
)

#: Module, then the function or method in it and the phase that it is.
_PHASES: dict[str, tuple[tuple[str, str], ...]] = {
    "safetensors.torch": (("save_file", "checkpoint"), ("save_model", "checkpoint")),
    "torch.distributed.checkpoint.state_dict_saver": (("save", "checkpoint"), ("async_save", "checkpoint")),
    "torch.utils.tensorboard.writer": _TENSORBOARD,
    "tensorboardX.writer": _TENSORBOARD,
    # Called when the bar is drawn, not for each item.
    "tqdm.std": (("tqdm.refresh", "logging"), ("tqdm.close", "logging")),
    "rich.live": (("Live.refresh", "logging"), ("Live.stop", "logging")),
    "transformers.modeling_utils": (("PreTrainedModel.save_pretrained", "checkpoint"),),
    "transformers.trainer": (
        ("Trainer.evaluate", "validation"),
        ("Trainer._save_checkpoint", "checkpoint"),
        ("Trainer.save_model", "checkpoint"),
        ("Trainer.log", "logging"),
    ),
    "accelerate.accelerator": (
        ("Accelerator.save_state", "checkpoint"),
        ("Accelerator.save_model", "checkpoint"),
        ("Accelerator.log", "logging"),
    ),
} | {
    f"{package}.{module}": functions
    for package in ("lightning.pytorch", "pytorch_lightning")
    for module, functions in {
        "loops.evaluation_loop": (("_EvaluationLoop.run", "validation"),),
        "trainer.trainer": (("Trainer.save_checkpoint", "checkpoint"),),
        "trainer.connectors.logger_connector.logger_connector": (("_LoggerConnector.log_metrics", "logging"),),
    }.items()
}


def install() -> None:
    for name, functions in _PHASES.items():
        probe.after_import(name, functools.partial(_wrap, functions=functions))


def _wrap(module: Any, functions: tuple[tuple[str, str], ...]) -> None:
    for path, phase in functions:
        *outer, name = path.split(".")
        owner = functools.reduce(lambda place, part: getattr(place, part, None), outer, module)
        original = getattr(owner, name, None)
        if original is not None:  # another version may call it otherwise
            setattr(owner, name, _as_phase(original, phase))


def _as_phase(original: Callable[..., Any], phase: str) -> Callable[..., Any]:
    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        recorder = probe.active
        if recorder is None or recorder.depth or not recorder.push(phase):
            return original(*args, **kwargs)
        try:
            return original(*args, **kwargs)
        finally:
            recorder.pop()

    return wrapper

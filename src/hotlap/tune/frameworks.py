"""Settings that a framework's parser takes although nobody wrote them, and what holds without them.

Taken only where the script names the parser, so that no flag or key is added that the training would refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hotlap.tune.dialects import normal

#: transformers.TrainingArguments. Not ``optim``, whose default changed from version 4 to 5.
TRAINING_ARGUMENTS: dict[str, Any] = {
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "learning_rate": 5e-5,
    "bf16": False,
    "fp16": False,
    "gradient_checkpointing": False,
    "torch_compile": False,
    "dataloader_num_workers": 0,
    "dataloader_persistent_workers": False,
    "dataloader_pin_memory": True,
    "logging_steps": 500,
}
#: lightning.Trainer, under ``trainer``.
TRAINER: dict[str, Any] = {"precision": None, "accumulate_grad_batches": 1, "log_every_n_steps": 50}
#: mmengine's Runner. Precision is that of the wrapper, and known only where the configuration says it.
RUNNER: dict[str, Any] = {
    "optim_wrapper.accumulative_counts": 1,
    "train_dataloader.persistent_workers": False,
    "train_dataloader.pin_memory": False,
    "default_hooks.logger.interval": 10,
    "compile": False,
}
_OF_TRANSFORMERS = frozenset({"per_device_train_batch_size", "dataloader_num_workers", "num_train_epochs"})


def takes_training_arguments(script: str) -> bool:
    return "HfArgumentParser" in script or "TrainingArguments" in script


def unwritten(script: str, values: Mapping[str, Any], flags: bool) -> dict[str, Any]:
    """Return paths that may be added to these (of a file, or the command's ``flags``), with what holds without them."""
    missing: dict[str, Any] = {}
    prefix = "--" if flags else ""
    if takes_training_arguments(script) and (not flags or "HfArgumentParser" in script):
        above = {path.rpartition(".")[0] for path in values if normal(path.rpartition(".")[2]) in _OF_TRANSFORMERS}
        if len(above) == 1:
            within = f"{above.pop()}." if not flags and "" not in above else prefix
            missing |= {within + name: default for name, default in TRAINING_ARGUMENTS.items()}
    if "LightningCLI" in script and any(path.startswith(f"{prefix}trainer.") for path in values):
        missing |= {f"{prefix}trainer.{name}": default for name, default in TRAINER.items()}
    return {path: default for path, default in missing.items() if path not in values}

"""The configuration of a reference training: flat keys in a YAML file, read once, validated, frozen.

``load_config`` is the only reader. What it cannot accept it refuses with the value, the place and the next action;
nothing downstream sees the raw file. This module does not import torch, so that a wrong file is reported at once.
"""

from __future__ import annotations

import contextlib
import math
import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import yaml
from msgspec import Meta

from hotlap.errors import ConfigError, did_you_mean

Count = Annotated[int, Meta(ge=1, description="a whole number of at least 1")]
CountOrZero = Annotated[int, Meta(ge=0, description="a whole number of at least 0 (0 = never or none)")]
Seed = Annotated[int, Meta(ge=0, lt=2**32, description="a whole number from 0 to 4294967295")]
Positive = Annotated[float, Meta(gt=0, description="a number above 0")]
PositiveOrZero = Annotated[float, Meta(ge=0, description="a number of at least 0")]
Momentum = Annotated[float, Meta(ge=0, lt=1, description="a number from 0 up to, but not including, 1")]
Patch = Annotated[int, Meta(ge=8, le=1024, description="a whole number of pixels from 8 to 1024")]
Text = Annotated[str, Meta(min_length=1, description="a text")]

#: Samples in an epoch: patches are drawn at random, so that an epoch is a unit of shuffling, not of seeing everything.
EPOCH_SAMPLES = 1024
Batch = Annotated[int, Meta(ge=1, le=EPOCH_SAMPLES, description=f"a whole number from 1 to {EPOCH_SAMPLES}")]


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every key of the file, with what it is when the file does not say."""

    workload: Literal["restoration"] = "restoration"
    task: Literal["denoise", "super_resolution"] = "denoise"
    #: A folder of pictures; None takes the photographs in the scikit-image and scikit-learn packages.
    data_dir: Text | None = None
    output_dir: Text = "runs/restoration"
    seed: Seed = 0
    #: Optimizer steps.
    steps: Count = 1000
    #: Samples in a micro-batch; the effective batch is batch_size * accumulation_steps.
    batch_size: Batch = 8
    accumulation_steps: Count = 1
    #: Pixels of the square target patch.
    patch_size: Patch = 64
    base_channels: Count = 32
    num_blocks: Count = 4
    #: Standard deviation of the noise, on the scale of 0 to 255.
    noise_sigma: PositiveOrZero = 25.0
    use_perceptual: bool = False
    perceptual_weight: PositiveOrZero = 0.1
    #: Use the perceptual term in one step of so many.
    perceptual_every: Count = 1
    lr: Positive = 1e-3
    weight_decay: PositiveOrZero = 0.0
    #: Of SGD; the Adam family ignores it.
    momentum: Momentum = 0.9
    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    optimizer_implementation: Literal["auto", "for-loop", "foreach", "fused"] = "auto"
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup_steps: CountOrZero = 0
    #: Largest norm of the gradient; 0 does not clip.
    grad_clip: PositiveOrZero = 1.0
    use_mixed_precision: bool = False
    mixed_precision_dtype: Literal["bfloat16", "float16"] = "bfloat16"
    channels_last: bool = False
    compile_model: bool = False
    #: Activation checkpointing of every block.
    use_checkpoint: bool = False
    #: Freed memory stays with the process instead of going back to the kernel (glibc; for a CPU).
    keep_freed_memory: bool = False
    num_workers: CountOrZero = 0
    #: Batches that each worker keeps ready; ignored without workers.
    prefetch_factor: Count = 2
    #: Ignored without workers.
    persistent_workers: bool = False
    #: Ignored without a GPU.
    pin_memory: bool = False
    #: Steps between validations; 0 validates at the end only.
    validate_every: CountOrZero = 200
    #: Steps between checkpoints; 0 saves at the end only.
    save_every: CountOrZero = 500
    log_every: Count = 20
    device: Literal["auto", "cpu", "cuda"] = "auto"
    #: A checkpoint to go on from.
    resume: Text | None = None

    def __post_init__(self) -> None:
        if self.warmup_steps >= self.steps:
            raise ConfigError(
                f"warmup_steps is {self.warmup_steps} and steps is {self.steps}: the warm-up must end before "
                "the training does, so lower warmup_steps or raise steps"
            )
        if self.task == "super_resolution" and self.patch_size % 2:
            raise ConfigError(
                f"patch_size is {self.patch_size}: super_resolution halves the patch, so choose an even number, "
                f"for example {self.patch_size + 1}"
            )


def load_config(path: str | Path) -> TrainConfig:
    """Read a configuration file. Raises ``ConfigError`` with one clear sentence for whatever is wrong with it."""
    path = Path(path)
    raw, lines = _read_mapping(path)
    hints = get_type_hints(TrainConfig, include_extras=True)
    values: dict[str, Any] = {}
    for key, value in raw.items():
        place = f"{path}, line {lines[key]}" if key in lines else str(path)
        if key not in hints:
            hint = did_you_mean(str(key), hints) or "; take the line out, or see the keys in configs/restoration.yaml"
            raise ConfigError(f"{place}: there is no key {key!r}{hint}")
        values[key] = _value(key, value, hints[key], place)
    try:
        return TrainConfig(**values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _read_mapping(path: Path) -> tuple[dict[Any, Any], dict[Any, int]]:
    """Return the file's mapping, and the line of each of its keys."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path} does not exist: give the path of a configuration file, for example configs/restoration.yaml"
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not a text file in UTF-8: save it as UTF-8, or give another file") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): give a readable configuration file") from None
    try:
        documents = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
        if len(documents) > 1:
            line = documents[1].start_mark.line
            raise ConfigError(
                f"{path} holds {len(documents)} documents, the second from line {line}: "
                "keep one and delete its --- line"
            )
        if not documents:
            return {}, {}
        node = documents[0]
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{path} is not a list of keys: write one 'key: value' a line, for example 'steps: 1000'")
        return yaml.safe_load(text), _lines(path, node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        content = text.splitlines()[line - 1] if line <= len(text.splitlines()) else ""
        if "\t" in content:
            raise ConfigError(
                f"{path}, line {line}: YAML does not allow tabs here, put spaces in their place"
            ) from None
        raise ConfigError(f"{path}, line {line} is not YAML ({error.problem}): correct {content.strip()!r}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML ({str(error).splitlines()[0]}): remove the unusual characters") from None


def _lines(path: Path, node: yaml.MappingNode) -> dict[str, int]:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        if name in lines:
            raise ConfigError(f"{path}: {name} is there twice, on lines {lines[name]} and {line}: delete one")
        lines[name] = line
    return lines


def _value(key: str, value: Any, hint: Any, place: str) -> Any:
    if _is_float(hint) and isinstance(value, str):
        # YAML 1.1 reads 3e-4 as a text, and everybody writes it.
        with contextlib.suppress(ValueError):
            value = float(value)
    try:
        if isinstance(value, float) and not math.isfinite(value):
            raise msgspec.ValidationError
        return msgspec.convert(value, hint)
    except msgspec.ValidationError:
        choices = [choice for choice in get_args(hint) if isinstance(choice, str)]
        suggestion = did_you_mean(value.lower(), choices) if isinstance(value, str) else ""
        raise ConfigError(f"{place}: {key} is {value!r} but must be {_expected(hint)}{suggestion}") from None


def _is_float(hint: Any) -> bool:
    return get_origin(hint) is Annotated and get_args(hint)[0] is float


def _expected(hint: Any) -> str:
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return next(meta.description or "" for meta in parts[1:] if isinstance(meta, Meta))
    if origin is Literal:
        return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} or {parts[-1]}"
    if origin in (Union, types.UnionType):
        return " or ".join("null" if part is type(None) else _expected(part) for part in parts)
    return "true or false"

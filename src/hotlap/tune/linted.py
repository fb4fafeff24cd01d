"""A configuration read for the linter: its keys and values, and the machine that it is judged for.

file ── of hotlap train ──> read_config: every key, with what it is by itself     ┐
     └─ another project's ──> dialects: the keys that are recognised by their names ┴──> Setup ──> rules ──> Lint
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from hotlap.diagnose.lint import Device, Setup, lint, rules_of_configurations
from hotlap.errors import ConfigError, UsageError
from hotlap.estimate.cards import Card, find
from hotlap.estimate.configured import without_data
from hotlap.estimate.data_side import estimate
from hotlap.launch.environment import environment, gpu_memory
from hotlap.records import Lint, Surroundings
from hotlap.train.config import AptConfig, RestorationConfig, TrainConfig, read_config
from hotlap.train.config.restoration import EPOCH_SAMPLES
from hotlap.tune.dialects import normal, recognise
from hotlap.tune.documents import read_document
from hotlap.tune.keys import Entry, Place

#: Pairs that the emoji package gives for each concept.
_PAIRS = 6
#: Of a cache of samples, in the words of the project that this one was made for.
_CACHE: dict[str, type | tuple[type, ...]] = {"use_ram_cache": bool, "cache_size_gb": (int, float)}


def lint_config(
    path: Path,
    *,
    ranks: int = 1,
    memory: int | None = None,
    cores: int | None = None,
    gpu: str | None = None,
    against: Path | None = None,
) -> Lint:
    """Find what in a configuration would harm its training on this machine, or on the one that is described.

    ``gpu`` is the name of a card, or "none". Nothing runs, and no data are read.

    Raises:
        ConfigError: it cannot be read, or is neither of ``hotlap train`` nor has any key that is recognised.
        UsageError: there is no such card.
    """
    here = environment()
    setup, recognised = _setup(path, ranks=ranks, cores=cores or here.cores, memory=memory or int(here.memory or 0))
    device = _device(gpu, here.gpus, setup.values)
    base = None if against is None else _setup(against, ranks=ranks, cores=1, memory=1)[0].values
    setup = msgspec.structs.replace(setup, device=device, base=base)
    return Lint(
        config=str(path),
        workload=setup.workload,
        recognised=recognised,
        surroundings=Surroundings(
            ranks=ranks, cores=setup.cores, memory=setup.memory, device=None if device is None else device.name
        ),
        against=None if against is None else str(against),
        checked=[each.code for each in rules_of_configurations()],
        findings=lint(setup),
    )


def _setup(path: Path, *, ranks: int, cores: int, memory: int) -> tuple[Setup, list[str]]:
    """Return also the paths that were recognised, of another project's configuration."""
    try:
        config, spelled = read_config(path)
    except ConfigError as error:
        return _another_projects(path, ranks, cores, memory, error)
    kind = type(config)
    plan = without_data(path, ranks, memory, cores)
    names = config.__struct_fields__
    setup = Setup(
        values={name: getattr(config, name) for name in names},
        places={name: paths[0] for name, paths in spelled.items()},
        defaults={name: getattr(kind(workload=config.workload), name) for name in names},
        workload=config.workload,
        workers_of_all=config.workload == "vrt_spike",
        ranks=ranks,
        cores=cores,
        memory=memory,
        data=None if plan is None else estimate(plan),
        epoch_samples=_epoch_samples(config),
    )
    return setup, []


def _epoch_samples(config: TrainConfig) -> int | None:
    if isinstance(config, RestorationConfig):
        return EPOCH_SAMPLES
    if isinstance(config, AptConfig) and config.data_file is None:
        return max(0, _PAIRS * config.concepts - config.held_out) or None
    return None


def _another_projects(path: Path, ranks: int, cores: int, memory: int, error: ConfigError) -> tuple[Setup, list[str]]:
    """Raises ``error`` where the file is meant for ``hotlap train``, or nothing in it is recognised."""
    document = read_document(str(path), 0)
    if document is None or not document.values or _meant_for_us(document.values):
        raise error
    entries = [Entry(Place(document.source, key), value) for key, value in document.values.items()]
    found = recognise(entries, ranks)
    places = {name: key.places[0].path for name, key in found.keys.items()}
    values = found.values()
    for name in ("use_mixed_precision", "mixed_precision_dtype"):
        if name in values and "precision" in places:
            places[name] = places["precision"]
    for entry in entries:
        name = normal(entry.place.path.rpartition(".")[2])
        if name in _CACHE and isinstance(entry.value, _CACHE[name]):
            values[name], places[name] = entry.value, entry.place.path
    if not values:
        raise ConfigError(
            f"{path} is no configuration of hotlap train, and no key in it is recognised ({error}): see "
            "configs/restoration.yaml for the keys"
        )
    workers = places.get("num_workers", "")
    setup = Setup(
        values=values,
        places=places,
        workers_of_all=normal(workers.rpartition(".")[2]) == "total_workers",
        ranks=ranks,
        cores=cores,
        memory=memory,
    )
    return setup, sorted(set(places.values()))


def _meant_for_us(values: Mapping[str, Any]) -> bool:
    """Whether it names a workload, or has mostly keys of the one that needs no naming."""
    ours = set(RestorationConfig.__struct_fields__)
    return any(path.lower() == "workload" for path in values) or 2 * len(ours & values.keys()) > len(values)


def _device(gpu: str | None, here: list[str], values: Mapping[str, Any]) -> Device | None:
    if values.get("device") == "cpu" or (gpu is not None and gpu.lower() in ("none", "cpu")):
        return Device(kind="cpu", name="cpu")
    if gpu is not None:
        return device_of_card(find(gpu))
    if not here:
        return None
    with suppress(UsageError):
        return device_of_card(find(here[0]))
    with suppress(UsageError):  # several cards have this name
        return device_of_card(find(here[0], gpu_memory()))
    return Device(kind="cuda", name=here[0])


def device_of_card(card: Card) -> Device:
    """By the figures that are published of it: a rate of its own is a unit of its own. AMD's are not judged."""
    capability = card.capability or ""
    major, _, minor = capability.partition(".")
    nvidia = card.vendor == "NVIDIA"
    return Device(
        kind="cuda",
        name=card.name,
        bfloat16=card.bf16 is not None if nvidia else None,
        float16=card.fp16 is not None if nvidia else None,
        tensor_float=card.tf32 is not None if nvidia else None,
        capability=(int(major), int(minor)) if nvidia and minor.isdigit() else None,
    )

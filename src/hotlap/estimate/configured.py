"""What a configuration of ``hotlap train`` says of its data side: loader, cache, and the data themselves."""

from __future__ import annotations

from pathlib import Path

import msgspec

from hotlap.errors import UsageError
from hotlap.estimate.data_side import bytes_of
from hotlap.records import DataPlan, Part
from hotlap.train.config import RestorationConfig, TrainConfig, VrtSpikeConfig, load_config

GIB = 2**30


def configured(path: Path, plan: DataPlan, *, with_data: bool, cores: int | None = None) -> DataPlan:
    """The plan with what a configuration sets of loader and cache, and ``with_data`` what lies in its folder.

    ``cores``: of the node, which "auto" workers depend on; None: this one.

    Raises:
        UsageError: its data are in memory from the start, or are not there yet.
        ConfigError: something is wrong with it, or with its data.
    """
    config = load_config(path)
    cache_gb = config.cache_size_gb if isinstance(config, VrtSpikeConfig) and config.use_ram_cache else 0.0
    plan = msgspec.structs.replace(
        plan,
        batch_size=config.batch_size,
        workers=config.workers(plan.ranks, cores),
        prefetch=config.prefetch_factor,
        cache=int(cache_gb * GIB),
        configured=isinstance(config, VrtSpikeConfig),
    )
    return _with_data(config, plan) if with_data else plan


def _with_data(config: TrainConfig, plan: DataPlan) -> DataPlan:
    """Frames are kept whole, in integers, and come to a batch as crops. All scenes count as the largest of them."""
    if not isinstance(config, VrtSpikeConfig):
        raise UsageError(
            f"{config.workload} has all its data in memory from the start, in each process that trains: give --samples "
            "and --sample to count another set"
        )
    from hotlap.workloads.vrt_spike import film_folder
    from hotlap.workloads.vrt_spike.folders import find_scenes

    folder = film_folder(config) if config.data_dir is None else Path(config.data_dir)
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is not there yet, so its frames cannot be counted: give --samples and --sample, or train first"
        )
    scenes, _ = find_scenes(folder)
    largest = max(scenes, key=lambda scene: scene.height * scene.width)
    size, bins = [largest.height, largest.width], config.voxel_bins
    longest = max(frame.stop - frame.start for scene in scenes for frame in scene.frames)
    counts = "uint8" if -(-longest // bins) < 256 else "uint16"
    return msgspec.structs.replace(
        plan,
        samples=sum(len(scene.frames) for scene in scenes),
        sample=[
            Part(shape=[3, *size], dtype="uint8"),
            Part(shape=[3, *size], dtype="uint8"),
            Part(shape=[bins, *size], dtype=counts),
        ],
        in_batch=sample_in_batch(config),
    )


def sample_in_batch(config: TrainConfig) -> list[Part]:
    """What comes to a batch of a sample, at its largest; nothing of apt, whose samples are a few tokens."""
    if not isinstance(config, (RestorationConfig, VrtSpikeConfig)):
        return []
    side = config.patch_size if isinstance(config.patch_size, int) else max(config.patch_size.values())
    if isinstance(config, RestorationConfig):
        small = side // config.scale if config.task == "super_resolution" else side
        return [Part(shape=[3, small, small]), Part(shape=[3, side, side])]
    return [Part(shape=[config.clip_length, channels, side, side]) for channels in (3, config.voxel_bins, 3)]


def without_data(path: Path, ranks: int, memory: int, cores: int | None = None) -> DataPlan | None:
    """The plan of a configuration by itself, with a set that fills its cache; None where its batches are not counted.

    Raises ConfigError as ``configured`` does.
    """
    parts = sample_in_batch(load_config(path))
    if not parts:
        return None
    plan = DataPlan(samples=1, sample=parts, ranks=ranks, memory=memory)
    plan = configured(path, plan, with_data=False, cores=cores)
    return msgspec.structs.replace(plan, samples=max(1, -(-plan.cache // bytes_of(parts))))

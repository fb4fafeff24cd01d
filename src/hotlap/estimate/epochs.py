"""How long an epoch and a whole training of a configuration are: by its data, where they are there."""

from __future__ import annotations

from pathlib import Path

from hotlap.errors import ConfigError
from hotlap.records import Horizon
from hotlap.train.config import AptConfig, RestorationConfig, TrainConfig, VrtSpikeConfig
from hotlap.train.config.restoration import EPOCH_SAMPLES


def horizon(config: TrainConfig, *, ranks: int = 1, samples: int | None = None, price: float | None = None) -> Horizon:
    """``samples``: of an epoch, where the user says how many."""
    found, source = _epoch_samples(config) if samples is None else (samples, "as given")
    together = config.batch_size * config.accumulation_steps * ranks
    by_epochs = None
    if config.epochs and found is not None:
        by_epochs = max(1, config.epochs * (found // together if config.drop_last else -(-found // together)))
    if not config.epochs:
        steps: int | None = config.steps
    elif by_epochs is None:
        steps = None
    else:
        steps = min(number for number in (config.steps, by_epochs) if number)
    why = "it is a number of epochs" if steps is None else ""
    return Horizon(
        samples=together, epoch_samples=found, epoch_from=source, steps=steps, steps_from=why, price=price, ranks=ranks
    )


def _epoch_samples(config: TrainConfig) -> tuple[int | None, str]:
    try:
        if isinstance(config, RestorationConfig):
            return EPOCH_SAMPLES, "patches drawn at random: an epoch is said to have so many"
        if isinstance(config, AptConfig):
            from hotlap.workloads.apt import pairs_of

            return len(pairs_of(config)[0]), "its pairs"
        if isinstance(config, VrtSpikeConfig):
            return _clips(config)
    except ConfigError as error:
        return None, str(error)
    return None, "not known for this workload: give --samples"


def _clips(config: VrtSpikeConfig) -> tuple[int | None, str]:
    from hotlap.workloads.vrt_spike import film_folder
    from hotlap.workloads.vrt_spike.folders import find_scenes

    folder = film_folder(config) if config.data_dir is None else Path(config.data_dir)
    if not folder.is_dir():
        return None, f"{folder} is not there yet: give --samples"
    scenes, _ = find_scenes(folder)
    return sum(max(0, len(scene.frames) - config.clip_length + 1) for scene in scenes), f"clips in {folder}"

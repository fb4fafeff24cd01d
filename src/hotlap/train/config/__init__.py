"""The configuration of a reference training: a YAML file, read once, validated, frozen.

    base        the keys that all trainings share
    restoration, apt, vrt_spike      the keys of each, with its own defaults and spelling
    reading     ``load_config`` and ``read_config``, the only readers

What it cannot accept it refuses with the value, the place and the next action; nothing downstream sees the raw file.
Nothing here imports torch, so that a wrong file is reported at once.
"""

from __future__ import annotations

from hotlap.train.config.apt import AptConfig
from hotlap.train.config.base import TrainConfig
from hotlap.train.config.reading import load_config, read_config
from hotlap.train.config.restoration import RestorationConfig
from hotlap.train.config.vrt_spike import VrtSpikeConfig

__all__ = ["AptConfig", "RestorationConfig", "TrainConfig", "VrtSpikeConfig", "load_config", "read_config"]

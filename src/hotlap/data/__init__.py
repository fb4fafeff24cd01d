"""The data side of a training: samples kept once for the whole node.

cache       SampleCache, around any map-style dataset
latest      its store where the latest samples stay, in a ring
transport   SharedBatches, a loader whose workers write where the training reads
policies    which samples to keep, simulated; order, prediction: on the order in which they will be read
grouping    orders that put like samples beside each other, where asked for
loader      how many workers a loader needs, from measured times
tensors     TensorBatches, of data that are tensors already

The memory that processes share is in ``hotlap.probe.shared``.
"""

from __future__ import annotations

from hotlap.data.cache import CacheStats, SampleCache
from hotlap.data.grouping import GroupedSampler, alike, grouped
from hotlap.data.loader import LoaderSettings, Searched, loader_settings, search
from hotlap.data.prediction import Prediction
from hotlap.data.tensors import TensorBatches
from hotlap.data.transport import SharedBatches

__all__ = [
    "CacheStats",
    "GroupedSampler",
    "LoaderSettings",
    "Prediction",
    "SampleCache",
    "Searched",
    "SharedBatches",
    "TensorBatches",
    "alike",
    "grouped",
    "loader_settings",
    "search",
]

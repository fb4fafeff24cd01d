"""The data side of a training: samples kept once for the whole node.

cache       SampleCache, around any map-style dataset
store       samples by number in shared memory; shared: that memory; flat: a sample as bytes
transport   SharedBatches, a loader whose workers write where the training reads
policies    which samples to keep, simulated; room: how many bytes a node can spare
"""

from __future__ import annotations

from hotlap.data.cache import CacheStats, SampleCache
from hotlap.data.transport import SharedBatches

__all__ = ["CacheStats", "SampleCache", "SharedBatches"]

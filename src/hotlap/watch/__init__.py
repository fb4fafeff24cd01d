"""A live view of a training: its GPUs, processors and memory, and how its steps go on.

    trainings ──> Sensors ──Sample──> History ──> warnings
                    │                    ├──────> screen, line or JSON
    nvml, machine,  │                    └──────> Summary: means, peaks, verdicts
    processes, record

Everything is seen from outside: from the driver, from /proc, and from the record that the probe writes if hotlap
started the training. The training knows nothing of being watched.
"""

from __future__ import annotations

from hotlap.watch.live import glance, watch
from hotlap.watch.sensors import Sensors
from hotlap.watch.trainings import Training, find
from hotlap.watch.views import AsJson, AsLines, OnScreen, View, write_json

__all__ = ["AsJson", "AsLines", "OnScreen", "Sensors", "Training", "View", "find", "glance", "watch", "write_json"]

"""A live view of a training: its GPUs, processors and memory, and how its steps go on.

    trainings ──> Sensors ──Sample──> History ──> warnings
                    │                    ├──────> screen, line or JSON
    nvml, machine,  │                    └──────> Summary: means, peaks, verdicts
    processes, record

Everything is seen from outside: from the driver, from /proc, and from the record that the probe writes if hotlap
started the training. The training knows nothing of being watched.
"""

from __future__ import annotations

from hotlap.watch.live import AsJson, AsLines, OnScreen, View, glance, watch, write_json
from hotlap.watch.sensors import Sensors
from hotlap.watch.trainings import Training, find

__all__ = ["AsJson", "AsLines", "OnScreen", "Sensors", "Training", "View", "find", "glance", "watch", "write_json"]

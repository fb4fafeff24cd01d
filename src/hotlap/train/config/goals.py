"""What is asked of a training where nobody says otherwise, by ``hotlap verify`` and ``hotlap watch``."""

from __future__ import annotations

#: What is asked where the configuration's ``goals`` do not say otherwise.
GOALS = {
    #: Most per cent by which the loss may still fall from the last eighth but one to the last.
    "loss_change": 5.0,
    #: Most milliseconds of a step.
    "data_time_ms": 10.0,
    #: Least and most per cent.
    "gpu_utilization": 90.0,
    "gpu_memory": 95.0,
    "cpu": 85.0,
    "disk_wait": 10.0,
    #: Most per cent by which the memory of the process may grow over the last looks.
    "memory_growth": 5.0,
}
#: Least samples per second; there is none that would suit every training.
THROUGHPUT = "throughput"
#: Least per cent of what is asked of the cache; what it can reach depends on its size.
HIT_RATE = "hit_rate"
#: Per cent of a step that may be waited for data, where no goal says how long.
DATA_SHARE = 5.0
#: Of the system's memory in use, from which on a training is in danger.
CRITICAL_MEMORY = 0.9

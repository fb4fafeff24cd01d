"""How many processes should prepare batches: one formula for advice, for scripts and for the reference trainer.

    what a worker needs for the batches of a step
    --------------------------------------------- x 1.25, rounded up
      what a step takes that never waits for one

but no more than there are cores for a rank, and than there is memory for what they hold ready. The standard library
alone.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

#: Batches come unevenly.
SLACK = 1.25
#: Seconds to hand one batch from a worker to the loop: queue, unpickling, mapping shared memory. 0.5 ms were measured
#: for a ready batch of two small tensors on 2 cores. A fetch that takes less cannot be hidden by a worker.
HANDOVER = 500e-6


class Choice(NamedTuple):
    workers: int
    #: One sentence.
    why: str


def to_keep_up(fetch: float, step: float, slack: float = 1.0) -> int:
    """Workers that make as many batches as are taken; seconds of one for a step's data, and of a step without waits."""
    return max(1, math.ceil(slack * fetch / step))


def batch_seconds(samples: int, miss: float, hit: float = 0.0, hit_rate: float = 0.0) -> float:
    """Of so many samples, of which a share is found in a cache; seconds of one each."""
    return samples * (hit_rate * hit + (1 - hit_rate) * miss)


def choose(
    fetch: float,
    step: float,
    *,
    cores: int,
    ranks: int = 1,
    ready: float = 0.0,
    memory: float = math.inf,
) -> Choice:
    """The workers of each of ``ranks`` that share so many cores and bytes of memory.

    ``fetch``: seconds of a worker for a batch; ``step``: seconds between two batches where none is waited for.
    ``ready``: bytes that a worker holds ready.
    """
    said = f"a batch takes {_milliseconds(fetch)} to fetch"
    if fetch <= HANDOVER:
        return Choice(0, f"no workers: {said}, and about {_milliseconds(HANDOVER)} to hand over from a worker")
    limits = [(cores // ranks, f"{cores} cores" + (f" for {ranks} ranks" if ranks > 1 else ""))]
    if ready > 0 and memory < math.inf:
        limits.append((int(memory / ranks / ready), f"the memory for {ready / 2**20:.0f} MiB that each holds ready"))
    most, cap = min(limits)
    wanted = to_keep_up(fetch, step, SLACK) if step > 0 else None
    said += f" and a step {_milliseconds(step)} without waiting"
    if wanted is None or wanted > most:
        more = "" if wanted is None else f", for which {wanted} would be wanted"
        return Choice(most, f"{_plural(most)}: {said}{more}; {cap} allow no more")
    ratio = f"{SLACK} x {1e3 * fetch:.3g} / {1e3 * step:.3g}"
    return Choice(wanted, f"{_plural(wanted)}: {said}, and {ratio} rounds up to {wanted}")


def usable_cores() -> int:
    """Cores that this process may use: affinity, and the cgroup's quota (v2) where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cpu_quota()
    return cores if quota is None else max(1, min(cores, int(quota)))


def cpu_quota() -> float | None:
    """Cores' worth of time that the cgroup may use."""
    limits = (text.split() for text in cgroup_limits("cpu.max"))
    return min((int(quota) / int(period) for quota, period in limits if quota != "max"), default=None)


def cgroup_limits(name: str) -> Iterator[str]:
    """This process's limit and those of the groups around its own (cgroup v2), as far as they can be read."""
    for group in cgroups():
        with contextlib.suppress(OSError):
            yield (group / name).read_text().strip()


def cgroups(pid: int | str = "self") -> list[Path]:
    """The folders of a process's group and of those around it (cgroup v2), the own one first."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return []
    own = next((PurePosixPath(line[3:]) for line in lines if line.startswith("0::/")), PurePosixPath("/"))
    return [Path(f"/sys/fs/cgroup{group}") for group in (own, *own.parents)]


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms"


def _plural(workers: int) -> str:
    return f"{workers} worker{'' if workers == 1 else 's'}"

"""Loader workers whose training was killed while they began.

Torch's worker asks now and then whether its parent is still the one that it had when it began. One whose parent died
before it asked first never ends, and what is shared with it stays in memory until somebody kills it.
"""

from __future__ import annotations

import multiprocessing
import os
from functools import lru_cache
from typing import Any

from torch.utils.data._utils import worker


@lru_cache(maxsize=1)
def end_with_the_training() -> None:
    """Let the workers of this process, and this process if it is one, know who started them."""
    os.register_at_fork(after_in_child=_know_the_parent)
    if multiprocessing.parent_process() is not None:  # a spawned worker
        _know_the_parent()


def _know_the_parent() -> None:
    # Torch's own affair, so it may be gone in another version.
    watchdog: Any = getattr(worker, "ManagerWatchdog", None)
    if watchdog is not None and not issubclass(watchdog, _Watched):
        replaced: Any = worker
        replaced.ManagerWatchdog = type("ManagerWatchdog", (_Watched, watchdog), {})


class _Watched:
    manager_pid: int

    def __init__(self) -> None:
        super().__init__()
        parent = multiprocessing.parent_process()
        if parent is not None and parent.pid is not None:
            self.manager_pid = parent.pid

"""Pictures that were decoded once are kept: by the training where it fetches itself, by each of its workers else."""

from __future__ import annotations

import mmap
from typing import Any

from hotlap.probe.levers.base import Lever
from hotlap.probe.pictures import PICTURES, Kept


class CacheDecoded(Lever):
    """``value``: bytes that may be kept, of all workers together."""

    name = "cache_decoded"
    never = "no picture was decoded a second time, by PIL or OpenCV and in one process"

    def install(self) -> None:
        # Shared with the workers that are forked: they say in it that they had use of it.
        self.used = mmap.mmap(-1, mmap.PAGESIZE)
        PICTURES.watch()
        PICTURES.kept = Kept(self._most, self._hit)

    def switch(self, value: Any) -> None:
        super().switch(value)
        if not value:
            PICTURES.kept = None

    def before_optimizer(self, optimizer: Any) -> None:
        if not self.applied and self.used[0]:
            self.pulled()

    def _most(self) -> int:
        worker = self.torch.utils.data.get_worker_info()
        return int(self.value) // (1 if worker is None else worker.num_workers)

    def _hit(self) -> None:
        self.used[0] = 1

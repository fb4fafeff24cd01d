"""Pictures that were decoded once are kept, for all processes of the training on this node."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from hotlap.probe.levers.base import Lever
from hotlap.probe.pictures import PICTURES

if TYPE_CHECKING:
    from hotlap.probe.shared.keyed import Keyed


class CacheDecoded(Lever):
    """``value``: bytes that may be kept, of all workers together."""

    name = "cache_decoded"
    never = "no picture was decoded a second time by PIL or OpenCV"

    def install(self) -> None:
        self._memory: Keyed | None = None
        self._making = threading.Lock()
        PICTURES.watch()
        PICTURES.kept = self

    def switch(self, value: Any) -> None:
        super().switch(value)
        PICTURES.kept = self if value else None

    def before_workers(self, iterator: Any, loader: Any) -> None:
        # For all of them, and for those of the next epoch.
        self._keyed()

    def before_optimizer(self, optimizer: Any) -> None:
        if not self.applied and self._memory is not None and self._memory.hits:
            self.pulled()

    def get(self, digest: bytes) -> tuple[bytes, Any] | None:
        return self._keyed().get(digest)

    def put(self, digest: bytes, form: bytes, body: Any) -> None:
        self._keyed().put(digest, form, body)

    def _keyed(self) -> Keyed:
        """Where they are kept: not before it is needed, as a process that starts the ranks decodes nothing."""
        with self._making:
            if self._memory is None:
                from hotlap.probe.shared.keyed import Keyed

                try:
                    self._memory = Keyed.of_this_training("decoded", int(self.value))
                except Exception as error:
                    self.give_up(error)
                    raise
            return self._memory

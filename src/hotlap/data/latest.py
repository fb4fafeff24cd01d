"""Samples in shared memory, by number: the latest stay.

    written so far ──────────────────────────────┐ USED
    │ gone .......... │ the latest, a budget long │
                      └ begin of a sample >= USED - budget: still there

For readings of the same sample that come close together, as those of frames that clips share. The samples lie in a
ring, each where the one before it ends. A place has one number for ever, how much was written before it, so that nobody
need ask who has read it: that a sample was overwritten is seen by its number, afterwards, and then it was no hit.

What a reader copies may be overwritten while it copies. So USED moves on before a byte is written; and who has copied
looks again whether the sample was still there when that was done.
"""

from __future__ import annotations

import numpy as np

from hotlap.probe.shared.flat import ALIGNMENT
from hotlap.probe.shared.store import Header, Storable, Store, aligned, in_this_order


class Latest(Store):
    """A slot's ``begin`` is the number of its place plus the budget, and 0 while it is empty; USED counts on and on."""

    @property
    def _budget(self) -> int:
        return int(self.header[Header.BUDGET]) // ALIGNMENT * ALIGNMENT

    def stamp(self, key: int) -> int:
        in_this_order()
        begin = int(self._slots[key]["begin"])
        there = begin >= int(self.header[Header.USED])
        in_this_order()
        return begin if there else 0

    def get(self, key: int) -> tuple[bytes, np.ndarray] | None:
        begin = self.stamp(key)
        found = self._lying(key, self._place(begin)) if begin else None
        # Its form is read already, and must not be half that of another sample.
        return found if self.stamp(key) == begin else None

    def put(self, key: int, sample: Storable) -> bool:
        # Alone until it is written: one that fell behind would write over what others put there a lap later.
        with self._allocating() as alone:
            begin = self._next(aligned(len(sample.form)) + aligned(sample.size)) if alone else None
            if begin is None:
                return False
            slot = self._slots[key : key + 1]
            slot["begin"] = 0
            in_this_order()
            slot["form"], slot["body"] = len(sample.form), sample.size
            slot["checksum"] = self._write(self._place(begin), sample)
            in_this_order()
            slot["begin"] = begin
        return True

    def _place(self, begin: int) -> int:
        return self._data + begin % self._budget

    def _next(self, size: int) -> int | None:
        budget, used = self._budget, int(self.header[Header.USED])
        if size > budget:
            return None
        left = budget - used % budget
        if size > left:
            used += left
        if not self._reserved(used % budget + size):
            return None
        self.header[Header.USED] = used + size
        return used + budget

    @property
    def full(self) -> bool:
        return False

    @property
    def items(self) -> int:
        return int(np.count_nonzero(self._ready()))

    def _ready(self) -> np.ndarray:
        begins = self._slots["begin"]
        ready: np.ndarray = (begins >= self.header[Header.USED]) & (begins > 0)
        return ready

    @property
    def used(self) -> int:
        return min(super().used, self._budget)

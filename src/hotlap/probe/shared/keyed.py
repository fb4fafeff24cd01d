"""Bytes by any key, in memory that all processes of a training on this node share: those that came first stay.

    key ── digest ── one of the numbers from there on in a ``Store`` ┬ form    digest, what the bytes are
                                                                     └ body    the bytes

    the training   makes the memory, and says in its environment where      HOTLAP_KEYED_NAME=/proc/PID/fd/N
    a worker       has it from its parent, or finds it there                forked; spawned
    another rank   has the same one, where ranks know of each other

So what one worker has put there another one finds, and the workers of the next epoch, too.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from hotlap.probe.shared.samples import run_key
from hotlap.probe.shared.store import Counter, Store

#: Of a digest; and how it becomes a number.
DIGEST = 16
_NUMBER = 8
#: Numbers that a key may have.
_PLACES = 64
#: Bytes of the budget for each number that there is, and how many there are at the least and at the most: one takes 32
#: bytes once something near it is kept.
_APART, _FEWEST, _MOST = 1024, 2**12, 2**21


class Keyed:
    def __init__(self, store: Store) -> None:
        self.store = store

    @classmethod
    def of_this_training(cls, name: str, budget: int) -> Keyed:
        """``budget``: bytes for this rank. Raises ``NoMemory``, ``OSError``."""
        variable = f"HOTLAP_KEYED_{name.upper()}"
        found = os.environ.get(variable)
        if found is not None:
            return cls(Store.attach(found))
        ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        keys = max(_FEWEST, min(_MOST, ranks * budget // _APART))
        if ranks > 1:
            store, _ = Store.share(f"{run_key()}-{name}", keys, ranks * budget)
        else:
            store = Store.create(f"{os.getpid()}-{name}", keys, budget)
        os.environ[variable] = store.memory.path
        return cls(store)

    @property
    def hits(self) -> int:
        """Of all processes."""
        return self.store.hits

    def get(self, digest: bytes) -> tuple[bytes, np.ndarray] | None:
        """Form and body; the body lies in the memory, so it is for reading."""
        for number in self._numbers(digest):
            found = self.store.get(number)
            if found is None:
                return None
            if found[0].startswith(digest):
                self.store.count(Counter.HITS)
                return found[0][DIGEST:], found[1]
        return None

    def put(self, digest: bytes, form: bytes, body: Any) -> None:
        """``body``: a buffer. Nothing happens where there is no room, or where it is there already."""
        sample = _Bytes(digest + form, np.frombuffer(body, np.uint8))
        for number in self._numbers(digest):
            with self.store.claimed(number) as free:
                if free:
                    self.store.put(number, sample)
                    return
            found = self.store.get(number)
            if found is None or found[0].startswith(digest):
                return

    def _numbers(self, digest: bytes) -> list[int]:
        first, keys = int.from_bytes(digest[:_NUMBER], "little"), len(self.store)
        return [(first + place) % keys for place in range(_PLACES)]


class _Bytes:
    """What a ``Store`` stores."""

    def __init__(self, form: bytes, body: np.ndarray) -> None:
        self.form, self.body, self.size = form, body, body.nbytes

    def write(self, body: np.ndarray) -> None:
        body[:] = self.body

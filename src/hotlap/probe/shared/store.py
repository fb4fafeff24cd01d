"""Samples in shared memory, by number: those that come first stay.

    ┌ header ┬ where each lies ┬ what each process counted ┬ samples ...............│ room │
    │ u64    │ keys x Slot     │ processes x u64           │ form, body, form, body │      │

Every sample is read once in an epoch, so one that is thrown out for another gains nothing: of all rules that keep what
they read, keeping the first is the best (``policies``). A slot says "ready" last, and nothing in a ready slot changes
again, so that reading takes no lock.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Protocol

import numpy as np

from hotlap.probe.shared.flat import ALIGNMENT
from hotlap.probe.shared.memory import PATIENCE, NoMemory, SharedMemory, first_to_say, identity
from hotlap.probe.shared.room import may_be_taken

#: Bytes that are taken from the node at once.
EXTENT = 64 * 2**20
#: Processes that count at once, workers of all ranks among them.
PROCESSES = 1024
#: Of the budget: less than this part of it is no room.
_LEAST_ROOM = 1000
#: As full counts a cache with less than a tenth of it left, too, where so many samples in a row found no room: asking
#: one costs several times what handing it on does.
_LITTLE_ROOM, _REFUSALS = 10, 16
_PAGE = 4096
_VERSION = 1
#: Those of this process. Another descriptor of the same memory would take its locks with it when it is closed.
_stores: weakref.WeakValueDictionary[tuple[int, int], Store] = weakref.WeakValueDictionary()
_SLOT = np.dtype([("begin", "u8"), ("body", "u8"), ("form", "u4"), ("checksum", "u4"), ("ready", "u4"), ("_", "u4")])
#: Places of locks, far behind all bytes.
_ALLOCATION, _COUNTERS, _KEYS = 2**60, 2**60 + 1, 2**61


class Header(IntEnum):
    VERSION = 0
    KEYS = 1
    #: Of samples, in bytes.
    BUDGET = 2
    USED = 3
    RESERVED = 4
    ITEMS = 5
    #: Why nothing more is stored, a ``Stop``.
    STOPPED = 6
    #: When a rank first waited for the samples of the one that made this, in nanoseconds of the node's clock.
    WAITED_SINCE = 7
    #: Samples in a row for which there was no room.
    REFUSED = 8


class Stop(IntEnum):
    """Why no sample is stored any more."""

    GOES_ON = 0
    #: The node has no more memory than this.
    NO_MEMORY = 1
    #: Samples are random.
    RANDOM = 2
    #: They are others in another epoch, or in another rank.
    CHANGED = 3
    #: Something that should not happen did.
    FAILED = 4


_STOPS = tuple(Stop)


class Counter(IntEnum):
    PID = 0
    HITS = 1
    MISSES = 2
    #: Misses that were not stored, by reason.
    NO_ROOM = 3
    NOT_FLAT = 4
    NO_KEY = 5
    RANDOM = 6
    #: Nanoseconds.
    FETCHING = 7
    COPYING = 8
    WAITING = 9


class Storable(Protocol):
    """Such as a ``Flat``."""

    form: bytes
    #: Bytes of the body.
    size: int

    def write(self, body: np.ndarray) -> None: ...


class Store:
    """One process's view of it."""

    def __init__(self, memory: SharedMemory) -> None:
        self.memory = memory
        self._bytes = np.frombuffer(memory.map, np.uint8)
        self.header = self._bytes[:_PAGE].view(np.uint64)
        if self.header[Header.VERSION] != _VERSION:
            raise NoMemory(f"the shared samples are of version {self.header[Header.VERSION]}, not {_VERSION}")
        keys = int(self.header[Header.KEYS])
        counters, self._data = _places(keys)
        self._slots = self._bytes[_PAGE : _PAGE + keys * _SLOT.itemsize].view(_SLOT)
        self._rows = self._bytes[counters : self._data].view(np.uint64)[: PROCESSES * len(Counter)]
        self._rows = self._rows.reshape(PROCESSES, len(Counter))
        self._of_this_process()
        _stores[memory.identity] = self

    def _of_this_process(self) -> None:
        """What a forked process must not take over: the threads that hold it are not there."""
        self._pid = os.getpid()
        self._alone = threading.Lock()
        self._mine = threading.Condition()
        #: Keys that threads of this process fetch.
        self._fetching: set[int] = set()
        self._row: np.ndarray | None = None

    @classmethod
    def attach(cls, path: str) -> Store:
        """By the path of a process's descriptor; there is one store of a memory in a process."""
        found = _stores.get(identity(path))
        return cls(SharedMemory.attach(path)) if found is None else found

    @classmethod
    def create(cls, name: str, keys: int, budget: int) -> Store:
        _, data = _places(keys)
        # Whole extents, so that every byte of the budget can be taken.
        memory = SharedMemory.create(name, data + -(-budget // EXTENT) * EXTENT)
        header = np.frombuffer(memory.map, np.uint64, len(Header))
        header[Header.KEYS], header[Header.BUDGET] = keys, budget
        # Last: others may have found it already.
        in_this_order()
        header[Header.VERSION] = _VERSION
        return cls(memory)

    @classmethod
    def share(cls, name: str, keys: int, budget: int) -> tuple[Store, bool]:
        """That of whichever rank comes first, and whether that is this one. Raises ``NoMemory``."""
        until = time.monotonic() + PATIENCE
        while True:
            sign = first_to_say(name)
            if sign is not None:
                try:
                    store = cls.create(name, keys, budget)
                except BaseException:
                    sign.close()
                    raise
                weakref.finalize(store, sign.close)
                return store, True
            try:
                return cls.find(name, 1.0), False
            except NoMemory:
                # Who has made it may have let go of it since.
                if time.monotonic() > until:
                    raise

    @classmethod
    def find(cls, name: str, patience: float) -> Store:
        """That of another process of this user. Raises ``NoMemory`` if none has made it in so many seconds."""
        until = time.monotonic() + patience
        memory = SharedMemory.find(name, patience)
        version = np.frombuffer(memory.map, np.uint64, 1)
        while not version[0] and time.monotonic() < until:
            time.sleep(0.001)
        return cls(memory)

    # -- reading -------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return int(self.header[Header.KEYS])

    def stamp(self, key: int) -> int:
        """0 where no sample is ready. As long as it is the same, what ``get`` gave is that sample."""
        ready = int(self._slots[key]["ready"])
        in_this_order()
        return ready

    def get(self, key: int) -> tuple[bytes, np.ndarray] | None:
        """Form and body of a sample that is ready."""
        return self._lying(key, int(self._slots[key]["begin"])) if self.stamp(key) else None

    def _lying(self, key: int, begin: int) -> tuple[bytes, np.ndarray]:
        form, body = int(self._slots[key]["form"]), int(self._slots[key]["body"])
        first = begin + aligned(form)
        return self._bytes[begin : begin + form].tobytes(), self._bytes[first : first + body]

    def some_ready(self, most: int) -> list[int]:
        """Keys of that many samples, the lowest."""
        found: list[int] = np.flatnonzero(self._ready())[:most].tolist()
        return found

    def _ready(self) -> np.ndarray:
        """By key."""
        return self._slots["ready"]

    def intact(self, key: int) -> bool:
        """Whether a ready sample is as it was written."""
        found = self.get(key)
        return found is not None and _checksum(*found) == int(self._slots[key]["checksum"])

    # -- writing -------------------------------------------------------------------------------------------------

    @contextmanager
    def claimed(self, key: int) -> Iterator[bool]:
        """Alone with a key among the processes and threads of the node; gives whether it is still to be fetched.

        Who dies with it leaves it to the next one. Where two processes would wait for each other, it is not claimed,
        and may not be ready either.
        """
        if self._pid != os.getpid():
            self._of_this_process()
        with self._mine:
            self._mine.wait_for(lambda: key not in self._fetching)
            self._fetching.add(key)
        try:
            with self.memory.locked(_KEYS + key) as alone:
                yield alone and not self.stamp(key)
        finally:
            with self._mine:
                self._fetching.discard(key)
                self._mine.notify_all()

    def put(self, key: int, sample: Storable) -> bool:
        """Store it under a claimed key, if there is room."""
        begin = self._room(aligned(len(sample.form)) + aligned(sample.size))
        if begin is None:
            return False
        slot = self._slots[key : key + 1]
        slot["begin"], slot["form"], slot["body"] = begin, len(sample.form), sample.size
        slot["checksum"] = self._write(begin, sample)
        in_this_order()
        slot["ready"] = 1
        return True

    def _write(self, begin: int, sample: Storable) -> int:
        """Gives its checksum."""
        form = np.frombuffer(sample.form, np.uint8)
        self._bytes[begin : begin + len(form)] = form
        first = begin + aligned(len(form))
        body = self._bytes[first : first + sample.size]
        sample.write(body)
        return _checksum(sample.form, body)

    def may_wait(self, seconds: float) -> bool:
        """For the first samples of the rank that made this: it may never ask for any, so all wait once, together."""
        now = time.monotonic_ns()
        if not self.header[Header.WAITED_SINCE]:
            self.header[Header.WAITED_SINCE] = now
        return now - int(self.header[Header.WAITED_SINCE]) < 1e9 * seconds

    def stop(self, why: Stop) -> None:
        # That memory has run out must not hide that samples are random.
        if why > self.stopped:
            self.header[Header.STOPPED] = why

    @property
    def stopped(self) -> Stop:
        return _STOPS[int(self.header[Header.STOPPED])]

    @property
    def useless(self) -> bool:
        """Whether what is kept must not be handed out any more."""
        return self.stopped > Stop.NO_MEMORY

    @property
    def hits(self) -> int:
        return self.total(Counter.HITS)

    @property
    def full(self) -> bool:
        """Whether so little room is left that a sample is not asked whether it fits."""
        header = self.header
        most, left = int(header[Header.BUDGET]), int(header[Header.BUDGET]) - int(header[Header.USED])
        if left < most // _LITTLE_ROOM and int(header[Header.REFUSED]) >= _REFUSALS:
            return True
        items = int(header[Header.ITEMS])
        # Many small samples: one more of their usual size may still fit.
        return left < min(most // _LEAST_ROOM, (most - left) // items if items else most)

    def _room(self, size: int) -> int | None:
        with self._allocating() as alone:
            header = self.header
            used = int(header[Header.USED])
            if not alone:
                return None
            if used + size > int(header[Header.BUDGET]) or not self._reserved(used + size):
                header[Header.REFUSED] += np.uint64(1)
                return None
            header[Header.REFUSED] = 0
            header[Header.USED] = used + size
            header[Header.ITEMS] += np.uint64(1)
            return self._data + used

    @contextmanager
    def _allocating(self) -> Iterator[bool]:
        # The lock of the memory tells processes apart, not threads.
        with self._alone, self.memory.locked(_ALLOCATION) as alone:
            yield alone

    def _reserved(self, size: int) -> bool:
        """Whether the node has so many bytes for samples."""
        reserved = int(self.header[Header.RESERVED])
        while size > reserved:
            try:
                if not may_be_taken(EXTENT):
                    raise NoMemory
                self.memory.reserve(self._data + reserved, EXTENT)
            except NoMemory:
                self.stop(Stop.NO_MEMORY)
                return False
            reserved += EXTENT
            self.header[Header.RESERVED] = reserved
        return True

    @property
    def items(self) -> int:
        """Samples that are kept."""
        return int(self.header[Header.ITEMS])

    @property
    def used(self) -> int:
        """Bytes that they take."""
        return int(self.header[Header.USED])

    # -- counting ------------------------------------------------------------------------------------------------

    def count(self, counter: Counter, more: int = 1) -> None:
        """Add to what this process counted."""
        if self._pid != os.getpid():
            self._of_this_process()
        with self._alone:
            if self._row is None:
                self._row = self._own_row()
            if self._row is not None:
                self._row[counter] += np.uint64(more)

    def total(self, counter: Counter) -> int:
        """Of all processes, those that are gone among them."""
        return int(self._rows[:, counter].sum())

    def _own_row(self) -> np.ndarray | None:
        """A free one, or that of a process that is gone, which goes on from what that has counted."""
        pid = os.getpid()
        with self.memory.locked(_COUNTERS) as alone:
            owners = self._rows[:, Counter.PID]
            for number, owner in enumerate(owners.tolist() if alone else []):
                if owner in (0, pid) or not os.path.exists(f"/proc/{owner}"):
                    row: np.ndarray = self._rows[number]
                    row[Counter.PID] = pid
                    return row
        return None


def _places(keys: int) -> tuple[int, int]:
    """Where counters and samples begin."""
    counters = _paged(_PAGE + keys * _SLOT.itemsize)
    return counters, _paged(counters + PROCESSES * len(Counter) * 8)


def _paged(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _checksum(form: bytes, body: np.ndarray) -> int:
    return zlib.crc32(body.data, zlib.crc32(form))


def in_this_order() -> None:
    """What was read and written before this is done before what comes after, for other processors, too."""
    # Taking a lock holds back what comes after, and giving it back what came before.
    for _ in range(2):
        with threading.Lock():
            pass

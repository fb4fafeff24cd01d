"""What a dataset holds: the Python objects that can be reached from it, and the tensors and arrays, with their bytes.

    dataset ── gc.get_referents ──> lists, dicts, texts, numbers ...     counted, once each
                                    tensors, arrays                      counted apart, by what they own
                                    modules, classes, functions, frames  left out: they are everybody's

No code of the script runs: types are told by ``type()``, sizes by functions written in C, and nothing is compared,
printed or asked for its length otherwise. Objects and time are limited; what was not reached is said.
"""

from __future__ import annotations

import gc
import itertools
import logging
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

#: Objects and seconds of work after which it ends.
MOST = 2_000_000
SECONDS = 2.0
#: Objects between looks at the clock, and types that are named.
_BATCH = 2048
_NAMED = 5

_LEFT_OUT = (
    types.ModuleType,
    type,
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.CodeType,
    types.FrameType,
    types.TracebackType,
    types.GeneratorType,
    types.CoroutineType,
    logging.Logger,
    logging.Handler,
    logging.Manager,
)
#: What a class says of itself, without asking its metaclass.
_mro: Callable[[type], tuple[type, ...]] = type.__dict__["__mro__"].__get__
_namespace: Callable[[type], Any] = type.__dict__["__dict__"].__get__
_qualname: Callable[[type], str] = type.__dict__["__qualname__"].__get__
_flags: Callable[[type], int] = type.__dict__["__flags__"].__get__
#: Where an object lies, as ``id``, which tells every audit hook of this process each time.
_place: Callable[[object], int] = object.__hash__
#: Py_TPFLAGS_HAVE_GC: a header of two words comes before the object.
_COLLECTED, _HEADER = 1 << 14, 16
_PLAIN = (str, bytes, bytearray, int, float, complex, bool, type(None))
#: Longer lists and dictionaries are gone through piece by piece.
_SHORT = 256


def lineage(kind: type) -> Iterator[tuple[type, Any]]:
    """A class and its bases in the order in which they are asked, each with what it defines itself."""
    return ((base, _namespace(base)) for base in _mro(kind))


def is_a(kind: type, *known: type) -> bool:
    """As ``issubclass``, which a metaclass may answer as it likes."""
    return any(is_one(base, *known) for base in _mro(kind))


def is_one(kind: type, *known: type) -> bool:
    """Without comparing, for the same reason."""
    return any(kind is each for each in known)


class _Kind:
    """The objects of one class, which keep it alive."""

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.counted = True
        self.count = self.own_bytes = 0
        own: Any = next((names["__sizeof__"] for _, names in lineage(kind) if "__sizeof__" in names), None)
        # One written in Python is the script's. That of an array would count what it holds.
        safe = type(own) is types.MethodDescriptorType and "nbytes" not in _namespace(kind)
        self.size: Callable[[Any], int] = own if safe else object.__sizeof__
        self.header = _HEADER if _flags(kind) & _COLLECTED else 0
        #: Finds what an object refers to.
        self.follow: Callable[[Any], None] | None = None

    @property
    def bytes(self) -> int:
        return self.own_bytes + self.count * self.header


class Walk:
    """Everything that can be reached from one object."""

    def __init__(
        self,
        torch: Any,
        root: object,
        most: int = MOST,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self.torch = torch
        self.numpy = sys.modules.get("numpy")
        #: Tensors and arrays that own or share memory of the host, its bytes, and how many of them processes share.
        self.arrays = self.array_bytes = self.shared_bytes = 0
        #: Whether all was reached before a limit was.
        self.complete = True
        self._pending: list[Any] = [root]
        #: Of long containers, so that they are not copied.
        self._long: list[Iterator[Any]] = []
        #: Where memory begins that was counted.
        self._memory: set[int] = set()
        #: By the place of the class.
        self._kinds: dict[int, _Kind] = {}
        collects = gc.isenabled()
        # There is no garbage, and looking for it in a large dataset takes seconds.
        gc.disable()
        try:
            self._walk(most, clock, clock() + seconds)
        finally:
            if collects:
                gc.enable()
        self._pending, self._long = [], []
        counted = [kind for kind in self._kinds.values() if kind.counted]
        #: Python objects, those of tensors and arrays too, and their own bytes.
        self.objects = sum(kind.count for kind in counted)
        self.bytes = sum(kind.bytes for kind in counted)
        #: The kinds of objects with the most bytes.
        self.types = [
            {"type": _qualname(each.kind), "count": each.count, "bytes": each.bytes}
            for each in sorted(counted, key=lambda each: -each.bytes)[:_NAMED]
        ]

    def _walk(self, most: int, clock: Callable[[], float], end: float) -> None:
        pending, long, kinds = self._pending, self._long, self._kinds
        seen: set[int] = set()
        while pending or long:
            if len(seen) >= most or clock() > end:
                self.complete = False
                return
            if pending:
                found = pending[-_BATCH:]
                del pending[-_BATCH:]
            else:
                found = list(itertools.islice(long[-1], _BATCH))
                if len(found) < _BATCH:
                    long.pop()
            for each in found:
                place = _place(each)
                if place in seen:
                    continue
                seen.add(place)
                kind = kinds.get(_place(type(each))) or self._kind(type(each))
                kind.count += 1
                if kind.counted:
                    kind.own_bytes += kind.size(each)
                if kind.follow is not None:
                    kind.follow(each)

    def _kind(self, kind: type) -> _Kind:
        made = self._kinds[_place(kind)] = _Kind(kind)
        if is_a(kind, *_LEFT_OUT):
            made.counted = False
        elif kind is types.FunctionType:
            made.counted = False
            made.follow = lambda each: self._pending.extend(each.__closure__ or ())
        elif is_one(kind, self.torch.Tensor, self.torch.nn.Parameter):
            made.follow = self._tensor
        elif self.numpy is not None and kind is self.numpy.ndarray:
            made.follow = self._array
        elif is_one(kind, list, tuple, set, frozenset):
            made.follow = self._sequence
        elif kind is dict:
            made.follow = self._mapping
        elif not is_one(kind, *_PLAIN):
            made.follow = lambda each: self._pending.extend(gc.get_referents(each))
        return made

    def _sequence(self, each: Any) -> None:
        if len(each) <= _SHORT:
            self._pending.extend(each)
        else:
            self._long.append(iter(each))

    def _mapping(self, each: Any) -> None:
        if len(each) <= _SHORT:
            self._pending.extend(each)
            self._pending.extend(each.values())
        else:
            self._long.append(itertools.chain(each, each.values()))

    def _tensor(self, tensor: Any) -> None:
        # One on a device, or without a storage, takes no memory that could be copied.
        with suppress(Exception):
            if tensor.device.type == "cpu":
                storage = tensor.untyped_storage()
                self._memory_at(storage.data_ptr(), storage.nbytes(), shared=storage.is_shared())

    def _array(self, array: Any) -> None:
        if array.base is not None:
            self._pending.append(array.base)
            return
        self._memory_at(array.__array_interface__["data"][0], array.nbytes, shared=False)
        if array.dtype == object:
            # Collecting garbage does not follow these, so they have to be asked for.
            self._long.append(iter(array.flat))
        elif array.dtype.hasobject:
            self.complete = False

    def _memory_at(self, address: int, size: int, *, shared: bool) -> None:
        if address not in self._memory:
            self._memory.add(address)
            self.arrays += 1
            self.array_bytes += size
            self.shared_bytes += size if shared else 0

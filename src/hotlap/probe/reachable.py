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
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

#: Objects and seconds after which it ends.
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
#: Py_TPFLAGS_HAVE_GC: a header of two words comes before the object.
_COLLECTED, _HEADER = 1 << 14, 16
_PLAIN = (str, bytes, bytearray, int, float, complex, bool, type(None))
_SEQUENCES = (list, tuple, set, frozenset)


def lineage(kind: type) -> Iterator[tuple[type, Any]]:
    """A class and its bases in the order in which they are asked, each with what it defines itself."""
    return ((base, _namespace(base)) for base in _mro(kind))


def is_a(kind: type, *known: type) -> bool:
    """As ``issubclass``, which a metaclass may answer as it likes."""
    return any(is_one(base, *known) for base in _mro(kind))


def is_one(kind: type, *known: type) -> bool:
    """Without comparing, for the same reason."""
    return any(kind is each for each in known)


class Walk:
    """Everything that can be reached from one object."""

    def __init__(
        self,
        torch: Any,
        root: object,
        most: int = MOST,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.torch = torch
        self.numpy = sys.modules.get("numpy")
        #: Python objects, those of tensors and arrays too, and their own bytes.
        self.objects = self.bytes = 0
        #: Tensors and arrays that own or share memory of the host, its bytes, and how many of them processes share.
        self.arrays = self.array_bytes = self.shared_bytes = 0
        #: Whether all was reached before a limit was.
        self.complete = True
        self._left = most
        self._seen: set[int] = set()
        #: Where memory begins that was counted.
        self._memory: set[int] = set()
        #: By the id of a class, which its objects keep alive: how they are looked at, their size, what they came to.
        self._looks: dict[int, Callable[[Any], Iterable[Any]]] = {}
        self._sizes: dict[int, Callable[[Any], int]] = {}
        self._kinds: dict[int, list[Any]] = {}
        self._walk(root, clock, clock() + seconds)

    def types(self) -> list[dict[str, Any]]:
        """The kinds of objects with the most bytes."""
        largest = sorted(self._kinds.values(), key=lambda each: -each[2])[:_NAMED]
        return [{"type": _qualname(kind), "count": count, "bytes": size} for kind, count, size in largest]

    def _walk(self, root: object, clock: Callable[[], float], end: float) -> None:
        # Iterators, so that a long list is not copied.
        pending: list[Iterator[Any]] = [iter((root,))]
        seen, looks = self._seen, self._looks
        while pending:
            if self._left <= 0 or clock() > end:
                self.complete = False
                return
            found = list(itertools.islice(pending[-1], _BATCH))
            if len(found) < _BATCH:
                pending.pop()
            for each in found:
                if id(each) in seen:
                    continue
                seen.add(id(each))
                self._left -= 1
                kind = type(each)
                look = looks.get(id(kind))
                if look is None:
                    look = looks[id(kind)] = self._look_for(kind)
                below = look(each)
                if below:
                    pending.append(iter(below))

    def _look_for(self, kind: type) -> Callable[[Any], Iterable[Any]]:
        if is_a(kind, *_LEFT_OUT):
            return lambda each: ()
        if kind is types.FunctionType:
            return lambda each: each.__closure__ or ()
        self._kinds[id(kind)] = [kind, 0, 0]
        self._sizes[id(kind)] = _size_of(kind)
        if is_one(kind, self.torch.Tensor, self.torch.nn.Parameter):
            return self._tensor
        if self.numpy is not None and kind is self.numpy.ndarray:
            return self._array
        if is_one(kind, *_PLAIN):
            return self._plain
        if is_one(kind, *_SEQUENCES):
            return self._sequence
        return self._mapping if kind is dict else self._object

    def _plain(self, each: Any) -> Iterable[Any]:
        kind = self._kinds[id(type(each))]
        size = self._sizes[id(type(each))](each)
        kind[1] += 1
        kind[2] += size
        self.objects += 1
        self.bytes += size
        return ()

    def _sequence(self, each: Any) -> Iterable[Any]:
        self._plain(each)
        return each  # type: ignore[no-any-return]

    def _mapping(self, each: Any) -> Iterable[Any]:
        self._plain(each)
        return itertools.chain(each, each.values())

    def _object(self, each: Any) -> Iterable[Any]:
        self._plain(each)
        return gc.get_referents(each)

    def _tensor(self, tensor: Any) -> Iterable[Any]:
        self._plain(tensor)
        # One on a device, or without a storage, takes no memory that could be copied.
        with suppress(Exception):
            if tensor.device.type == "cpu":
                storage = tensor.untyped_storage()
                self._memory_at(storage.data_ptr(), storage.nbytes(), shared=storage.is_shared())
        return ()

    def _array(self, array: Any) -> Iterable[Any]:
        self._plain(array)
        if array.base is not None:
            return (array.base,)
        self._memory_at(array.__array_interface__["data"][0], array.nbytes, shared=False)
        # Collecting garbage does not follow these, so they have to be asked for.
        return array.ravel().tolist() if array.dtype.hasobject else ()

    def _memory_at(self, address: int, size: int, *, shared: bool) -> None:
        if address not in self._memory:
            self._memory.add(address)
            self.arrays += 1
            self.array_bytes += size
            self.shared_bytes += size if shared else 0


def _size_of(kind: type) -> Callable[[Any], int]:
    """The function that tells the bytes of such an object; what a script wrote itself is not asked."""
    header = _HEADER if _flags(kind) & _COLLECTED else 0
    own: Any = next((names["__sizeof__"] for _, names in lineage(kind) if "__sizeof__" in names), None)
    # An array's would count what it holds.
    function = (
        own if type(own) is types.MethodDescriptorType and "nbytes" not in _namespace(kind) else object.__sizeof__
    )
    return lambda each: function(each) + header

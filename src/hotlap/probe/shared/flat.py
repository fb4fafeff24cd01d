"""A sample as bytes that several processes can read where they lie, and back: no pickle.

    {"image": uint8 (3, 256, 256), "name": "a.png"}
      ├─ form     marshalled: what it is made of, and where in the body each tensor begins
      └─ body     the bytes of its tensors and arrays, each begun at a multiple of 64

A sample is a tree of dicts, lists and tuples with tensors, numpy arrays, bytes, texts, numbers and None in its leaves.
"""

from __future__ import annotations

import marshal
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: Where a tensor may begin: a cache line, and what vector instructions like.
ALIGNMENT = 64

#: Of ``marshal``: the last in which equal things are equal bytes, however often something else refers to them.
_VERSION = 2
#: [kind, ...], see ``_leave`` and ``_enter``.
_Form = list[Any]


class NotFlat(Exception):
    """The sample has something in it that cannot be stored; the text says what."""


class Flat:
    """A sample on its way into the cache."""

    __slots__ = ("form", "parts", "size")

    def __init__(self, sample: Any) -> None:
        """Raises ``NotFlat``."""
        #: Contiguous arrays of bytes, and where in the body each begins.
        self.parts: list[tuple[int, np.ndarray]] = []
        #: Of the body, in bytes.
        self.size = 0
        try:
            self.form = marshal.dumps(self._leave(sample), _VERSION)
        except (RecursionError, ValueError):
            raise NotFlat("containers that are nested too deeply") from None

    def write(self, body: np.ndarray) -> None:
        """Copy the body into ``size`` bytes."""
        for begin, part in self.parts:
            body[begin : begin + part.nbytes] = part

    def _leave(self, item: Any) -> _Form:
        kind = type(item)
        if item is None or kind in (bool, int, float, str, bytes):
            return ["=", item]
        if kind is tuple or kind is list:
            return ["(" if kind is tuple else "[", [self._leave(each) for each in item]]
        if kind is dict:
            return ["{", [[self._leave(key), self._leave(value)] for key, value in item.items()]]
        if kind is np.ndarray:
            return self._array(item)
        if kind is Tensor:
            return self._tensor(item)
        if isinstance(item, np.generic):
            return ["g", self._array(np.asarray(item))]
        raise NotFlat(f"a {kind.__module__}.{kind.__qualname__}, which is no tensor, array, text, number or bytes")

    def _array(self, array: np.ndarray) -> _Form:
        if array.dtype.hasobject or array.dtype.names is not None:
            raise NotFlat(f"an array of {array.dtype}")
        fortran = array.flags.f_contiguous and not array.flags.c_contiguous
        flat = (array.T if fortran else np.ascontiguousarray(array)).reshape(-1)
        return ["n", array.dtype.str, list(array.shape), fortran, self._place(flat.view(np.uint8))]

    def _tensor(self, tensor: Tensor) -> _Form:
        if tensor.layout is not torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise NotFlat(f"a tensor that is {tensor.layout} on {tensor.device}")
        if tensor.requires_grad:
            raise NotFlat("a tensor that requires a gradient")
        tensor = tensor.resolve_conj().resolve_neg()
        # Dense in another order (channels last) stays so.
        strides = tensor.stride()
        order = sorted(range(len(strides)), key=lambda axis: (-strides[axis], axis))
        packed = tensor.permute(order).contiguous()
        place = self._place(packed.view(-1).view(torch.uint8).numpy())
        return ["t", str(tensor.dtype).removeprefix("torch."), list(packed.shape), order, place]

    def _place(self, part: np.ndarray) -> int:
        begin = -(-self.size // ALIGNMENT) * ALIGNMENT
        self.parts.append((begin, part))
        self.size = begin + part.nbytes
        return begin


def sample_of(form: bytes, body: np.ndarray, *, copy: bool = True) -> Any:
    """The sample again. Without ``copy`` its tensors and arrays lie in ``body``, and writing to them alters it."""
    return _enter(marshal.loads(form), body, copy)


def _enter(form: _Form, body: np.ndarray, copy: bool) -> Any:
    match form:
        case ["=", item]:
            return item
        case ["(", items]:
            return tuple(_enter(each, body, copy) for each in items)
        case ["[", items]:
            return [_enter(each, body, copy) for each in items]
        case ["{", items]:
            return {_enter(key, body, copy): _enter(value, body, copy) for key, value in items}
        case ["n", dtype, shape, fortran, begin]:
            array = _part(body, begin, np.dtype(dtype), shape[::-1] if fortran else shape)
            array = array.T if fortran else array
            return array.copy(order="K") if copy else array
        case ["g", array]:
            return _enter(array, body, True)[()]
        case ["t", dtype, shape, order, begin]:
            return _tensor_of(getattr(torch, dtype), shape, order, body, begin, copy)
    raise AssertionError(form)


def _part(body: np.ndarray, begin: int, dtype: np.dtype[Any], shape: Sequence[int]) -> np.ndarray:
    count = math.prod(shape)
    return np.frombuffer(body.data, dtype, count, begin).reshape(shape)


def _tensor_of(
    dtype: torch.dtype, shape: Sequence[int], order: Sequence[int], body: np.ndarray, begin: int, copy: bool
) -> Tensor:
    count = math.prod(shape)
    lies = torch.frombuffer(body.data, dtype=dtype, count=count, offset=begin) if count else None
    flat = torch.empty(0, dtype=dtype) if lies is None else lies
    tensor = (flat.clone() if copy else flat).view(shape)
    if list(order) == sorted(order):
        return tensor
    return tensor.permute([order.index(axis) for axis in range(len(order))])

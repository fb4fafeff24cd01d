"""A sample as bytes and back: every leaf, its type, its order in memory."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from hotlap.probe.shared.flat import ALIGNMENT, Flat, NotFlat, sample_of

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | npst.arrays(npst.scalar_dtypes(), npst.array_shapes(min_dims=0, max_dims=4, min_side=0))
)
KEYS = st.text() | st.integers() | st.tuples(st.integers(), st.text())
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(KEYS, inner), max_leaves=8
)


def again(sample: Any, *, copy: bool = True) -> Any:
    flat = Flat(sample)
    body = np.empty(flat.size, np.uint8)
    flat.write(body)
    return sample_of(flat.form, body, copy=copy)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return type(b) is np.ndarray and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return type(a) is type(b) and a == b


@given(TREES)
def test_what_goes_in_comes_out(sample: Any) -> None:
    assert same(sample, again(sample))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        torch.arange(24).reshape(4, 6).t(),
        torch.arange(20)[::2],
        torch.tensor(2.5, dtype=torch.bfloat16),
        torch.zeros(0, 3, dtype=torch.float16),
        torch.tensor([True, False]),
        torch.randn(3, dtype=torch.complex64).conj(),
        torch.randn(1, 4).expand(3, 4),
    ],
    ids=["channels last", "transposed", "strided", "scalar", "empty", "bool", "conjugate", "expanded"],
)
def test_tensors(tensor: torch.Tensor) -> None:
    """A dense one keeps the order of its axes in memory."""
    found = again({"x": tensor})["x"]
    assert found.dtype == tensor.dtype
    torch.testing.assert_close(found, tensor, rtol=0, atol=0)
    dense = tensor.numel() > 0 and tensor.numel() == tensor.untyped_storage().nbytes() // tensor.element_size()
    assert not dense or found.stride() == tensor.stride()


def test_scalars_of_numpy_stay_what_they_are() -> None:
    found = again([np.float32(1.5), np.int64(3)])
    assert [type(each) for each in found] == [np.float32, np.int64]
    assert found == [1.5, 3]


def test_parts_begin_where_vectors_like_it() -> None:
    flat = Flat([torch.zeros(3, dtype=torch.uint8), torch.zeros(5), np.zeros(2)])
    assert [begin % ALIGNMENT for begin, _ in flat.parts] == [0, 0, 0]


def test_a_copy_is_a_copy() -> None:
    flat = Flat((torch.zeros(4), np.zeros(4)))
    body = np.zeros(flat.size, np.uint8)
    for copy in (True, False):
        tensor, array = sample_of(flat.form, body, copy=copy)
        tensor += 1
        array += 1
        assert bool(body.any()) is not copy


class Point(tuple[int, int]):
    pass


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        ({"x": object()}, "builtins.object"),
        ([{1, 2}], "builtins.set"),
        (Point((1, 2)), "Point"),
        (OrderedDict(a=1), "OrderedDict"),
        (np.array(["a", None], dtype=object), "array of object"),
        (torch.zeros(2).to_sparse(), "sparse"),
        (torch.zeros(2, requires_grad=True), "requires a gradient"),
        (torch.nn.Parameter(torch.zeros(2)), "Parameter"),
    ],
)
def test_what_cannot_be_stored_is_said(sample: Any, said: str) -> None:
    with pytest.raises(NotFlat, match=said):
        Flat(sample)

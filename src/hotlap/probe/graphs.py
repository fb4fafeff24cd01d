"""Walks autograd graphs without changing them: what they keep for backward, and how much of them is alive.

    loss.grad_fn ──next_functions──> node ──> node ...      each node keeps tensors for backward (``_raw_saved_*``)

Nothing is unpacked, so hooks of the script (checkpointing, offloading) are not run; what they hold is not seen. Hooks
of our own on saved tensors would make torch.compile compile again, and would have to be taken off in order.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

#: Larger graphs are not walked to their end, and then nothing is said about them.
_LARGEST = 300_000


def nodes(roots: Iterable[Any]) -> list[Any] | None:
    """Every node below these, each once; None where there are too many to look at."""
    found = {root: None for root in roots if root is not None}
    waiting = list(found)
    while waiting:
        if len(found) > _LARGEST:
            return None
        for following, _ in waiting.pop().next_functions:
            if following is not None and following not in found:
                found[following] = None
                waiting.append(following)
    return list(found)


def saved(node: Any, names: dict[type, list[str]]) -> Iterator[Any]:
    """The tensors that a node keeps for backward. ``names`` remembers what nodes of a type call them."""
    kind = type(node)
    if kind not in names:
        names[kind] = [name for name in dir(kind) if name.startswith("_raw_saved_")]
    for name in names[kind]:
        try:
            value = getattr(node, name)
        except (RuntimeError, AttributeError):  # freed by a backward that has been
            continue
        for each in value if isinstance(value, (list, tuple)) else (value,):
            tensor = getattr(each, "data", None)
            if tensor is not None:
                yield tensor


def can_be_read(torch: Any) -> bool:
    """Whether this torch shows what a node keeps."""
    return hasattr(getattr(torch._C._autograd, "SavedTensor", None), "data")


def alive(torch: Any) -> tuple[int, int] | None:
    """How many tensors with a graph the script holds, and how many nodes these graphs have together."""
    # An object refers to its class; to ask for that is several times faster than to look at every object.
    tensors = [each for each in gc.get_referrers(torch.Tensor) if type(each) is torch.Tensor]
    roots = []
    for tensor in tensors:
        # A view of what was changed in place may have no gradient to ask for.
        with suppress(RuntimeError):
            roots.append(tensor.grad_fn)
    roots = [function for function in roots if function is not None]
    del tensors
    every = nodes(roots)
    return None if every is None else (len(roots), len(every))

"""How many bytes a training calls its modules with: a batch that grows by design makes time and memory grow with it.

point ──> the step that begins is sized ──> the next is not      a step after every point of ``resident``, and no other
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def bytes_of(torch: Any, values: Any) -> int | None:
    """Of all tensors in there that no module has computed; None where there are none, or where they do not tell."""
    try:
        return _bytes_of(torch, values, 0)
    except Exception:  # a container or a tensor of the script's own
        return None


def _bytes_of(torch: Any, values: Any, depth: int) -> int | None:
    if isinstance(values, torch.Tensor):
        own = values.is_leaf or not values.requires_grad
        return int(values.numel() * values.element_size()) if own else None
    if depth > 3:
        return None
    inside = values.values() if isinstance(values, Mapping) else values if isinstance(values, (list, tuple)) else ()
    known = [found for value in inside if (found := _bytes_of(torch, value, depth + 1)) is not None]
    return sum(known) if known else None

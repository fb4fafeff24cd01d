"""The same script with another seed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

_LARGEST_SEED = 2**63


def shift_seeds(torch: Any, offset: int) -> None:
    """Add ``offset`` to each seed that the script sets in torch."""

    def shifted(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def manual_seed(seed: Any) -> Any:
            return original((int(seed) + offset) % _LARGEST_SEED)

        return manual_seed

    torch.manual_seed = torch.random.manual_seed = shifted(torch.manual_seed)
    for name in ("manual_seed", "manual_seed_all"):
        setattr(torch.cuda, name, shifted(getattr(torch.cuda, name)))

"""Whether something is compiled. Neither question imports ``torch._dynamo``."""

from __future__ import annotations

import sys
from typing import Any


def is_compiled(module: Any) -> bool:
    """Whether this module itself is, as a whole or in place."""
    return type(module).__name__ == "OptimizedModule" or getattr(module, "_compiled_call_impl", None) is not None


def has_compiled() -> bool:
    """Whether anything was compiled in this process, e.g. a function of the script."""
    dynamo = sys.modules.get("torch._dynamo.utils")
    return dynamo is not None and bool(dynamo.counters["stats"]["unique_graphs"])
